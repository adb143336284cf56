"""Checkpoints from which a run can always go on: whole, checked when read, and written when the run is stopped."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from lightning_mri.files import atomic, remove_leavings
from lightning_mri.messages import sentence
from lightning_mri.training.place import validation_is_due
from lightning_mri.training.stopping import Stopped, StopSignals
from lightning_mri.training.validation import RECONSTRUCTED, ReconstructHeldOut
from lightning_mri.weights import check_checkpoint, read_plain

FIELDS = {
    "state_dict": Mapping,
    "prior": Mapping,
    "run": Mapping,
    "loops": Mapping,
    "callbacks": Mapping,
    "optimizer_states": list,
    "lr_schedulers": list,
    "global_step": int,
    "pytorch-lightning_version": str,
}
"""What a run goes on from."""


class CheckedIO(TorchCheckpointIO):
    """Write checkpoints beside their place and move them there when they are whole; read only intact ones.

    Lightning writes to the folder for temporary files, from where a move to another file system is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint, and remove what killed runs left beside it."""
        path = Path(path)
        remove_leavings(path)
        with atomic(path) as part, part.open("wb") as file:  # by its path, torch would write the part's name into it
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # in whose words nobody finds the full disk behind it
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Return a checkpoint of a run, on the CPU; nothing in it is executed."""
        path = Path(path)
        try:
            return read_run(path)
        except ValueError as error:
            other = newest_intact(path.parent)
            hint = "no other there is intact" if other is None else f"the newest intact one there is {other}"
            raise ValueError(f"{sentence(error)}; {hint}") from error


class Checkpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, whose ``last.ckpt`` is the last state: of an epoch, and of the end of a run.

    Lightning saves it every ``every_n_train_steps``, or where a validation was one of the best, and loses what comes
    after, which is where the learning rate has fallen. SIGTERM, SIGINT and SIGUSR1, by which SLURM announces the end of
    a job's time, end the run after the batch. Arguments are those of `ModelCheckpoint`.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let checkpoints on local disks be written whole and read when intact; a plugin of the user stays.

        Raises:
            ValueError: If a callback monitors what is never logged.
        """
        super().setup(trainer, pl_module, stage)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        missing = () if any(isinstance(each, ReconstructHeldOut) for each in callbacks) else RECONSTRUCTED
        for callback in callbacks:
            if (monitor := getattr(callback, "monitor", None)) in missing:
                raise ValueError(f"{type(callback).__name__}: monitor {monitor} needs ReconstructHeldOut as a callback")
        self._signals = next((each for each in callbacks if isinstance(each, StopSignals)), StopSignals())
        if self._signals not in callbacks:  # it listens first; this one's turn comes last
            trainer.callbacks = [self._signals, *callbacks]  # type: ignore[attr-defined]
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO and "://" not in str(self.dirpath):
            trainer.strategy.checkpoint_io = CheckedIO()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Find the state of a run that goes on with another interval, which is part of Lightning's key."""
        states, kind = checkpoint["callbacks"], f"{type(self).__qualname__}{{"
        theirs = (each for key, each in states.items() if key.startswith(kind) and each["monitor"] == self.monitor)
        states.setdefault(self.state_key, next(theirs, {}))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best and the last checkpoint of a folder that was moved, too, where Lightning forgets them."""
        if (old := state_dict["dirpath"]) != self.dirpath:
            state_dict = self._moved(state_dict, old)
        super().load_state_dict(state_dict)

    def _moved(self, state: dict[str, Any], old: str) -> dict[str, Any]:
        """Return a state with its checkpoints where they are now; none is the best where one of the best is not."""

        def here(path: str) -> str:
            there = os.path.join(str(self.dirpath), os.path.relpath(path, old)) if path else ""
            return there if os.path.isfile(there) else ""

        best = {here(path): score for path, score in state["best_k_models"].items()}
        paths = {name: here(state[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        moved = {**state, **paths, "best_k_models": best, "dirpath": self.dirpath}
        if "" not in best:
            return moved
        lost = next(os.path.basename(path) for path in state["best_k_models"] if not here(path))
        rank_zero_warn(f"{self.dirpath} has no {lost}, the best so far: the best of the steps to come takes its place")
        return {**moved, "best_model_path": "", "best_k_models": {}, "best_model_score": None}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after an interval, and after the last step of all or of the time that there was."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        try:
            self._signals.check(trainer)
        except Stopped:
            trainer._logger_connector.update_train_step_metrics()  # which Lightning logs after this hook
            raise
        if self._last_global_step_saved == trainer.global_step:
            return
        ended = trainer.should_stop or trainer.global_step >= trainer.estimated_stepping_batches
        epoch_saves = validation_is_due(trainer) or self._should_save_on_train_epoch_end(trainer)
        if ended and not (epoch_saves and self._is_due(trainer)):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last state, too, where it is not one of the best."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._should_save_on_train_epoch_end(trainer):
            self._keep_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last state, too, where it is not one of the best."""
        super().on_validation_end(trainer, pl_module)
        if not self._should_save_on_train_epoch_end(trainer):
            self._keep_last(trainer)

    def _keep_last(self, trainer: Trainer) -> None:
        if self._is_due(trainer) and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _is_due(self, trainer: Trainer) -> bool:
        return self._every_n_epochs >= 1 and (trainer.current_epoch + 1) % self._every_n_epochs == 0

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """End a validation early where a signal asks for it; a run that goes on repeats it."""
        if trainer.training or trainer.validating or trainer.sanity_checking:
            self._signals.check(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals end the process again. All is saved: by now the average has taken the place of the weights."""
        self._signals.ignore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save where a signal stopped the run."""
        super().on_exception(trainer, pl_module, exception)
        if isinstance(exception, Stopped):
            if trainer.global_step > 0:
                self._save_stopped(trainer, exception)
            self._signals.ignore()

    def _save_stopped(self, trainer: Trainer, exception: Stopped) -> None:
        if self._last_global_step_saved != trainer.global_step:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
        path = self.last_model_path or self.best_model_path
        if trainer.is_global_zero:
            told = f"stopped by {exception.signal.name} after step {trainer.global_step}: saved {path}"
            print(f"{told}; the same command with --ckpt_path last goes on", file=sys.stderr)


def read_run(path: Path) -> dict[str, Any]:
    """Return the checkpoint of a run to go on with."""
    checkpoint = read_plain(path)
    fields = checkpoint if isinstance(checkpoint, dict) else {}
    odd = [name for name, kind in FIELDS.items() if not isinstance(fields.get(name), kind)]
    if odd:
        raise ValueError(f"{path} must be a checkpoint of fit: it has no proper {', '.join(odd)}")
    check_checkpoint(path, checkpoint)
    return checkpoint


def newest_intact(folder: Path) -> Path | None:
    """Return the newest checkpoint of a folder that a run can go on from."""
    for path in sorted(folder.glob("*.ckpt"), key=os.path.getmtime, reverse=True):
        with suppress(ValueError, OSError):
            read_run(path)
            return path
    return None


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest ``last.ckpt`` of a folder, or with a warning what else is intact; None if there is nothing."""
    if not any(folder.glob("*.ckpt")):
        return None
    last = max(folder.glob("last*.ckpt"), key=os.path.getmtime, default=None)
    try:
        if last is None:  # the run was killed before its first one, or somebody keeps the best one alone
            raise ValueError(f"{folder} has no last.ckpt")
        read_run(last)
    except ValueError as error:
        if (other := newest_intact(folder)) is None:
            raise ValueError(f"{sentence(error)}; no other there is intact") from error
        rank_zero_warn(f"{sentence(error)}: the run goes on from {other}")
        return other
    return last
