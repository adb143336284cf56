"""Zero-filled reconstruction: what the scanner shows."""

from dataclasses import dataclass

from jaxtyping import Complex
from torch import Tensor

from lightning_mri.baselines.baseline import Baseline
from lightning_mri.physics import GaussianLikelihood, without_degradation


@dataclass(frozen=True)
class ZeroFilled(Baseline):
    """Maps^H F^H y: samples that were not acquired count as zero, and neither damping nor phase is undone.

    Without compensation of the sampling density: low frequencies keep their true amplitude where the centre is fully
    sampled, and the rest is as dark as the mask is sparse.
    """

    def reconstruct(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "*batch y x"]:
        """Return the image of each slice."""
        return without_degradation(likelihood).adjoint()
