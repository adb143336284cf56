"""Losses that need the scanner's physics."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from lightning_mri.data import LowField
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.tensors import complex_noise


@dataclass(frozen=True)
class SupervisedReconstruction:
    """Mean of abs(D(A^H y + sigma z; sigma) - x)^2: the denoiser also learns to undo what the scanner did.

    y is x after degradation, so that D sees at every noise level the image it will meet in a reconstruction. The
    loss weight is that of score matching, the share of the term is ``weight`` (AAPM 2026 abstract on low-field
    mouse MRI, which names both losses and not their mixture).

    Args:
        degradation: What the scanner does to an image.
        weight: Share of this loss beside score matching.

    Raises:
        ValueError: If ``weight`` is negative.
    """

    degradation: LowField
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a negative share."""
        if self.weight < 0:
            raise ValueError(f"reconstruction weight must not be negative: got {self.weight}")

    def __call__(
        self, prior: NetworkPrior, x: Complex[Tensor, "batch y x"], label: Int[Tensor, "batch"]
    ) -> Float[Tensor, ""]:
        """Return the mean loss of a batch, with fresh degradation, noise and noise level for each image."""
        with torch.no_grad():
            degraded = self.degradation.degrade(x).adjoint()
        sigma = prior.process.draw_sigma(len(x)).to(x.device)
        noisy = degraded + sigma[:, None, None] * complex_noise(x.shape, device=x.device)
        error = torch.view_as_real(prior(noisy, sigma, label) - x).square().mean((-3, -2, -1))
        return (prior.process.loss_weight(sigma) * error).mean()
