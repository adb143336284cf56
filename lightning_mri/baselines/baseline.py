"""What every baseline is: a function from a likelihood to an image, without a prior that was learnt."""

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
