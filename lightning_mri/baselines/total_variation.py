"""Total variation (Rudin, Osher and Fatemi 1992) with the scan's own operator, through sigpy."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.baselines.baseline import Tunable
from lightning_mri.physics import GaussianLikelihood, largest_eigenvalue

GRADIENT_NORM = 8.0  # largest eigenvalue of the differences' normal operator, below 4 for each axis


@dataclass(frozen=True)
class TotalVariation(Tunable):
    """argmin abs(y - A x)^2 / 2 + lambda sum abs(grad x), lambda = weight x noise_std; by primal-dual steps.

    The gradient of the complex image is taken by differences that wrap around the edges, and its length over both
    axes together (isotropic). The operator is the likelihood's own, any factors included (Chambolle and Pock 2011).

    Args:
        weight: Strength of the regularisation relative to the noise.
        n_iterations: Primal-dual steps.
    """

    weight: float = 1.0
    n_iterations: int = 150

    weights = (0.1, 0.2, 0.4, 0.7, 1.0, 1.4, 2.0)

    @torch.no_grad()
    def reconstruct(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "*batch y x"]:
        """Return the image of least total variation for each slice; the slices share nothing but the call."""
        from sigpy.alg import PrimalDualHybridGradient  # imported when first used: sigpy compiles with numba

        A, y, device = likelihood.A, likelihood.y.numpy(force=True), likelihood.y.device
        n_sets, n_coils = likelihood.image_shape[:-2][y.ndim - 3 :], y.shape[-3]
        n_images = math.prod(n_sets)
        bound = self.weight * likelihood.noise_std.numpy(force=True)[..., None, None, None]

        def forward(x: np.ndarray) -> np.ndarray:
            """Return A x and the gradient of x, stacked along the coils."""
            differences = [np.roll(x, -1, axis) - x for axis in (-2, -1)]
            flat = [part.reshape(*y.shape[:-3], n_images, *y.shape[-2:]) for part in differences]
            return np.concatenate([A(torch.from_numpy(x).to(device)).numpy(force=True), *flat], axis=-3)

        def adjoint(u: np.ndarray) -> np.ndarray:
            data, *parts = np.split(u, [n_coils, n_coils + n_images], axis=-3)
            x = A.adjoint(torch.from_numpy(np.ascontiguousarray(data)).to(device)).numpy(force=True)
            parts = [part.reshape(x.shape) for part in parts]
            return x + sum(np.roll(part, 1, axis) - part for part, axis in zip(parts, (-2, -1), strict=True))

        def conjugate(step: np.ndarray, u: np.ndarray) -> np.ndarray:
            """Return the proximal map of the conjugate of data term and total variation."""
            data, along, across = np.split(u, [n_coils, n_coils + n_images], axis=-3)
            length = np.sqrt(np.abs(along) ** 2 + np.abs(across) ** 2)
            shrink = np.minimum(1, bound / np.maximum(length, np.finfo(np.float32).tiny))
            return np.concatenate([(data - step * y) / (1 + step), along * shrink, across * shrink], axis=-3)

        steepest = largest_eigenvalue(A.normal, likelihood.image_shape, A.image_ndim, device=device).clamp(min=1)
        step = (steepest.double() + GRADIENT_NORM).rsqrt().float().numpy(force=True)
        over_data = step.reshape(*y.shape[:-3], 1, 1, 1)
        x = likelihood.adjoint().numpy(force=True).copy()
        u = np.zeros_like(forward(x))
        steps = PrimalDualHybridGradient(
            conjugate, lambda _, x: x, forward, adjoint, x, u, step, over_data, max_iter=self.n_iterations
        )
        while not steps.done():
            steps.update()
        return likelihood.apply_support(torch.from_numpy(np.ascontiguousarray(steps.x)).to(device))
