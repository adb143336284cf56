"""``report``: one page about runs."""

from pathlib import Path

from lightning_mri.cli.options import command_parser, parse
from lightning_mri.lazy import lazy

reports = lazy("lightning_mri.training.report")  # the help needs none of Lightning


def report(arguments: list[str]) -> None:
    """Write one page about runs of fit, predict and test."""
    parser = command_parser("report", "Write one page about runs of fit, predict and test.")
    parser.add_argument("runs", nargs="+", type=Path, help="Folders that fit, predict or test has written.")
    parser.add_argument("--output_dir", type=Path, required=True, help="Folder for the page and its slices.")
    values = parse(parser, arguments)
    print(reports.report(values.runs, values.output_dir))
