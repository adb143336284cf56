"""``predict`` and ``test``: reconstruct scans. ``validate``: score a prior on held-out ones."""

from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.cli import LightningArgumentParser

from lightning_mri.cli.lightning import OwnCLI, own_errors
from lightning_mri.training import ReconstructionModule, Results

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}
UNUSED = frozenset(
    """accumulate_grad_batches barebones callbacks check_val_every_n_epoch default_root_dir detect_anomaly
    enable_autolog_hparams fast_dev_run gradient_clip_algorithm gradient_clip_val limit_train_batches limit_val_batches
    log_every_n_steps max_epochs max_steps max_time min_epochs min_steps model_registry num_sanity_val_steps
    overfit_batches reload_dataloaders_every_n_epochs sync_batchnorm use_distributed_sampler val_check_interval""".split()
)


def predict(arguments: list[str]) -> None:
    """Reconstruct scans and write images."""
    about = "Reconstruct a scan, or all scans of a folder, and write images with their uncertainty."
    with own_errors():
        cli = ReconstructCLI("predict", ReconstructionModule, "Scans", arguments, about)
        # every result holds the configuration that made it
        cli.results.run["config"] = cli.parser.dump(cli.config, skip_link_targets=False)
        cli.trainer.predict(cli.model, datamodule=cli.datamodule, return_predictions=False)


def test(arguments: list[str]) -> None:
    """Reconstruct fully sampled scans after undersampling them, and write tables against the reference."""
    about = "Undersample fully sampled scans, reconstruct them, and score every method against the reference."
    with own_errors():
        cli = ReconstructCLI("test", ReconstructionModule, "ReferenceScans", arguments, about)
        cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)


class ReconstructCLI(OwnCLI):
    """``predict`` and ``test``."""

    shown = ("--config", "--data", "--output_dir", "--results", "--model")
    unused = UNUSED | QUIET.keys()

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, save_config_callback=None)

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add no seed: seeds follow from scan, slice and sample."""

    def _set_seed(self) -> None:
        return

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the folder for results."""
        parser.add_argument("--output_dir", type=str, required=True, help="Folder for the results; made if needed.")
        parser.add_lightning_class_args(Results, "results")
        parser.link_arguments("output_dir", "results.output_dir")

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: Sequence[Any]) -> Trainer:
        (self.results,) = callbacks
        return Trainer(**config, **QUIET, callbacks=list(callbacks))
