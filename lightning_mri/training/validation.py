"""Validation by what counts: the reconstruction of held-out slices."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from lightning_mri.evaluation import SLICE, nrmse, ssim
from lightning_mri.reconstruction import label_of, reconstruct_slices, seeds_of
from lightning_mri.sampling import HQS, Sampler
from lightning_mri.training.prior_module import PriorModule


class ReconstructHeldOut(Callback):
    """Reconstruct a few undersampled held-out slices with the averaged weights; log ``val/nrmse`` and ``val/ssim``.

    The slices are the data module's ``reconstruction_batches()``. Images go to W&B where that is the logger:
    reference and reconstruction side by side.

    Args:
        sampler: How to reconstruct; a cheap one will do to compare weights.
    """

    def __init__(self, sampler: Sampler = HQS(n_steps=10)) -> None:  # noqa: B008 - frozen
        super().__init__()
        self.sampler = sampler

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Reconstruct, score and log, once an epoch; within it, since the averaged weights are swapped at its ends."""
        assert isinstance(pl_module, PriorModule)
        assert pl_module.prior is not None
        if batch_idx > 0 or trainer.sanity_checking:
            return
        errors, similarities, pairs = [], [], []
        for held_out in trainer.datamodule.reconstruction_batches():  # type: ignore[attr-defined]
            batch = held_out.to(pl_module.device)
            result = reconstruct_slices(
                batch.kspace,
                batch.mask,
                pl_module.prior,
                self.sampler,
                seeds_of(batch.scan, batch.slices, 1),
                label_of(batch.contrast, pl_module.prior)[0],
                uncertainty=None,
                size=batch.reconstruction_size,
                slices=batch.slices,
            )
            reference = batch.reference.cpu()
            errors.append(nrmse(result.image, reference, SLICE))
            similarities.append(ssim(result.image, reference, SLICE))
            pairs.append(torch.cat([reference.abs(), result.magnitude], dim=-1)[0])
        values = {"val/nrmse": torch.cat(errors).mean(), "val/ssim": torch.cat(similarities).mean()}
        pl_module.log_dict(values, prog_bar=True, sync_dist=True, batch_size=1)
        if trainer.is_global_zero and isinstance(trainer.logger, WandbLogger):
            trainer.logger.log_image("val/reconstruction", [_grey(pair) for pair in pairs], trainer.global_step)


def _grey(image: Tensor) -> Any:
    """Return an image as W&B takes it, its brightest pixel white."""
    return (255 * image / image.max().clamp(min=1e-12)).byte().numpy()
