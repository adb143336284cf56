"""Zero-filled reconstruction: the adjoint of the measurement."""

from dataclasses import dataclass

from jaxtyping import Complex
from torch import Tensor

from lightning_mri.baselines.baseline import Baseline
from lightning_mri.physics import GaussianLikelihood


@dataclass(frozen=True)
class ZeroFilled(Baseline):
    """A^H y: samples that were not acquired count as zero.

    The plain adjoint, without compensation of the sampling density: low frequencies keep their true
    amplitude where the centre is fully sampled, and the rest is as dark as the mask is sparse.
    """

    def reconstruct(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "*batch y x"]:
        """Return A^H y for each slice."""
        return likelihood.adjoint()
