"""A supervised network: fastMRI's U-Net learns to turn degraded mice into mice, one network for all regimes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from fastmri.models import Unet
from mice import Case
from mouse_methods import Method
from pytorch_lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from torch import Tensor

from lightning_mri.baselines import ZeroFilled
from lightning_mri.datasets import ImageBatch
from lightning_mri.physics import GaussianLikelihood, LowField
from lightning_mri.reconstruction import prepare_likelihood
from lightning_mri.scaling import Scaling
from lightning_mri.training import Checkpoint

WIDTH, LEVELS, LEARNING_RATE, EVERY = 16, 3, 2e-3, 25


class Restoration(LightningModule):
    """Minimise the mean of abs(abs(x^) - abs(x)) over scanners, noise and fields that are drawn anew for every batch.

    Args:
        scanners: One is drawn for each batch.
    """

    def __init__(self, scanners: Sequence[LowField]) -> None:
        super().__init__()
        self.scanners = scanners
        self.network = Unet(2, 1, WIDTH, LEVELS)

    def forward(self, likelihood: GaussianLikelihood) -> Tensor:
        """Return the magnitude of each slice, in image units."""
        degraded = ZeroFilled().reconstruct(likelihood)
        return degraded.abs() + self.network(torch.view_as_real(degraded).movedim(-1, 1))[:, 0]

    def training_step(self, batch: ImageBatch, batch_idx: int) -> Tensor:
        """Return the error of one batch."""
        scanner = self.scanners[int(torch.randint(len(self.scanners), ()))]
        problem = prepare_likelihood(scanner.degrade(batch.image), Scaling())
        return (self(problem.likelihood) - problem.to_image_units(batch.image).abs()).abs().mean()

    def configure_optimizers(self) -> dict[str, object]:
        """Return Adam, whose rate rises and falls once."""
        optimizer = torch.optim.Adam(self.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LEARNING_RATE, int(self.trainer.estimated_stepping_batches), cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train_unet(folder: Path, data: LightningDataModule, scanners: Sequence[LowField], n_steps: int) -> None:
    """Train a network, or go on where a training was cut off.

    Args:
        folder: For its checkpoint, ``last.ckpt``.
        data: Images.
        scanners: What degrades them.
        n_steps: Optimiser steps.
    """
    seed_everything(0)
    trainer = Trainer(
        max_steps=n_steps,
        accelerator="cpu",
        callbacks=[Checkpoint(folder, save_last=True, every_n_train_steps=EVERY, enable_version_counter=False)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = folder / "last.ckpt"
    # it holds nothing but tensors and plain values, and is our own
    trainer.fit(Restoration(scanners), data.train_dataloader(), ckpt_path=str(last) if last.exists() else None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Supervised(Method):
    """The network of `train_unet`.

    Args:
        folder: Where it is.
    """

    folder: Path

    @property
    def key(self) -> str:
        """What its weights are."""
        return hashlib.sha256((self.folder / "last.ckpt").read_bytes()).hexdigest()

    @cached_property
    def network(self) -> Restoration:
        """The network, read when it is first asked for."""
        module = Restoration(())
        module.load_state_dict(torch.load(self.folder / "last.ckpt", weights_only=True)["state_dict"])
        return module.eval()

    @torch.no_grad()
    def reconstruct(self, case: Case) -> tuple[Tensor, None]:
        """Return the network's image."""
        problem = prepare_likelihood(case.batch.likelihood, Scaling())
        return problem.finish(self.network(problem.likelihood)), None
