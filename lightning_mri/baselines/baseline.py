"""Baselines: functions from a likelihood to an image."""

import math
from abc import ABC, abstractmethod

from jaxtyping import Complex
from torch import Tensor

from lightning_mri.physics import GaussianLikelihood

NOT_EMPTY = 1e-30
"""Least size of what is divided by: that of an empty slice is 0."""


class Baseline(ABC):
    """A reconstruction from the same operator, k-space and noise level that a sampler gets."""

    @abstractmethod
    def reconstruct(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "*batch y x"]:
        """Return one image for each slice.

        Args:
            likelihood: The scan, a batch of slices.

        Returns:
            Images in image units, with a set axis in front of (y, x) where the maps have several sets.
        """


class Tunable(Baseline, ABC):
    """A baseline with one strength: the larger its ``weight``, the smoother the image; `tune` chooses it.

    Attributes:
        weight: The strength.
        weights: Strengths worth trying, from hardly any effect to too much.
    """

    weight: float
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight must not be negative, and finite: got {self.weight}")
