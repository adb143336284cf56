"""Exponential moving average of the weights."""

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Lightning's weight averaging with a decay that warms up, min(decay, (1 + n) / (10 + n)) after n steps.

    The warm-up keeps the start out of a short run's average; with a long run it makes no difference. An average
    whose length was set for pre-training still holds much of the old weights when fine-tuning ends; a half-life in
    proportion to the run does not.

    Args:
        half_life: Half-life as a share of the steps of the run.
        decay: Decay a step once warm, in place of the half-life.
    """

    def __init__(self, half_life: float = 0.1, decay: float | None = None) -> None:
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1): got {decay}")
        if not half_life > 0:
            raise ValueError(f"half_life must be positive: got {half_life}")
        self.half_life, self.decay = None if decay is not None else half_life, decay

        def average(averaged: list[Tensor], current: list[Tensor], _: Tensor | int) -> None:
            assert self.decay is not None
            assert self._average_model is not None
            n = float(self._average_model.n_averaged)  # on the CPU, so that nothing waits for a GPU
            torch._foreach_lerp_(averaged, current, 1 - min(self.decay, (1 + n) / (10 + n)))

        super().__init__(multi_avg_fn=average)
        self._swapped = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the average to where the weights are by now; Lightning leaves it on the CPU, where it was made."""
        assert self._average_model is not None
        self._average_model.module.to(pl_module.device)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the decay that belongs to the half-life, 2^(-1 / (half_life n_steps))."""
        if self.half_life is None:
            return
        n_steps = trainer.estimated_stepping_batches
        if n_steps == float("inf"):
            raise ValueError("half_life is a share of the run, whose length the phase must give: got a run without end")
        self.decay = 2 ** (-1 / (self.half_life * n_steps))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = True

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train on the weights again."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the weights back where a validation was cut off, so that a checkpoint can be written."""
        if self._swapped:
            self.on_validation_epoch_end(trainer, pl_module)
