"""How a learning rate moves over a run: a linear rise, and then a decay."""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def cosine(progress: float, final: float = 0.0) -> float:
    """Return a factor that falls from 1 to ``final`` as ``progress`` goes from 0 to 1, along half a cosine."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def warmed(optimizer: Optimizer, n_steps: float, warm_up: int, decay: Callable[[float], float]) -> LambdaLR:
    """Return the schedule min(1, (step + 1) / warm_up) * decay(step / n_steps)."""

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / max(warm_up, 1)) * decay(min(step / n_steps, 1.0))

    return LambdaLR(optimizer, factor)
