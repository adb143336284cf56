"""The image as the scanner shows it."""

from dataclasses import dataclass

from jaxtyping import Complex
from torch import Tensor

from lightning_mri.baselines.baseline import Baseline
from lightning_mri.physics import Composition, Damping, GaussianLikelihood, Phase


@dataclass(frozen=True)
class Degraded(Baseline):
    """Maps^H F^H y, whatever damping and phase the likelihood knows of: nothing is undone.

    Without damping and phase it is `ZeroFilled`, whose A^H y would damp a second time.
    """

    def reconstruct(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "*batch y x"]:
        """Return the measured image of each slice."""
        return transform(likelihood).adjoint(likelihood.y)


def transform(likelihood: GaussianLikelihood) -> Composition:
    """Return the operator without damping and phase, Mask @ Fourier @ Maps."""
    return Composition(tuple(part for part in likelihood.A.factors if not isinstance(part, Damping | Phase)))
