"""``predict`` and ``test``: reconstruct scans."""

from collections.abc import Collection, Sequence
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.cli import LightningArgumentParser

from lightning_mri.cli.dry_run import ABOUT, dry_run_predict, dry_run_test
from lightning_mri.cli.lightning import OwnCLI, all_but, own_errors
from lightning_mri.training import ReconstructionModule, Results
from lightning_mri.training.provenance import settings_of

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}
UNUSED_BY_TEST = ("guard", "keep_samples", "formats", "source_dicom", "redo")


def predict(arguments: list[str]) -> int:
    """Reconstruct scans and write images; return 3 if some failed, 4 if slices should not be trusted."""
    about = "Reconstruct a scan, or all scans of a folder, and write images with their uncertainty."
    with own_errors(arguments):
        cli = ReconstructCLI("predict", "Scans", arguments, about, skip={"baselines", "wandb_project"})
        cli.results.settings = settings_of(cli.config.as_dict())
        if cli.config["dry_run"]:
            return dry_run_predict(cli.trainer, cli.model, cli.datamodule, cli.results)
        cli.trainer.predict(cli.model, datamodule=cli.datamodule, return_predictions=False)
    return cli.results.exit_code


def test(arguments: list[str]) -> int:
    """Reconstruct fully sampled scans after undersampling them, and score them; return 3 if some scans failed."""
    about = "Undersample fully sampled scans, reconstruct them, and score every method against the reference."
    with own_errors(arguments):
        cli = ReconstructCLI("test", "ReferenceScans", arguments, about, skip=UNUSED_BY_TEST)
        if cli.config["dry_run"]:
            return dry_run_test(cli.trainer, cli.model, cli.datamodule, cli.results)
        cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    return cli.results.exit_code


class ReconstructCLI(OwnCLI):
    """``predict`` and ``test``."""

    shown = ("--config", "--data", "--output_dir", "--dry_run", "--results", "--model")
    unused = all_but(
        *("benchmark", "deterministic", "inference_mode", "plugins", "profiler"),
        *("limit_predict_batches", "limit_test_batches"),
    )
    seeded = False  # seeds follow from scan, slice and sample

    def __init__(self, command: str, data: str, arguments: Sequence[str], about: str, skip: Collection[str]) -> None:
        self.skip = set(skip)
        super().__init__(command, ReconstructionModule, data, arguments, about, save_config_callback=None)
        # every result holds the configuration that made it
        self.results.run["config"] = self.parser.dump(self.config, skip_link_targets=False)

    def add_model(self, parser: LightningArgumentParser) -> None:
        """Add the options of the module that this command uses."""
        parser.add_class_arguments(ReconstructionModule, "model", skip=self.skip, sub_configs=True)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the folder for results."""
        parser.add_argument("--output_dir", type=str, required=True, help="Folder for the results; made if needed.")
        parser.add_argument("--dry_run", action="store_true", help=ABOUT)
        parser.add_class_arguments(Results, "results", skip=self.skip, sub_configs=True)
        parser.callback_keys.append("results")
        parser.link_arguments("output_dir", "results.output_dir")

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: Sequence[Any]) -> Trainer:
        (self.results,) = callbacks
        # of checkpoints for a requeue, which Lightning would look for, there are none among results
        folder = self.config["output_dir"]
        return Trainer(**config, **QUIET, callbacks=list(callbacks), default_root_dir=folder)
