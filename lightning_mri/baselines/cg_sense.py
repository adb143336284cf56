"""CG-SENSE (Pruessmann et al. 2001): regularised least squares by conjugate gradients."""

from dataclasses import dataclass

from jaxtyping import Complex
from torch import Tensor

from lightning_mri.baselines.baseline import Baseline
from lightning_mri.physics import GaussianLikelihood, cg_sense


@dataclass(frozen=True)
class CGSense(Baseline):
    """argmin abs(y - A x)^2 + regularisation abs(x)^2.

    Args:
        n_iterations: Conjugate-gradient steps.
        regularisation: Weight of the image's energy; the eigenvalues of A^H A reach 1 with normalised maps.
    """

    n_iterations: int = 20
    regularisation: float = 0.02

    def __post_init__(self) -> None:
        if not self.regularisation >= 0:
            raise ValueError(f"regularisation must not be negative: got {self.regularisation}")

    def reconstruct(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "*batch y x"]:
        """Return the regularised least-squares image of each slice."""
        return cg_sense(likelihood, self.regularisation, self.n_iterations)
