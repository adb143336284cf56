"""Estimates in image units become slices in units of the input, with their null-space component and residual."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_mri.reconstruction.draws import Estimate
from lightning_mri.reconstruction.residual import measure_residual
from lightning_mri.reconstruction.uncertainty import null_space_component


@dataclass(eq=False)
class Finished:
    """Slices in units of the input, on the CPU; fields as in `Reconstruction` and its findings."""

    image: Tensor
    std: Tensor
    noise_ratio: Tensor
    signal_ratio: Tensor
    samples: Tensor | None
    null_space: Tensor | None

    @classmethod
    def of(cls, estimate: Estimate, sigma_data: float | None) -> "Finished":
        """Return what was made of slices.

        Args:
            estimate: In image units.
            sigma_data: Standard deviation of images by the prior, for the null-space component; None without one.
        """
        finish, likelihood, samples = estimate.problem.finish, estimate.likelihood, estimate.samples
        residual = measure_residual(estimate.problem.likelihood, estimate.image)
        null_space = None
        if sigma_data is not None:
            weight = likelihood.noise_std.square() / sigma_data**2
            null_space = finish(null_space_component(likelihood.A, estimate.image, weight)).abs().cpu()
        return cls(
            finish(estimate.image).cpu(),
            finish(estimate.std).cpu(),
            residual.noise_ratio.cpu(),
            residual.signal_ratio.cpu(),
            None if samples is None else finish(samples).cpu(),
            null_space,
        )

    def put(self, row: int, other: "Finished") -> None:
        """Replace one slice by the only one of another result, which may have no samples."""
        for name in ("image", "std", "noise_ratio", "signal_ratio", "null_space"):
            if getattr(self, name) is not None:
                getattr(self, name)[row] = getattr(other, name)[0]
        if self.samples is not None:
            self.samples[:, row] = other.image[0] if other.samples is None else other.samples[:, 0]

    @property
    def null_space_share(self) -> Tensor | None:
        """Norm of the null-space component relative to that of the image."""
        if self.null_space is None:
            return None
        # in double precision, as squares in units of the input may be too large for single
        maps = (self.null_space.double(), self.image.abs().double())
        component, whole = (torch.linalg.vector_norm(x, dim=(-2, -1)) for x in maps)
        return (component / whole.clamp(min=torch.finfo(torch.float64).tiny)).float()
