"""Coil maps from all acquired samples, together with the image: regularised nonlinear inversion.

Uecker et al., Magn. Reson. Med. 60:674 (2008). ESPIRiT reads the calibration block alone and needs enough lines of it;
here every sample counts, and maps are smooth by construction, so that a few lines are enough.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor
from torch.nn.functional import max_pool2d

from lightning_mri.physics.acquisition import Mask
from lightning_mri.physics.cg import conjugate_gradient
from lightning_mri.physics.coils import principal_coils
from lightning_mri.physics.fourier import fft2c, ifft2c
from lightning_mri.physics.masks import Acs
from lightning_mri.physics.operators import Composition, Fourier
from lightning_mri.tensors import centre_crop, centre_pad, norm

DATA_NORM = 100.0
"""Norm that the data are scaled to, in which alpha is measured."""

NEGLIGIBLE = 1e-4
"""Gain below which a frequency of the maps is left out."""

EMPTY = 0.1
"""Smoothed magnitude, relative to its 99th percentile, below which there is no object."""

BLUR, MARGIN = 0.01, 0.004
"""Standard deviation of that smoothing, and width kept about the object, as shares of the field of view."""

TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class NonlinearInversion:
    """Find image x and coil maps c_j = W d_j together, on a coarse grid.

    Minimises abs(y - P F (x c_j))^2 + alpha (abs(x - 1)^2 + sum_j abs(d_j)^2), with the mask P and the Fourier
    transform F. W weights Fourier coefficients by (1 + s abs(k)^2)^-l, k in cycles per field of view. Each Gauss-Newton
    step solves (DF^H DF + alpha_n) h = DF^H (y - F(z_n)) + alpha_n (z_0 - z_n) for z = (x, d) by conjugate gradient,
    with alpha_n = q^n and z_0 = (1, 0). The number of steps is the regularisation: with few of them the maps are
    smoother than the coils, with many they take in noise.

    Two things differ from the paper, and both matter. The smoothness is per field of view, not per pixel, so that one
    value serves every resolution. And maps repeat after ``period`` fields of view instead of one: with one, those
    of a head that fills the field of view would have to agree at its opposite edges.

    Maps are smooth, so that the centre of k-space tells as much of them as all of it, in a tenth of the time.

    Args:
        n_steps: Gauss-Newton steps.
        smoothness: s, for a square field of view of the same area.
        order: l.
        period: Fields of view after which maps repeat.
        reduction: q.
        n_iterations: Most conjugate-gradient iterations of a step.
        tolerance: Residual, relative to the right-hand side, at which a step is solved.
        n_coarse: Samples about the centre of k-space, along each axis, that are used.

    Raises:
        ValueError: If a number is not positive, the reduction not below 1, or the period below 1.
    """

    n_steps: int = 15
    smoothness: float = 0.015
    order: float = 16.0
    period: float = 1.25
    reduction: float = 0.5
    n_iterations: int = 100
    tolerance: float = 0.3
    n_coarse: int = 64

    def __post_init__(self) -> None:
        """Validate the settings."""
        numbers = (self.n_steps, self.smoothness, self.order, self.reduction, self.n_iterations, self.n_coarse)
        if min(numbers) <= 0 or self.reduction >= 1 or self.period < 1:
            raise ValueError(f"settings must be positive, reduction below 1 and period at least 1: got {self}")

    def maps(
        self, kspace: Complex[Tensor, "*batch coil y x"], mask: Bool[Tensor, "*mask_batch 1 y x"], acs: Acs
    ) -> Complex[Tensor, "*batch 1 coil y x"]:
        """Return coil maps as `estimate_maps` does, sum over coils of abs(S)^2 = 1 where the object is and 0 elsewhere.

        The phase of each map is relative to a virtual coil, the first principal component of the calibration block.

        Args:
            kspace: K-space of each slice, zero where not acquired.
            mask: True where a sample was acquired, in any pattern.
            acs: Calibration block.
        """
        size = (kspace.shape[-2], kspace.shape[-1])
        x, d = self.solve(kspace, mask)
        on_coarse, on_fine = (self.basis(size, grid, x.device) for grid in (x.shape[-2:], size))
        magnitude = x.abs() * torch.linalg.vector_norm(on_coarse(d), dim=-3)
        c = on_fine(d)
        gain = _support(_smoothed(magnitude, size)) / torch.linalg.vector_norm(c, dim=-3).clamp(min=TINY)
        blocks = acs.crop(kspace).reshape(-1, kspace.shape[-3], *acs.shape)
        virtual = torch.cat([principal_coils(block, 1) for block in blocks]).reshape(kspace.shape[:-2])
        phase = torch.einsum("...c,...cyx->...yx", virtual, c).conj().sgn()
        return (c * (gain * phase)[..., None, :, :])[..., None, :, :, :]

    def solve(
        self, kspace: Complex[Tensor, "*batch coil y x"], mask: Bool[Tensor, "*mask_batch 1 y x"]
    ) -> tuple[Complex[Tensor, "*batch v u"], Complex[Tensor, "*batch coil q p"]]:
        """Return the image x on the coarse grid and the coefficients d of the maps, of which only the product counts.

        Args:
            kspace: K-space of each slice, zero where not acquired.
            mask: True where a sample was acquired, in any pattern.
        """
        size = (kspace.shape[-2], kspace.shape[-1])
        grid = (min(self.n_coarse, size[0]), min(self.n_coarse, size[1]))
        kspace, mask = centre_crop(kspace, grid), centre_crop(mask, grid)
        basis, encode = self.basis(size, grid, kspace.device), Composition((Mask(mask), Fourier()))
        measured = encode.adjoint(kspace) * (DATA_NORM / norm(kspace, 3).clamp(min=TINY))
        x = torch.ones_like(measured[..., :1, :, :])
        d = measured.new_zeros(*measured.shape[:-2], *basis.shape)
        start = _join(x, d)
        for n in range(self.n_steps):
            step = _Linearised(encode, basis, x, d, self.reduction**n)
            b = step.adjoint(measured - encode.normal(x * step.c)) + step.alpha * (start - _join(x, d))
            h = conjugate_gradient(step.normal, b, n_iterations=self.n_iterations, tolerance=self.tolerance, ndim=1)
            dx, dd = step.split(h)
            x, d = x + dx, d + dd
        return x[..., 0, :, :], d

    def basis(self, size: tuple[int, int], grid: tuple[int, int], device: torch.device | str = "cpu") -> "SmoothBasis":
        """Return W for a field of view of ``size`` square pixels, on a grid of any pixels that covers it."""
        return SmoothBasis(size, grid, self, device)


class SmoothBasis:
    """Smooth images W d from their few low frequencies d, by small matrix products."""

    def __init__(
        self, size: tuple[int, int], grid: tuple[int, int], settings: NonlinearInversion, device: torch.device | str
    ) -> None:
        edge = math.sqrt(math.prod(size))  # of a square of the same area
        highest = math.sqrt((NEGLIGIBLE ** (-1 / settings.order) - 1) / settings.smoothness)
        n_highest = [math.ceil(settings.period * highest * n / edge) for n in size]
        y, x = (torch.arange(-n, n + 1, device=device) / settings.period for n in n_highest)
        k_squared = (y[:, None] * edge / size[0]).square() + (x * edge / size[1]).square()
        self.gain: Float[Tensor, "q p"] = (1 + settings.smoothness * k_squared) ** -settings.order
        self.waves = [_waves(n, f, settings.period) for n, f in zip(grid, (y, x), strict=True)]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of frequencies (y, x)."""
        return self.gain.shape[0], self.gain.shape[1]

    def __call__(self, d: Complex[Tensor, "*batch q p"]) -> Complex[Tensor, "*batch v u"]:
        """Return W d."""
        return self.waves[0] @ (self.gain * d) @ self.waves[1].T

    def adjoint(self, image: Complex[Tensor, "*batch v u"]) -> Complex[Tensor, "*batch q p"]:
        """Return W^H x."""
        return self.gain * (self.waves[0].mH @ image @ self.waves[1].conj())


def _waves(n: int, frequencies: Tensor, period: float) -> Tensor:
    """Waves [place, frequency] of given cycles per field of view, of unit norm over a period."""
    place = torch.arange(n, device=frequencies.device) - n // 2
    angle = 2 * math.pi / n * place[:, None] * frequencies
    return torch.polar(torch.full_like(angle, 1 / math.sqrt(period * n)), angle)


class _Linearised:
    """The derivative DF of F(x, d) = P F (x W d_j) at one point, and its regularised normal operator."""

    def __init__(self, encode: Composition, basis: SmoothBasis, x: Tensor, d: Tensor, alpha: float) -> None:
        self.encode, self.basis, self.x, self.c, self.alpha = encode, basis, x, basis(d), alpha
        self.x_conj, self.c_conj = x.conj().resolve_conj(), self.c.conj().resolve_conj()

    def split(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return image [*batch, 1, y, x] and coefficients [*batch, coil, q, p] of a vector [*batch, unknown]."""
        n = self.x.shape[-2] * self.x.shape[-1]
        return h[..., :n].unflatten(-1, self.x.shape[-3:]), h[..., n:].unflatten(-1, (-1, *self.basis.shape))

    def adjoint(self, coils: Tensor) -> Tensor:
        """Return DF^H y from the coil images F^-1 P y."""
        return _join((self.c_conj * coils).sum(-3, keepdim=True), self.basis.adjoint(self.x_conj * coils))

    def normal(self, h: Tensor) -> Tensor:
        """Return (DF^H DF + alpha) h."""
        dx, dd = self.split(h)
        return self.adjoint(self.encode.normal(dx * self.c + self.x * self.basis(dd))) + self.alpha * h


def _join(x: Tensor, d: Tensor) -> Tensor:
    """Return one vector [*batch, unknown] of image and coefficients."""
    return torch.cat([x.flatten(-3), d.flatten(-3)], -1)


def _smoothed(magnitude: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a magnitude on a finer grid, smoothed by a Gaussian."""
    y, x = (torch.arange(n, device=magnitude.device) - n // 2 for n in magnitude.shape[-2:])
    gain = torch.exp(-2 * (math.pi * BLUR) ** 2 * (y[:, None].square() + x.square()))
    return ifft2c(centre_pad(gain * fft2c(magnitude.to(torch.complex64)), size)).real


def _support(magnitude: Tensor) -> Tensor:
    """Return 1 where the object is, 0 elsewhere: above a share of its brightness, with a margin and without holes."""
    flat = magnitude.flatten(-2)
    level = EMPTY * torch.kthvalue(flat, max(1, round(0.99 * flat.shape[-1]))).values[..., None, None]
    margin = max(1, round(MARGIN * max(magnitude.shape[-2:])))
    bright = (magnitude > level).to(torch.float32).reshape(-1, 1, *magnitude.shape[-2:])
    inside = max_pool2d(bright, 2 * margin + 1, 1, margin).reshape(magnitude.shape)
    return _filled(inside, -1) * _filled(inside, -2)


def _filled(inside: Tensor, axis: int) -> Tensor:
    """Return 1 from the first to the last place inside along an axis."""
    return inside.cummax(axis).values * inside.flip(axis).cummax(axis).values.flip(axis)
