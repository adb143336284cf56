"""What every baseline is: a function from a likelihood to an image, without a prior that was learnt."""

import math
from abc import ABC, abstractmethod

from jaxtyping import Complex
from torch import Tensor

from lightning_mri.physics import GaussianLikelihood


class Baseline(ABC):
    """Reconstructs from what the samplers see: the same operator, k-space and noise level."""

    @abstractmethod
    def reconstruct(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "*batch y x"]:
        """Return one image for each slice.

        Args:
            likelihood: The scan, a batch of slices.

        Returns:
            Images in image units, with a set axis in front of (y, x) where the maps have several sets.
        """


class Tunable(Baseline, ABC):
    """A baseline with one strength: the larger its ``weight``, the smoother the image.

    What the weight multiplies is the baseline's matter; `tune` chooses it on scans whose truth is known.
    """

    weight: float

    @property
    @abstractmethod
    def weights(self) -> tuple[float, ...]:
        """Weights worth trying."""

    def __post_init__(self) -> None:
        """Refuse a weight that is none.

        Raises:
            ValueError: If ``weight`` is negative or not finite.
        """
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight must not be negative, and finite: got {self.weight}")
