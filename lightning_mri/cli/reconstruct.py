"""``predict`` and ``test``: reconstruct scans."""

from pytorch_lightning.cli import LightningArgumentParser

from lightning_mri.cli.lightning import OwnCLI, own_errors
from lightning_mri.training import ReconstructionModule, Results

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}


def predict(arguments: list[str]) -> None:
    """Reconstruct scans and write images."""
    _reconstruct()


def test(arguments: list[str]) -> None:
    """Reconstruct fully sampled scans after undersampling them, and write tables against the reference."""
    _reconstruct()


def _reconstruct() -> None:
    with own_errors():
        ReconstructCLI(
            ReconstructionModule,
            subclass_mode_data=True,
            parser_kwargs={"exit_on_error": False},
            seed_everything_default=False,  # seeds follow from scan, slice and sample
            save_config_callback=None,
            trainer_defaults=QUIET,
        )


class ReconstructCLI(OwnCLI):
    """``predict`` and ``test``: reconstruct scans; write images, or tables against the reference."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the commands and the arguments that the configuration supplies."""
        return {
            "test": {"model", "dataloaders", "datamodule"},
            "predict": {"model", "dataloaders", "datamodule"},
        }

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the folder for results."""
        parser.add_argument("--output_dir", type=str, required=True, help="Folder for the results.")
        parser.add_lightning_class_args(Results, "results")
        parser.link_arguments("output_dir", "results.output_dir")

    def before_instantiate_classes(self) -> None:
        """Keep no predictions in memory: they are written.

        Raises:
            ValueError: If a checkpoint is given that would not be used.
        """
        if self.config[self.subcommand]["ckpt_path"] is not None:
            raise ValueError(f"ckpt_path must be null for {self.subcommand}, which takes priors as model.priors")
        self._keep_job_to_itself()
        if self.subcommand == "predict":
            self.config["predict"]["return_predictions"] = False

    def before_predict(self) -> None:
        """Let every result hold the configuration that made it."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        results = next(callback for callback in callbacks if isinstance(callback, Results))
        results.run["config"] = self.parser.dump(self.config, skip_link_targets=False)
