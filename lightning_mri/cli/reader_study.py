"""The command of the reader study."""

from jsonargparse import auto_cli

PROGRAM = "lightning-mri reader-study"


def reader_study(arguments: list[str]) -> None:
    """Create or analyze a blinded reader study, or plan how many patients it takes.

    Raises:
        ValueError: If an option breaks a rule, or the libraries for its statistics are not installed.
    """
    try:
        from lightning_mri.reconstruction import reader_study as study
    except ModuleNotFoundError as error:
        raise ValueError(f"reader-study needs {error.name}: install lightning-mri[reader-study]") from error
    print(
        auto_cli(
            {
                "create": study.create_reader_study,
                "analyze": study.analyze_reader_study,
                "plan": study.plan_reader_study,
            },
            args=arguments,
            as_positional=False,
            prog=PROGRAM,
            exit_on_error=False,
        )
    )
