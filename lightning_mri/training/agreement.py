"""What a checkpoint says wins: where a configuration says otherwise, it is refused."""

from collections.abc import Mapping
from typing import Any

RUN_OPTIONS = (
    *("phase", "phase.checkpoint", "phase.strategy", "phase.learning_rate", "phase.final", "phase.warm_up"),
    *("phase.weight_decay", "phase.contrast", "model.loss.label_dropout", "model.reconstruction_weight"),
)
"""Options that a run keeps from its first step to its last; the history has them by their last word."""


def check_prior(mine: Mapping[str, Any], theirs: Mapping[str, Any], source: str) -> None:
    """Compare parts of a prior's description, all but its card, with a checkpoint's.

    Raises:
        ValueError: If one differs.
    """
    for name, value in mine.items():
        if name != "card" and value != theirs[name]:
            option = "net" if name == "network" else name
            raise ValueError(
                f"model.{option} must be left out or agree with the checkpoint {source}: got {value} "
                f"and the checkpoint's {theirs[name]}"
            )


def check_run(mine: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    """Compare the settings of a run that goes on with those in its prior's card; None is not compared.

    Optimiser, history and weights go on as they were, so that another setting would be half in effect.

    Raises:
        ValueError: If one differs.
    """
    theirs = card["history"][-1]
    for option in RUN_OPTIONS:
        name = option.rpartition(".")[2]
        if name in theirs and mine.get(name) not in (None, theirs[name]):
            raise ValueError(f"a run must be resumed with its own {option}, {theirs[name]}: got {mine[name]}")
