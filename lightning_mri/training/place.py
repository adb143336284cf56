"""Where a run is in its epochs and validations, and how it says so to Lightning when it goes on."""

from typing import Any

from pytorch_lightning import Trainer


def validation_is_due(trainer: Trainer) -> bool:
    """Return whether the batch that has just been trained on is followed by a validation."""
    loop = trainer.fit_loop.epoch_loop
    batches: Any = loop.batch_progress.current
    at_batch_end = trainer.training and batches.completed == batches.processed - 1
    fetcher: Any = trainer.fit_loop._data_fetcher
    return at_batch_end and not trainer.should_stop and loop._should_check_val_fx(fetcher)


def validate(trainer: Trainer, epoch: int) -> None:
    """Run the validation that a resumed run owes to an epoch, with the counts that it has in the course of a run."""
    loop = trainer.fit_loop.epoch_loop
    epochs: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = loop.batch_progress
    here = epochs.processed, epochs.completed
    epochs.processed = epochs.completed = epoch
    for counts in (batches.current, batches.total):
        counts.completed += 1
    trainer.validating, loop.val_loop.restarting = True, False
    loop.val_loop.run()
    trainer.training = True
    epochs.processed, epochs.completed = here
    for counts in (batches.current, batches.total):
        counts.completed -= 1


def say_where(loop: dict[str, Any], validating: bool, cut_off: bool) -> None:
    """Let the progress in a checkpoint say where the run is in the only way from which Lightning 2.6 goes on rightly.

    That is: within an epoch, after a batch. Written at the end of an epoch, it would be the end of a whole one even
    where steps, time or a signal had cut it short; and of a run that is counted in steps, epochs would from then on
    be one batch long.

    Args:
        loop: State of the fit loop.
        validating: Whether the checkpoint is written by a validation, within an epoch.
        cut_off: Whether that validation is incomplete; then the checkpoint is as of the batch before it.
    """
    epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
    epoch_ended = not validating and batches["current"]["completed"] == batches["current"]["processed"]
    n_done = epochs["current"]["processed"] - epoch_ended
    for counts in (epochs["total"], epochs["current"]):
        counts.update(ready=n_done + 1, started=n_done + 1, processed=n_done, completed=n_done)
    if epoch_ended or cut_off:
        batches["total"]["completed"] -= 1
        batches["current"]["completed"] -= 1
    if cut_off:
        validated = loop["epoch_loop.val_loop.batch_progress"]
        for counts in (validated["total"], validated["current"]):
            counts.update(ready=0, started=0, processed=0, completed=0)
        validated["is_last_batch"] = False
