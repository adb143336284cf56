"""Likelihood of an image given k-space with white Gaussian noise, and its regularised least-squares solution."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from lightning_mri.physics.acquisition import Damping, Maps, Mask, Phase
from lightning_mri.physics.cg import conjugate_gradient
from lightning_mri.physics.exact import NormalInverse
from lightning_mri.physics.operators import Composition, LinearOperator
from lightning_mri.tensors import squared_norm


@dataclass(frozen=True, eq=False)
class GaussianLikelihood:
    """p(y | x), where y = A x + noise: log p = -abs(y - A x)^2 / (2 noise_std^2) + constant.

    Images may carry axes in front of those of the data, such as one of posterior samples.

    Args:
        A: Operator from image to k-space.
        y: Whitened measurement, zero where not acquired.
        noise_std: Standard deviation of the noise in each real channel, in units of ``y``; one value or one a sample,
            kept as one a sample.

    Raises:
        ValueError: If the operator's mask is not bool or not that of ``y``, ``y`` is not zero outside of it, or
            ``noise_std`` has another number of values.
    """

    A: LinearOperator
    y: Complex[Tensor, "*batch coil y x"]
    noise_std: Float[Tensor, "*#batch"]

    def __post_init__(self) -> None:
        noise, batch = torch.as_tensor(self.noise_std), self.y.shape[:-3]
        try:
            each = (noise.reshape(()) if noise.numel() == 1 else noise).expand(batch)
        except RuntimeError as error:
            got = f"got {tuple(noise.shape)} and y {tuple(self.y.shape)}"
            raise ValueError(f"noise_std must be one value, or one for each slice {tuple(batch)}: {got}") from error
        object.__setattr__(self, "noise_std", each)
        mask = self.A.find(Mask)
        if mask is None:
            return
        got = f"got y {tuple(self.y.shape)} and mask {tuple(mask.mask.shape)} of {mask.mask.dtype}"
        if mask.mask.shape[-2:] != self.y.shape[-2:] or not _broadcast(mask.mask, self.y):
            raise ValueError(f"y and mask must agree on (y, x), and have one mask for all slices or one each: {got}")
        if mask.mask.dtype != torch.bool:
            raise ValueError(f"mask must be bool: {got}")
        n_outside = int(((self.y != 0) & ~mask.mask).sum())
        if n_outside:
            raise ValueError(f"y must be zero where the mask is False: got {n_outside} values that are not")

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape [*batch, (set,) y, x] of an image."""
        return self.A.image_shape(tuple(self.y.shape))

    @property
    def acquired(self) -> Bool[Tensor, "*batch 1 y x"]:
        """Acquired samples: those of the mask, and all of them where the operator has none."""
        mask = self.A.find(Mask)
        return torch.ones_like(self.y[..., :1, :, :], dtype=torch.bool) if mask is None else mask.mask

    @property
    def n_acquired(self) -> Int[Tensor, "*batch"]:
        """Number of acquired complex samples, over all coils that measured anything."""
        live = (self.y != 0).flatten(-2).any(-1)
        live |= ~live.any(-1, keepdim=True)
        return (self.acquired & live[..., None, None]).expand_as(self.y).sum((-3, -2, -1))

    @cached_property
    def _adjoint(self) -> Tensor:
        return self.A.adjoint(self.y)

    def adjoint(self) -> Complex[Tensor, "..."]:
        """Return A^H y, computed once."""
        return self._adjoint

    @cached_property
    def normal_inverse(self) -> NormalInverse | None:
        """(A^H A + w)^-1 for any w, where it is cheap, computed once; None elsewhere."""
        return NormalInverse.of(self.A)

    @cached_property
    def _support(self) -> Tensor | None:
        maps = self.A.find(Maps)
        if maps is None:
            return None
        support = (maps.maps != 0).any(-3)
        return support.squeeze(-3) if maps.n_sets == 1 else support

    def apply_support(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return x where some coil sees it, and zero elsewhere: maps end where there is no signal."""
        return x if self._support is None else x * self._support

    def residual(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "*_ coil y x"]:
        """Return y - A x, which is zero where nothing was acquired."""
        return self.y - self.A(x)

    def residual_std(self, x: Complex[Tensor, "..."]) -> Float[Tensor, "*_"]:
        """Return sqrt(mean abs(y - A x)^2 / 2) over acquired samples, ``noise_std`` if x is right."""
        square = squared_norm(self.residual(x), ndim=3).squeeze((-3, -2, -1))
        return (square / (2 * self.n_acquired.clamp(min=1))).sqrt()

    def score(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return the gradient of log p(y | x), A^H (y - A x) / noise_std^2."""
        return (self._adjoint - self.A.normal(x)) / self._over_image(self.noise_std).square()

    def proximal(
        self,
        x_prior: Complex[Tensor, "..."],
        variance: Float[Tensor, "*variance"] | float,
        noise_std: Float[Tensor, "*noise"] | float | None = None,
        n_iterations: int = 8,
        x_init: Complex[Tensor, "..."] | None = None,
        tolerance: float = 1e-5,
    ) -> Complex[Tensor, "..."]:
        """Return argmin abs(y - A x)^2 / (2 noise_std^2) + abs(x - x_prior)^2 / (2 variance).

        Solves (A^H A + l) x = A^H y + l x_prior with l = noise_std^2 / variance by conjugate gradient.

        Args:
            x_prior: Image to stay close to.
            variance: Variance of each real channel around ``x_prior``, one value or one a sample.
            noise_std: Other noise level than the likelihood's, one value or one a sample.
            n_iterations: Largest number of iterations.
            x_init: Starting point; ``x_prior`` if none is given.
            tolerance: Relative residual at which a sample has converged.
        """
        noise = self._over_image(self.noise_std if noise_std is None else noise_std)
        weight = noise.square() / self._over_image(variance)
        return conjugate_gradient(
            lambda x: self.A.normal(x) + weight * x,
            self._adjoint + weight * x_prior,
            x_prior if x_init is None else x_init,
            n_iterations,
            tolerance,
            ndim=self.A.image_ndim,
        )

    def rows(self, which: Sequence[int]) -> "GaussianLikelihood":
        """Return some slices of a batch [batch, coil, y, x], with their part of every factor that differs by slice.

        A factor of your own that differs by slice has a method `LinearOperator.rows`.
        """
        return self.replace(A=self.A.rows(which), y=self.y[which], noise_std=self.noise_std[which])

    def replace(self, **changes: Any) -> "GaussianLikelihood":
        """Return the likelihood with other fields; nothing computed from the old ones is kept."""
        return replace(self, **changes)

    def to(self, device: torch.device | str) -> "GaussianLikelihood":
        """Return the likelihood with its tensors on ``device``."""
        return self.replace(A=self.A.to(device), y=self.y.to(device), noise_std=self.noise_std.to(device))

    def _over_image(self, value: Tensor | float) -> Tensor:
        """Return one value a sample as single-precision tensor that broadcasts over the axes of an image."""
        value = torch.as_tensor(value, dtype=torch.float32, device=self.y.device)
        ndim = len(self.image_shape) - self.noise_std.ndim
        return value[(...,) + (None,) * ndim]


def _broadcast(*parts: Tensor) -> bool:
    """Return whether shapes fit together; torch would import sympy to tell, which takes longer than a small scan."""
    try:
        np.broadcast_shapes(*(part.shape for part in parts))
    except ValueError:
        return False
    return True


def cg_sense(
    likelihood: GaussianLikelihood, regularisation: float = 0.02, n_iterations: int = 20
) -> Complex[Tensor, "..."]:
    """Return argmin abs(y - A x)^2 + regularisation abs(x)^2 by conjugate gradient (Pruessmann et al. 2001).

    Args:
        likelihood: The scan.
        regularisation: Weight of the image's energy; the eigenvalues of A^H A reach 1 with normalised maps.
        n_iterations: Conjugate-gradient steps.
    """
    zero = torch.zeros_like(likelihood.adjoint())
    return likelihood.proximal(zero, 1.0, math.sqrt(regularisation), n_iterations)


def without_degradation(likelihood: GaussianLikelihood) -> GaussianLikelihood:
    """Return the likelihood of a method that models neither damping nor phase: A = Mask @ Fourier @ Maps."""
    factors = (factor for factor in likelihood.A.factors if not isinstance(factor, Damping | Phase))
    return likelihood.replace(A=Composition(tuple(factors)))
