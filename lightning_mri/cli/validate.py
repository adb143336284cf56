"""``validate``: score a prior on held-out images and reconstructions, as `fit` does on its way."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.cli import LightningArgumentParser

from lightning_mri.cli.lightning import OwnCLI, all_but, own_errors
from lightning_mri.cli.reconstruct import QUIET
from lightning_mri.files import PROGRAM, check_replaceable
from lightning_mri.sampling import HQS, Sampler
from lightning_mri.training import PriorModule, ReconstructHeldOut
from lightning_mri.weights import load_prior


def validate(arguments: list[str]) -> None:
    """Print the losses of held-out images by noise level, and the error of held-out reconstructions."""
    about = "Score a prior on the validation subjects of a data set: denoising by noise level, and reconstruction."
    with own_errors(arguments):
        cli = ValidateCLI("validate", held_out, "FullySampledScans", arguments, about, save_config_callback=None)
        with redirect_stdout(sys.stderr):  # the bar: of the output only scores are left
            (scores,) = cli.trainer.validate(cli.model, datamodule=cli.datamodule, verbose=False)
    if cli.trainer.is_global_zero:
        print("\n".join(f"{name:24} {value:.4f}" for name, value in scores.items()))


def held_out(prior: str = "brain") -> PriorModule:
    """Return what scores a prior.

    Args:
        prior: Shipped prior or checkpoint.
    """
    module = PriorModule()
    module.adopt(load_prior(prior), prior)
    return module


class ValidateCLI(OwnCLI):
    """``validate``."""

    shown = ("--config", "--data", "--model", "--sampler", "--preview")
    unused = all_but("deterministic", "limit_val_batches", "plugins", "profiler")
    seeded = False  # validation draws from no seed

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the way to reconstruct."""
        about = "How held-out slices are reconstructed."
        parser.add_subclass_arguments(Sampler, "sampler", help=about, default=HQS(n_steps=10))
        about = "PNG to draw held-out slices into: reference, reconstruction and error. Nothing else is written."
        parser.add_argument("--preview", type=Path | None, default=None, help=about)

    def before_instantiate_classes(self) -> None:
        """Look at what is in the picture's place before anything is built."""
        if self.config["preview"] is not None:
            check_replaceable(self.config["preview"], [], PROGRAM)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: Sequence[Any]) -> Trainer:
        check = ReconstructHeldOut(self.config_init["sampler"], self.config["preview"])
        shown = {**config, **QUIET, "enable_progress_bar": True}
        return Trainer(**shown, callbacks=[*callbacks, check, TQDMProgressBar()])
