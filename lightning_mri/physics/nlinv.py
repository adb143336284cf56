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
from lightning_mri.physics.espirit import acs_image, estimate_maps
from lightning_mri.physics.fourier import fft2c, ifft2c
from lightning_mri.physics.masks import Acs
from lightning_mri.physics.operators import Composition, Fourier
from lightning_mri.physics.smooth import SmoothImages
from lightning_mri.physics.vortices import without_vortices
from lightning_mri.tensors import TINY, centre_crop, centre_pad, norm, root_sum_of_squares

DATA_NORM = 100.0
"""Norm that the data are scaled to, in which alpha is measured."""

NEGLIGIBLE = 1e-4
"""Gain below which a frequency of the maps is left out."""

FIT_WEIGHT, SENSE_WEIGHT = 1e-4, 1e-2
"""Regularisation of the start: of coefficients fitted to ESPIRiT's maps, and of the image found with them."""

FIRST_STOP = 9
"""Gauss-Newton step from which on an inversion may stop: earlier, maps are smoother than coils even at 5 dB."""

EMPTY = 0.15
"""Smoothed magnitude, relative to its 99th percentile, below which there is no object: at 0.1 aliases of a few lines
count as object, at 0.2 a measured head was cut."""

BLUR, MARGIN = 0.01, 0.004
"""Standard deviation of that smoothing, and width kept about the object, as shares of the field of view."""

KERNEL = 3
"""Smallest kernel of ESPIRiT; a narrower block gives nothing to start from."""

Start = tuple[Complex[Tensor, "*batch v u"], Complex[Tensor, "*batch coil q p"]]


@dataclass(frozen=True)
class NonlinearInversion:
    """Find image x and coil maps c_j = W d_j together, on a coarse grid.

    Minimises abs(y - P F (x c_j))^2 + alpha (abs(x)^2 + sum_j abs(d_j)^2), with the mask P and the Fourier transform F.
    W weights Fourier coefficients by (1 + s abs(k)^2)^-l, k in cycles per field of view. Step n of Gauss-Newton solves
    (DF^H DF + alpha_n) h = DF^H (y - F(z)) - alpha_n z for z = (x, d) by conjugate gradient, with alpha_n = q^n.

    Four things differ from the paper. The smoothness is per field of view, not per pixel, so that one value serves
    every resolution. Maps repeat after ``period`` fields of view instead of one: with one, those of a head that
    fills the field of view would have to agree at its opposite edges. The start is ESPIRiT's, which keeps the
    inversion from wrong solutions that fit as well. And it stops where the residual is that of the noise, or no longer
    falls: later, maps and image take in noise.

    Maps are smooth, so that the centre of k-space tells as much of them as all of it, in a tenth of the time.

    Args:
        first: Number n of the first step from a start that is given; from (1, 0) it is 0.
        last: Number of the last step.
        smoothness: s, for a square field of view of the same area.
        order: l.
        period: Fields of view after which maps repeat.
        reduction: q.
        n_iterations: Most conjugate-gradient iterations of a step.
        tolerance: Residual, relative to the right-hand side, at which a step is solved.
        n_coarse: Samples about the centre of k-space, along each axis, that are used.
        noise_share: Residual, relative to that of the noise, at which an inversion stops.
        stagnation: Ratio of the residuals of two steps at which it stops; 1 or more for never.
    """

    first: int = 4
    last: int = 14
    smoothness: float = 0.015
    order: float = 16.0
    period: float = 1.25
    reduction: float = 0.5
    n_iterations: int = 100
    tolerance: float = 0.3
    n_coarse: int = 64
    noise_share: float = 0.93
    stagnation: float = 0.95

    def __post_init__(self) -> None:
        positive = (self.last, self.smoothness, self.order, self.reduction, self.n_iterations, self.n_coarse)
        in_order = all(value > 0 for value in positive) and all(value >= 0 for value in vars(self).values())
        if not (in_order and self.reduction < 1 and self.period >= 1):
            raise ValueError(f"settings must be positive, reduction below 1 and period at least 1: got {self}")

    def maps(
        self,
        kspace: Complex[Tensor, "*batch coil y x"],
        mask: Bool[Tensor, "*mask_batch 1 y x"],
        acs: Acs,
        noise_std: Float[Tensor, "*batch"] | float = 0.0,
        support: Bool[Tensor, "*batch y x"] | None = None,
    ) -> Complex[Tensor, "*batch 1 coil y x"]:
        """Return coil maps as `estimate_maps` does, sum over coils of abs(S)^2 = 1 where the object is and 0 elsewhere.

        The phase of each map is relative to a virtual coil, the first principal component of the calibration block.

        Args:
            kspace: K-space of each slice, zero where not acquired.
            mask: True where a sample was acquired, in any pattern.
            acs: Calibration block.
            noise_std: Standard deviation of the noise in each real channel.
            support: Where else the object is, such as where ESPIRiT's maps are, which see dimmer parts of it.
        """
        size = (kspace.shape[-2], kspace.shape[-1])
        x, d = self.solve(kspace, mask, self._start(kspace, mask, acs, noise_std), noise_std)
        grid = (x.shape[-2], x.shape[-1])
        on_coarse, on_fine = (self.basis(size, each, x.device) for each in (grid, size))
        magnitude = x.abs() * root_sum_of_squares(on_coarse(d))
        c = on_fine(d)
        inside = _support(_smoothed(magnitude, size))
        inside = inside if support is None else inside.maximum(support.to(inside.dtype))
        gain = inside / root_sum_of_squares(c).clamp(min=TINY)
        blocks = acs.crop(kspace).reshape(-1, kspace.shape[-3], *acs.shape)
        virtual = torch.cat([principal_coils(block, 1) for block in blocks]).reshape(kspace.shape[:-2])
        phase = torch.einsum("...c,...cyx->...yx", virtual, c).conj().sgn()
        return (c * (gain * phase)[..., None, :, :])[..., None, :, :, :]

    def solve(
        self,
        kspace: Complex[Tensor, "*batch coil y x"],
        mask: Bool[Tensor, "*mask_batch 1 y x"],
        start: Start | None = None,
        noise_std: Float[Tensor, "*batch"] | float = 0.0,
    ) -> Start:
        """Return the image x on the coarse grid and the coefficients d of the maps, of which only the product counts.

        Args:
            kspace: K-space of each slice, zero where not acquired.
            mask: True where a sample was acquired, in any pattern.
            start: Image and coefficients to start from; (1, 0) if not given.
            noise_std: Standard deviation of the noise in each real channel.
        """
        basis, encode, kspace, mask = self._coarse(kspace, mask)
        length = norm(kspace, 3).clamp(min=TINY)
        measured = encode.adjoint(kspace) * (DATA_NORM / length)
        n_coils = (kspace != 0).flatten(-2).any(-1).sum(-1)[..., None, None, None]  # coils of zeros have no noise
        n_acquired = mask.sum((-3, -2, -1), keepdim=True) * n_coils
        std = torch.as_tensor(noise_std, dtype=torch.float32, device=kspace.device)[..., None, None, None]
        noise = std * (2 * n_acquired).to(torch.float32).sqrt() * (DATA_NORM / length)
        if start is None:
            x, d = torch.ones_like(measured[..., :1, :, :]), measured.new_zeros(*measured.shape[:-2], *basis.gain.shape)
        else:
            x, d = start[0][..., None, :, :], start[1]
        active, before = torch.ones_like(length, dtype=torch.bool), torch.full_like(length, math.inf)
        for n in range(0 if start is None else self.first, self.last + 1):
            step = _Linearised(encode, basis, x, d, self.reduction**n)
            residual = measured - encode.normal(x * step.c)
            now = norm(residual, 3)
            if n >= FIRST_STOP:
                active = active & (now > self.noise_share * noise) & (now < self.stagnation * before)
            if not bool(active.any()):
                break
            b = (step.adjoint(residual) - step.alpha * _join(x, d)) * active[..., 0, 0]
            h = conjugate_gradient(step.normal, b, n_iterations=self.n_iterations, tolerance=self.tolerance, ndim=1)
            dx, dd = step.split(h)
            x, d, before = x + dx, d + dd, now
        return x[..., 0, :, :], d

    def _start(self, kspace: Tensor, mask: Tensor, acs: Acs, noise_std: Tensor | float) -> Start | None:
        """Return coefficients that fit ESPIRiT's maps where there is signal, and the image; None for too few lines."""
        if min(acs.shape) < KERNEL:
            return None
        basis, encode, coarse, mask = self._coarse(kspace, mask)
        block = _cropped(acs, (kspace.shape[-2], kspace.shape[-1]), (coarse.shape[-2], coarse.shape[-1]))
        maps = estimate_maps(coarse, mask, block.limited(), noise_std, crop=0.0)
        maps, _ = without_vortices(maps, coarse, mask, block)  # smooth maps would be 0 in the middle of one
        weight = acs_image(coarse, mask, maps, block).abs()[..., None, :, :]
        weight = (weight / weight.amax((-2, -1), keepdim=True).clamp(min=TINY)).square()
        b = basis.adjoint(weight * maps[..., 0, :, :, :])
        d = conjugate_gradient(
            lambda d: basis.adjoint(weight * basis(d)) + FIT_WEIGHT * d, b, n_iterations=30, tolerance=1e-3, ndim=3
        )
        c = basis(d)
        c_conj = c.conj().resolve_conj()
        measured = encode.adjoint(coarse) * (DATA_NORM / norm(coarse, 3).clamp(min=TINY))
        x = conjugate_gradient(
            lambda x: (c_conj * encode.normal(c * x)).sum(-3, keepdim=True) + SENSE_WEIGHT * x,
            (c_conj * measured).sum(-3, keepdim=True),
            n_iterations=20,
            tolerance=1e-2,
            ndim=3,
        )
        balance = (norm(x, 3) / norm(d, 3).clamp(min=TINY)).sqrt().clamp(min=TINY)
        return (x / balance)[..., 0, :, :], d * balance

    def _coarse(self, kspace: Tensor, mask: Tensor) -> tuple[SmoothImages, Composition, Tensor, Tensor]:
        """Return basis and encoding P F of the coarse grid, and the centre of k-space and mask."""
        size = (kspace.shape[-2], kspace.shape[-1])
        grid = (min(self.n_coarse, size[0]), min(self.n_coarse, size[1]))
        mask = centre_crop(mask, grid)
        encode = Composition((Mask(mask), Fourier()))
        return self.basis(size, grid, kspace.device), encode, centre_crop(kspace, grid), mask

    def basis(self, size: tuple[int, int], grid: tuple[int, int], device: torch.device | str = "cpu") -> SmoothImages:
        """Return W for a field of view of ``size`` square pixels, on a grid of any pixels that covers it."""
        edge = math.sqrt(math.prod(size))  # of a square of the same area
        highest = math.sqrt((NEGLIGIBLE ** (-1 / self.order) - 1) / self.smoothness)
        n_highest = [math.ceil(self.period * highest * n / edge) for n in size]
        y, x = (torch.arange(-n, n + 1, dtype=torch.float32, device=device) / self.period for n in n_highest)
        k_squared = (y[:, None] * edge / size[0]).square() + (x * edge / size[1]).square()
        return SmoothImages(grid, (y, x), (1 + self.smoothness * k_squared) ** -self.order, self.period)


class _Linearised:
    """The derivative DF of F(x, d) = P F (x W d_j) at one point, and its regularised normal operator."""

    def __init__(self, encode: Composition, basis: SmoothImages, x: Tensor, d: Tensor, alpha: float) -> None:
        self.encode, self.basis, self.x, self.c, self.alpha = encode, basis, x, basis(d), alpha
        self.x_conj, self.c_conj = x.conj().resolve_conj(), self.c.conj().resolve_conj()

    def split(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return image [*batch, 1, y, x] and coefficients [*batch, coil, q, p] of a vector [*batch, unknown]."""
        n = self.x.shape[-2] * self.x.shape[-1]
        return h[..., :n].unflatten(-1, self.x.shape[-3:]), h[..., n:].unflatten(-1, (-1, *self.basis.gain.shape))

    def adjoint(self, coils: Tensor) -> Tensor:
        """Return DF^H y from the coil images F^-1 P y."""
        return _join((self.c_conj * coils).sum(-3, keepdim=True), self.basis.adjoint(self.x_conj * coils))

    def normal(self, h: Tensor) -> Tensor:
        """Return (DF^H DF + alpha) h."""
        dx, dd = self.split(h)
        return self.adjoint(self.encode.normal(dx * self.c + self.x * self.basis(dd))) + self.alpha * h


def _cropped(acs: Acs, size: tuple[int, int], grid: tuple[int, int]) -> Acs:
    """Return what the centre of k-space holds of a calibration block."""
    sides = []
    for side, n, m in zip((acs.y, acs.x), size, grid, strict=True):
        offset = n // 2 - m // 2
        sides.append(slice(max(side.start - offset, 0), min(side.stop - offset, m)))
    return Acs(*sides)


def _join(x: Tensor, d: Tensor) -> Tensor:
    """Return one vector [*batch, unknown] of image and coefficients."""
    return torch.cat([x.flatten(-3), d.flatten(-3)], -1)


def _smoothed(magnitude: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a magnitude on a finer grid, smoothed by a Gaussian."""
    y, x = (torch.arange(n, dtype=torch.float32, device=magnitude.device) - n // 2 for n in magnitude.shape[-2:])
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
