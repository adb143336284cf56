"""What a run of `fit` is for: pre-training from nothing, or fine-tuning a finished prior on a few subjects."""

import math
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_mri.datasets import CachedScans, ResumableLoader
from lightning_mri.io.contrasts import plain_contrast
from lightning_mri.training.agreement import check_run
from lightning_mri.training.prior_module import PriorModule
from lightning_mri.training.rate import cosine, warmed
from lightning_mri.training.strategies import Full, Strategy, trained
from lightning_mri.weights import fingerprint, load_prior, written_by

Summary = dict[str, Any]


class TrainingPhase(Callback, ABC):
    """Where the weights come from, how fast they move, and for how long.

    A phase must stand before the weight averaging in the list of callbacks, since that copies the weights
    when it is set up; `lightning_mri.cli.fit` sees to it.

    Attributes:
        name: What the history of a prior calls the phase.

    Args:
        learning_rate: Learning rate after warm-up.
        epochs: Length in epochs. Exactly one of ``epochs``, ``steps`` and ``images`` is given.
        steps: Length in optimiser steps.
        images: Length in images, the same for any number of processes.
        warm_up: Steps of linear warm-up.
        weight_decay: Decoupled weight decay.
        final: Share of the learning rate at the end; 1 keeps it constant.
        strategy: Which weights train, and what holds them where they were; with `Replay` on several data sets jointly.
    """

    name: ClassVar[str]

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
        super().__init__()
        lengths = [length for length in (epochs, steps, images) if length is not None]
        if len(lengths) != 1:
            raise ValueError(f"one of epochs, steps and images must be given: got {epochs}, {steps} and {images}")
        if not (learning_rate > 0 and warm_up >= 0 and weight_decay >= 0 and lengths[0] >= 1):
            raise ValueError(
                "learning_rate, epochs, steps and images must be positive, warm_up and weight_decay not negative: got "
                f"{learning_rate}, {epochs}, {steps}, {images}, {warm_up} and {weight_decay}"
            )
        if not 0 <= final <= 1:
            raise ValueError(f"final must be in [0, 1]: got {final}")
        self.learning_rate, self.warm_up, self.weight_decay, self.final = learning_rate, warm_up, weight_decay, final
        self.epochs, self.steps, self.images, self.strategy = epochs, steps, images, strategy
        self._goes_on = False

    @staticmethod
    def of(trainer: Trainer) -> "TrainingPhase":
        """Return the phase of a trainer, which has one."""
        (phase,) = (each for each in trainer.callbacks if isinstance(each, TrainingPhase))  # type: ignore[attr-defined]
        return phase

    @abstractmethod
    def start(self, trainer: Trainer, module: PriorModule) -> None:
        """Put the starting weights into the module."""

    def summary(self) -> Summary:
        """Return what a later reader of the checkpoint wants to know of this phase."""
        names = ("learning_rate", "final", "warm_up", "weight_decay")
        settings = {name: getattr(self, name) for name in names}
        return {"phase": self.name, "strategy": self.strategy.describe(), **settings, **written_by()}

    def resume(self, module: PriorModule, checkpoint: str) -> None:
        """Take the prior of a run that goes on from its checkpoint, in place of the one to start with.

        Raises:
            ValueError: If module or phase are not those of the run.
        """
        prior = load_prior(checkpoint)
        module.adopt(prior, checkpoint)
        check_run({**self.summary(), **module.loss_settings()}, prior.card)
        self._goes_on = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Set length and starting weights, and enter the phase into the prior's history.

        Lightning's ``fast_dev_run``, which is to try a few batches, keeps its own length.
        """
        if stage != "fit":
            return
        if not isinstance(pl_module, PriorModule):
            raise ValueError(f"a phase trains a PriorModule: got {type(pl_module).__name__}")
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.fit_loop.max_epochs = self.epochs if self.epochs is not None else -1
            trainer.fit_loop.epoch_loop.max_steps = self.steps if self.steps is not None else -1
        if trainer.local_rank == 0:
            self.strategy.prepare_data()
        trainer.strategy.barrier("phase.strategy")
        if not self._goes_on:
            self.start(trainer, pl_module)
        assert pl_module.prior is not None
        self.strategy.prepare(pl_module.prior)
        pl_module.begin(self.strategy, self.configure, self.summary())
        if trainer.is_global_zero:
            print(f"{type(self).__name__}, {type(self.strategy).__name__}: {trained(pl_module.prior)}")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that a run that goes on had all its steps already."""
        assert isinstance(pl_module, PriorModule)
        if trainer.is_global_zero and trainer.global_step == pl_module.n_done[0] > 0:
            print(f"the run has its {trainer.global_step:,} steps: only a longer phase goes on")

    def decay(self, progress: float) -> float:
        """Return the factor on the learning rate after a share of the phase: a cosine from 1 to ``final``."""
        return cosine(progress, self.final)

    def configure(self, parameters: list[nn.Parameter], trainer: Trainer) -> tuple[Optimizer, LRScheduler]:
        """Return a fresh optimiser of the parameters and its schedule."""
        if self.images is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.fit_loop.setup_data()
            pace = Pace.of(trainer)
            if not pace.batch_size:
                raise ValueError("phase.images must have data whose loader knows its batch_size: it has none")
            n_steps, n_images = _other(pace, trainer)
            trainer.fit_loop.epoch_loop.max_steps = pace.steps(self.images - n_images) + n_steps
        optimizer = AdamW(
            parameters, lr=self.learning_rate, betas=(0.9, 0.99), weight_decay=self.weight_decay, foreach=True
        )
        return optimizer, warmed(optimizer, trainer.estimated_stepping_batches, self.warm_up, self.decay)

    def n_steps(self, pace: "Pace") -> int:
        """Return the optimiser steps of the phase."""
        if self.images is not None:
            return pace.steps(self.images)
        return self.steps or (self.epochs or 0) * pace.epoch

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what depends on the number of processes, so that it does not change unseen; log short runs, too."""
        n_steps, pace = int(trainer.estimated_stepping_batches), Pace.of(trainer)
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        trainer.log_every_n_steps = min(every, n_steps)  # type: ignore[attr-defined]
        if trainer.is_global_zero:
            n_images = "an unknown number of"
            if pace.batch_size:
                n_other, n_seen = _other(pace, trainer)
                n_images = f"{pace.images(n_steps - n_other) + n_seen:,}"
            print(f"{pace}; learning rate {self.learning_rate:g}; {n_steps:,} steps, {n_images} images")

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Let logs count by the steps that were made: Lightning miscounts where a resumed run's epochs are others."""
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


@dataclass(frozen=True)
class Pace:
    """How many images a run sees in its steps."""

    n_processes: int  # processes that train together
    batch_size: int  # images in a batch of each; 0 if the loader does not know it
    n_accumulated: int  # batches of each that make a step
    n_batches: int  # batches of each that make an epoch, whose last step may have fewer

    @classmethod
    def of(cls, trainer: Trainer) -> "Pace":
        """Return that of a trainer, whose data are loaded."""
        loader, n_batches = trainer.train_dataloader, int(trainer.num_training_batches)
        assert loader is not None
        batch_size = loader.batch_size or 0
        if isinstance(loader, ResumableLoader):
            batch_size = min(batch_size, len(loader.order))
        return cls(trainer.world_size, batch_size, trainer.accumulate_grad_batches, n_batches)

    def __str__(self) -> str:
        factors = (self.n_processes, self.batch_size, min(self.n_accumulated, self.n_batches))
        text = "batch of {} = {} processes x {} images x {} batches a step".format(math.prod(factors), *factors)
        if n_last := self.n_batches % self.n_accumulated:  # Lightning divides by a number that it need not reach
            text += f" ({n_last} at the end of an epoch, whose gradients count as 1 / {self.n_accumulated} each)"
        return text

    @property
    def epoch(self) -> int:
        """Steps of an epoch."""
        return math.ceil(self.n_batches / self.n_accumulated)

    def images(self, n_steps: int) -> int:
        """Return how many images all processes have seen after some steps."""
        n_epochs, rest = divmod(n_steps, self.epoch)
        n_batches = n_epochs * self.n_batches + min(rest * self.n_accumulated, self.n_batches)
        return n_batches * self.batch_size * self.n_processes

    def steps(self, n_images: int) -> int:
        """Return the first step after which all processes have seen so many images."""
        return self.steps_of(math.ceil(n_images / (self.batch_size * self.n_processes)))

    def steps_of(self, n_batches: int) -> int:
        """Return the first step after which each process has seen so many batches."""
        n_epochs, rest = divmod(n_batches, self.n_batches)
        return n_epochs * self.epoch + math.ceil(rest / self.n_accumulated)


def _other(pace: Pace, trainer: Trainer) -> tuple[int, int]:
    """Return the steps and images a run has done beside whole batches of this pace; 0 unless the batch was another."""
    n_steps, n_images = trainer.lightning_module.n_done
    return n_steps - (pace.steps(n_images + 1) - 1), n_images % (pace.batch_size * pace.n_processes)


class Pretrain(TrainingPhase):
    """Train from random weights, with a cosine decay of the learning rate; options are those of `TrainingPhase`."""

    name = "pretrain"

    def start(self, trainer: Trainer, module: PriorModule) -> None:
        """Keep the random weights."""
        if module.prior is None:
            raise ValueError("model.net must be given to pre-train: only FineTune takes it from a checkpoint")


class FineTune(TrainingPhase):
    """Start from a finished prior's averaged weights, with a fresh optimiser.

    Moderate fine-tuning at a reduced learning rate is best; too little or too much degrades
    (Arefeen et al. 2026). Resuming an interrupted run stays ``--ckpt_path``.

    Args:
        checkpoint: Name of a shipped prior, or path of a checkpoint; only its weights are taken. None only where
            ``--ckpt_path`` resumes a run.
        learning_rate: Learning rate after warm-up.
        warm_up: Steps of linear warm-up.
        final: Share of the learning rate at the end; the default keeps it constant, so that its value means what
            it says.
        contrast: A contrast that the prior does not know: it takes the first spare label and starts from the
            mean of the known ones.
        length: Length and other options of `TrainingPhase`.
    """

    name = "fine-tune"

    def __init__(
        self,
        checkpoint: str | None,
        learning_rate: float = 1e-5,
        warm_up: int = 50,
        final: float = 1.0,
        contrast: str | None = None,
        **length: Any,
    ) -> None:
        super().__init__(learning_rate, warm_up=warm_up, final=final, **length)
        self.checkpoint, self.contrast = checkpoint, None if contrast is None else plain_contrast(contrast)
        self._fingerprint: str | None = None

    def start(self, trainer: Trainer, module: PriorModule) -> None:
        """Load the weights, and give the new contrast a label."""
        if self.checkpoint is None:
            raise ValueError("phase.checkpoint must name a prior, unless ckpt_path resumes a run: got neither")
        prior = load_prior(self.checkpoint)
        self._fingerprint = fingerprint(prior)
        if self.contrast is not None and self.contrast not in prior.labels:
            prior.add_label(self.contrast)
        module.adopt(prior, source=self.checkpoint)

    def resume(self, module: PriorModule, checkpoint: str) -> None:
        """Take the prior of a run that goes on, which knows what the run started from."""
        super().resume(module, checkpoint)
        assert module.prior is not None
        self._fingerprint = module.prior.card["history"][-1].get("sha256")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of a contrast that no image has."""
        super().on_train_start(trainer, pl_module)
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not trainer.is_global_zero or self.contrast is None or not isinstance(data, CachedScans):
            return
        if self.contrast not in (found := data.describe()["contrasts"]):
            told = f"phase.contrast {self.contrast} is that of no training scan, and its label trains on nothing"
            print(f"WARNING: {told}: they are {', '.join(found)}", file=sys.stderr)

    def summary(self) -> Summary:
        """Name the phase, its settings and where it started."""
        origin = {"checkpoint": self.checkpoint, "sha256": self._fingerprint, "contrast": self.contrast}
        return {**super().summary(), **origin}
