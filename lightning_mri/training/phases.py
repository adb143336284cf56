"""What a run of `fit` is for: pre-training from nothing, or fine-tuning a finished prior on a few subjects."""

import math
from abc import ABC, abstractmethod
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_mri.training.prior_module import PriorModule
from lightning_mri.training.rate import cosine, warmed
from lightning_mri.training.strategies import Full, Strategy, trained
from lightning_mri.weights import fingerprint, load_prior, written_by

Summary = dict[str, Any]


class TrainingPhase(Callback, ABC):
    """Where the weights come from, how fast they move, and for how long.

    A phase must stand before the weight averaging in the list of callbacks, since that copies the weights
    when it is set up; `lightning_mri.cli.fit` sees to it.

    Args:
        learning_rate: Peak learning rate.
        epochs: Length of the phase in epochs.
        steps: Length of the phase in optimiser steps.
        images: Length of the phase in images, over all processes; exactly one of the three lengths is given.
        warm_up: Steps over which the learning rate rises linearly.
        weight_decay: Decoupled weight decay of AdamW; 0 is Adam.
        final: Share of the peak learning rate at the end of a cosine decay; 1 keeps it constant.
        strategy: Which weights train.

    Raises:
        ValueError: If the length is given twice or not at all, or a value is out of range.
    """

    def __init__(
        self,
        learning_rate: float,
        epochs: int | None,
        steps: int | None,
        images: int | None,
        warm_up: int,
        weight_decay: float,
        final: float,
        strategy: Strategy,
    ) -> None:
        super().__init__()
        if (epochs, steps, images).count(None) != 2:
            raise ValueError(
                f"exactly one of epochs, steps and images must be given: got {epochs}, {steps} and {images}"
            )
        if learning_rate <= 0 or warm_up < 0 or weight_decay < 0 or (epochs or steps or images or 0) < 1:
            raise ValueError(
                "learning_rate, epochs, steps and images must be positive, warm_up and weight_decay not negative: got "
                f"{learning_rate}, {epochs}, {steps}, {images}, {warm_up} and {weight_decay}"
            )
        if not 0 <= final <= 1:
            raise ValueError(f"final must be in [0, 1]: got {final}")
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.steps = steps
        self.images = images
        self.warm_up = warm_up
        self.weight_decay = weight_decay
        self.final = final
        self.strategy = strategy

    @abstractmethod
    def start(self, trainer: Trainer, module: PriorModule) -> None:
        """Put the starting weights into the module."""

    @abstractmethod
    def summary(self) -> Summary:
        """Return what a later reader of the checkpoint wants to know of this phase."""

    def steps_of(self, batch: int) -> int | None:
        """Return the optimiser steps of the phase, given the images of a step; None for a length in epochs."""
        return self.steps if self.images is None else math.ceil(self.images / batch)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Set length and starting weights, and enter the phase into the prior's history."""
        if stage != "fit":
            return
        if not isinstance(pl_module, PriorModule):
            raise ValueError(f"a phase trains a PriorModule: got {type(pl_module).__name__}")
        data = trainer.datamodule  # type: ignore[attr-defined]
        if self.images is not None and not hasattr(data, "batch_size"):
            raise ValueError(f"phase.images must go with data that have a batch_size: {type(data).__name__} has none")
        each: int = getattr(data, "batch_size", 1)
        steps = self.steps_of(each * trainer.world_size * trainer.accumulate_grad_batches)
        trainer.fit_loop.max_epochs = self.epochs if self.epochs is not None else -1
        trainer.fit_loop.epoch_loop.max_steps = steps if steps is not None else -1
        if trainer.local_rank == 0:
            self.strategy.prepare_data()
        trainer.strategy.barrier("phase.strategy")
        self.start(trainer, pl_module)
        assert pl_module.prior is not None
        self.strategy.prepare(pl_module.prior)
        pl_module.begin(self.strategy, self.configure, self.summary())
        if trainer.is_global_zero:
            print(f"{type(self).__name__}, {type(self.strategy).__name__}: {trained(pl_module.prior)}")

    def decay(self, progress: float) -> float:
        """Return the factor on the learning rate after a share of the phase: a cosine from 1 to ``final``."""
        return cosine(progress, self.final)

    def configure(self, parameters: list[nn.Parameter], total_steps: float) -> tuple[Optimizer, LRScheduler]:
        """Return a fresh optimiser of the parameters and its schedule."""
        optimizer = AdamW(
            parameters, lr=self.learning_rate, betas=(0.9, 0.99), weight_decay=self.weight_decay, foreach=True
        )
        return optimizer, warmed(optimizer, total_steps, self.warm_up, self.decay)


class Pretrain(TrainingPhase):
    """Train from random weights, with a cosine decay of the learning rate.

    Args:
        learning_rate: Peak learning rate.
        epochs: Length in epochs, or
        steps: in optimiser steps, or
        images: in images over all processes.
        warm_up: Steps of linear warm-up.
        weight_decay: Decoupled weight decay.
        final: Share of the peak learning rate at the end; 1 keeps it constant.
        strategy: Which weights train; with `Replay` on several data sets jointly.
    """

    def __init__(
        self,
        learning_rate: float = 1e-4,
        epochs: int | None = None,
        steps: int | None = None,
        images: int | None = None,
        warm_up: int = 200,
        weight_decay: float = 0.0,
        final: float = 0.02,
        strategy: Strategy = Full(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(learning_rate, epochs, steps, images, warm_up, weight_decay, final, strategy)

    def start(self, trainer: Trainer, module: PriorModule) -> None:
        """Keep the random weights.

        Raises:
            ValueError: If the module has no network.
        """
        if module.prior is None:
            raise ValueError("model.net must be given to pre-train: only FineTune takes it from a checkpoint")

    def summary(self) -> Summary:
        """Name the phase and its settings."""
        return {
            "phase": "pretrain",
            "strategy": self.strategy.describe(),
            "learning_rate": self.learning_rate,
            "final": self.final,
            "warm_up": self.warm_up,
            **written_by(),
        }


class FineTune(TrainingPhase):
    """Start from a finished prior's averaged weights, with a fresh optimiser.

    Moderate fine-tuning at a reduced learning rate is best; too little or too much degrades
    (Arefeen et al. 2026). Resuming an interrupted run stays ``--ckpt_path``.

    Args:
        checkpoint: Name of a shipped prior, or path of a checkpoint; only its weights are taken. None only where
            ``--ckpt_path`` resumes a run.
        learning_rate: Learning rate after warm-up.
        epochs: Length in epochs, or
        steps: in optimiser steps, or
        images: in images over all processes.
        warm_up: Steps of linear warm-up.
        weight_decay: Decoupled weight decay.
        final: Share of the learning rate at the end; the default keeps it constant, so that its value means what
            it says.
        contrast: A contrast that the prior does not know: it takes the first spare label and starts from the
            mean of the known ones.
        strategy: Which weights train, and what holds them where they were.
    """

    def __init__(
        self,
        checkpoint: str | None,
        learning_rate: float = 1e-5,
        epochs: int | None = None,
        steps: int | None = None,
        images: int | None = None,
        warm_up: int = 50,
        weight_decay: float = 0.0,
        final: float = 1.0,
        contrast: str | None = None,
        strategy: Strategy = Full(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(learning_rate, epochs, steps, images, warm_up, weight_decay, final, strategy)
        self.checkpoint = checkpoint
        self.contrast = contrast

    def start(self, trainer: Trainer, module: PriorModule) -> None:
        """Load the weights, and give the new contrast a label.

        Raises:
            ValueError: If there is no checkpoint, or the configuration asks for another network than its.
        """
        if self.checkpoint is None:
            raise ValueError("phase.checkpoint must name a prior, unless ckpt_path resumes a run: got neither")
        prior = load_prior(self.checkpoint)
        self._fingerprint = fingerprint(prior)
        if self.contrast is not None and self.contrast not in prior.labels:
            prior.add_label(self.contrast)
        module.adopt(prior, source=self.checkpoint)

    def summary(self) -> Summary:
        """Name the phase, its settings and where it started."""
        return {
            "phase": "fine-tune",
            "checkpoint": self.checkpoint,
            "sha256": self._fingerprint,
            "strategy": self.strategy.describe(),
            "learning_rate": self.learning_rate,
            "final": self.final,
            "epochs": self.epochs,
            "contrast": self.contrast,
            **written_by(),
        }
