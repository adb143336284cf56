"""Exponential moving average of the weights."""

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Lightning's weight averaging with a decay that warms up, min(decay, (1 + n) / (10 + n)) after n steps.

    The warm-up keeps the random start out of a short run's average; with a long run it makes no difference.

    Args:
        decay: Decay a step once warm.
    """

    def __init__(self, decay: float = 0.9995) -> None:
        def average(averaged: list[Tensor], current: list[Tensor], n_averaged: Tensor | int) -> None:
            n = float(n_averaged)
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

        super().__init__(multi_avg_fn=average)
