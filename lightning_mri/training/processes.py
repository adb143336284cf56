"""What the processes of a run know of each other."""

from collections.abc import Callable
from typing import Any

from pytorch_lightning import Trainer
from torch import distributed


def on_rank_zero(trainer: Trainer, function: Callable[[], Any]) -> Any:
    """Return in every process what a function returns in the first one; its errors are raised in all of them."""
    value, raised = None, None
    if trainer.is_global_zero:
        try:
            value = function()
        except (ValueError, OSError) as error:
            raised = error
    value, raised = trainer.strategy.broadcast((value, raised))
    if raised is not None:
        raise raised
    return value


def of_all(trainer: Trainer, value: Any) -> list[Any]:
    """Return the values that all processes give, in their order; every process must ask."""
    values = [value] * trainer.world_size
    if trainer.world_size > 1:
        distributed.all_gather_object(values, value)
    return values
