"""The LightningModule that trains a prior."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from pytorch_lightning import LightningModule
from torch import Tensor

from lightning_mri.data import ImageBatch
from lightning_mri.diffusion import DEFAULT_LABELS, EDM, DenoisingScoreMatching, NetworkPrior, NoiseProcess
from lightning_mri.models import DenoisingNetwork
from lightning_mri.scaling import Scaling
from lightning_mri.training.losses import SupervisedReconstruction

if TYPE_CHECKING:
    from lightning_mri.training.phases import Phase

VALIDATION_SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.5)


class PriorModule(LightningModule):
    """Denoising score matching, with the supervised reconstruction loss as an optional term.

    How the weights start and move is the phase's matter (`Pretrain`, `FineTune`), their average is `EMA`'s.

    Args:
        net: The network F; left out when a `FineTune` phase takes it from its checkpoint.
        process: Noise process, preconditioning and loss weighting.
        labels: Contrast names in the order of the network's labels.
        scaling: How the training images were scaled; travels with the checkpoint.
        loss: Denoising score matching.
        reconstruction: Supervised reconstruction loss, added with its weight.
    """

    def __init__(
        self,
        net: DenoisingNetwork | None = None,
        process: NoiseProcess = EDM(),  # noqa: B008 - frozen
        labels: Sequence[str] = DEFAULT_LABELS,
        scaling: Scaling = Scaling(),  # noqa: B008 - frozen
        loss: DenoisingScoreMatching = DenoisingScoreMatching(),  # noqa: B008 - frozen
        reconstruction: SupervisedReconstruction | None = None,
    ) -> None:
        super().__init__()
        self.prior = None if net is None else NetworkPrior(net, process, scaling, tuple(labels))
        self.loss = loss
        self.reconstruction = reconstruction
        self.phase: Phase | None = None

    def adopt(self, prior: NetworkPrior, source: str) -> None:
        """Take another prior's weights, noise process, labels and scale contract.

        Raises:
            ValueError: If the configuration names a network other than the prior's.
        """
        theirs = prior.describe()["network"]
        if self.prior is not None and (mine := self.prior.describe()["network"]) != theirs:
            raise ValueError(
                f"model.net must be left out or agree with the checkpoint {source}: got {mine} "
                f"and the checkpoint's {theirs}"
            )
        self.prior = prior.requires_grad_(True).train()

    def begin(self, phase: "Phase") -> None:
        """Enter a phase: its settings become part of the prior's card."""
        assert self.prior is not None
        self.phase = phase
        self._history = [*self.prior.card.get("history", []), phase.summary()]

    def configure_optimizers(self) -> Any:
        """Ask the phase for its optimiser.

        Raises:
            ValueError: If no phase was given.
        """
        if self.phase is None:
            raise ValueError("fit needs a phase: give Pretrain or FineTune as --phase or among the callbacks")
        optimizer, schedule = self.phase.configure(self, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: ImageBatch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the mean weighted denoising loss of a batch of images."""
        assert self.prior is not None
        label = self.labels_of(batch)
        loss = self.loss(self.prior, batch.image, label).loss.mean()
        self.log("train/loss", loss, batch_size=len(label), prog_bar=True)
        if self.reconstruction is None:
            return loss
        supervised = self.reconstruction(self.prior, batch.image, label)
        self.log("train/reconstruction_loss", supervised, batch_size=len(label))
        return loss + self.reconstruction.weight * supervised

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Log the denoising loss of held-out images at fixed noise levels, with noise fixed by the batch's index."""
        assert self.prior is not None
        label = self.labels_of(batch)
        losses = []
        for level in VALIDATION_SIGMAS:
            sigma = torch.full((len(label),), level, device=self.device)
            noise = torch.Generator().manual_seed(batch_idx)
            losses.append(self.loss.at(sigma, self.prior, batch.image, label, noise).loss.mean())
            self.log(f"val/loss/sigma_{level:g}", losses[-1], batch_size=len(label), sync_dist=True)
        self.log("val/loss", torch.stack(losses).mean(), batch_size=len(label), prog_bar=True, sync_dist=True)

    def labels_of(self, batch: ImageBatch) -> Int[Tensor, "batch"]:
        """Return the label of each image's contrast."""
        assert self.prior is not None
        return torch.tensor([self.prior.label_index(name) for name in batch.contrast], device=self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint self-describing: network, process, scale contract, labels, history, splits."""
        assert self.prior is not None
        history = [*self._history[:-1], {**self._history[-1], "steps": self.global_step}]
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        splits: dict[str, list[str]] = getattr(data, "split_names", dict)()
        self.prior.card.update(history=history, splits=splits)
        checkpoint["prior"] = self.prior.describe()
