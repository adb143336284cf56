"""Checkpoints that hold the end of a run."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint


class Checkpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, whose ``last.ckpt`` holds the end of a run, too.

    Lightning saves every ``every_n_train_steps`` and loses what comes after the last multiple of it, which is where the
    learning rate has fallen. Arguments are those of `ModelCheckpoint`.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after an interval, and after the last step of all or of the time that there was."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if not self._every_n_train_steps or self._last_global_step_saved == trainer.global_step:
            return
        if trainer.should_stop or trainer.global_step >= trainer.estimated_stepping_batches:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
