"""From a measurement whose operator and noise level are known to a problem in image units."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from lightning_mri.io.scan import one_if_equal
from lightning_mri.physics import (
    Acs,
    Damping,
    GaussianLikelihood,
    Maps,
    Mask,
    Phase,
    achieved_acceleration,
    block_if_any,
    scaled,
)
from lightning_mri.reconstruction.findings import ProblemFindings
from lightning_mri.reconstruction.problem import LOWEST_NOISE, Problem, finished_size
from lightning_mri.reconstruction.unusable import check_samples, check_slices, zero_filled
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import root_sum_of_squares

ROUNDING = 1e-5
"""Deviation from 1 up to which the root sum of squares of coil maps is 1."""


@dataclass(frozen=True, eq=False)
class KnownMeasurement:
    """Measured slices whose operator and noise level are known; see `of_each_slice` for how they are kept.

    Args:
        likelihood: Measurement, operator and noise level.
        size: Matrix (y, x) of the finished image; that of the operator's images if none is given.

    Raises:
        ValueError: If shapes or types disagree.
    """

    likelihood: GaussianLikelihood
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "likelihood", of_each_slice(self.likelihood))

    @property
    def mask(self) -> Bool[Tensor, "_masks y x"]:
        """The mask that slices share, else one of each."""
        return masks_of(self.likelihood)

    def __len__(self) -> int:
        return len(self.likelihood.y)

    def to(self, device: torch.device) -> "KnownMeasurement":
        """Return the measurement on a device."""
        return replace(self, likelihood=self.likelihood.to(device))

    def rows(self, rows: Sequence[int]) -> "KnownMeasurement":
        """Return some of the slices, by their places."""
        return replace(self, likelihood=self.likelihood.rows([*rows]))

    def groups(self) -> list[list[int]]:
        """Return the places of slices to prepare together: of all."""
        return [list(range(len(self)))]

    def zero_filled(self) -> Complex[Tensor, "slice v u"]:
        """Return the images without any method, see `zero_filled`."""
        unit = with_unit_maps(self.likelihood)
        return zero_filled(unit.y, unit.acquired[:, 0], self.size, unit.A)


@torch.no_grad()
def prepare_likelihood(
    likelihood: GaussianLikelihood, scaling: Scaling, size: tuple[int, int] | None = None
) -> Problem:
    """Return the problem of a scan whose operator and noise level are known, such as one at low field.

    Mask, maps and phase may be shared by the slices, or differ by slice. No calibration block is needed: without one,
    the scale is that of a solution by conjugate gradients. Maps may have any unit; the image is in that of y / maps.

    Args:
        likelihood: Measurement [batch, coil, y, x] in any unit; its operator has maps.
        scaling: The prior's scale contract.
        size: Matrix (y, x) of the finished image, at most that of the operator's images, which it is if not given.

    Raises:
        ValueError: If shapes disagree, the operator has no maps, a noise level is negative or not finite, or nothing
            was acquired.
        UnusableSlicesError: If acquired samples of a slice are not finite, or there is no signal around the centre.
    """
    start = time.perf_counter()
    likelihood = of_each_slice(likelihood)
    unit = with_unit_maps(likelihood)
    maps = unit.A.find(Maps)
    if maps is None:
        names = ", ".join(type(factor).__name__ for factor in likelihood.A.factors)
        raise ValueError(f"likelihood.A must have a factor Maps: got {names}")
    mask = likelihood.acquired
    check_samples(likelihood.y, mask[:, 0])
    problem, scale = scaled(unit, scaling)
    check_slices(scale > 0, "no signal around the centre of k-space")
    problem = problem.replace(noise_std=problem.noise_std.clamp(min=LOWEST_NOISE))
    size = finished_size(size, problem.image_shape)
    findings = ProblemFindings(
        matrix=size,
        maps_inverted=torch.zeros(len(scale)),
        acceleration=achieved_acceleration(mask) * math.prod(problem.image_shape[-2:]) / math.prod(mask.shape[-2:]),
        noise_std=likelihood.noise_std.cpu(),
        scale=scale.cpu(),
        model_degradation=problem.A.find(Damping) is not None or problem.A.find(Phase) is not None,
    )
    seconds = (time.perf_counter() - start) / len(scale)
    shared = maps.maps.expand(len(scale), *maps.maps.shape[-4:])
    acs = block_if_any(mask[0]) or Acs(slice(0, 0), slice(0, 0))  # known maps need none
    return Problem(problem, scale, shared, likelihood.noise_std, acs, masks_of(likelihood), size, findings, seconds)


def masks_of(likelihood: GaussianLikelihood) -> Bool[Tensor, "_masks y x"]:
    """Return the mask that slices [batch, coil, y, x] share, else one of each slice."""
    return one_if_equal(likelihood.acquired[:, 0])


def with_unit_maps(likelihood: GaussianLikelihood) -> GaussianLikelihood:
    """Return the likelihood of the same images with maps of any unit divided by one number a slice, as y and noise are.

    The sum of squares over coils is then 1 in the mean over the pixels with a map, on which solvers count: singular
    values are near 1. Where it is so already, nothing changes.
    """
    maps = likelihood.A.find(Maps)
    if maps is None:
        return likelihood
    square = root_sum_of_squares(maps.maps).square()
    level = (square.sum((-3, -2, -1)) / (square > 0).sum((-3, -2, -1))).sqrt()
    level = torch.where((level - 1).abs() > ROUNDING, level, 1)  # and not nan where there are none at all
    if bool((level == 1).all()):
        return likelihood
    unit, each = level[..., None, None, None], level.expand(len(likelihood.y))
    A = likelihood.A.replace(Maps, Maps(maps.maps / unit[..., None]))
    y, noise_std = likelihood.y / each[:, None, None, None], likelihood.noise_std / each
    return likelihood.replace(A=A, y=y, noise_std=noise_std)


def of_each_slice(likelihood: GaussianLikelihood) -> GaussianLikelihood:
    """Return the likelihood with a mask [batch, 1, y, x] and a noise level [batch], and in single precision.

    Raises:
        ValueError: If ``y`` is not that of slices and of the operator's coils, or a noise level cannot be.
    """
    maps, factor = likelihood.A.find(Maps), likelihood.A.find(Mask)
    y, shape = likelihood.y, tuple(likelihood.y.shape)
    n_coils = shape[1:2] if maps is None else maps.maps.shape[-3:-2]
    if y.ndim != 4 or not y.is_complex() or 0 in shape or shape[1:2] != n_coils:
        rule = f"y must be complex [batch, coil, y, x], not empty{'' if maps is None else ', of the coils of the maps'}"
        raise ValueError(f"{rule}: got {y.dtype} {shape}{'' if maps is None else f' and {n_coils[0]} coils'}")
    y = y.to(torch.complex64).contiguous()
    if maps is not None:
        _of_each("maps", maps.maps, (len(y), *maps.maps.shape[-4:]))
        plain = maps.maps.to(torch.complex64).contiguous()
        if plain is not maps.maps:
            likelihood = likelihood.replace(A=likelihood.A.replace(Maps, Maps(plain)))
    noise = torch.as_tensor(likelihood.noise_std, dtype=torch.float32, device=y.device)
    noise = _of_each("noise_std", noise, (len(y),))
    if not bool((noise.isfinite() & (noise >= 0)).all()):
        raise ValueError(f"noise_std must be finite and not negative: got {noise.tolist()}")
    likelihood = likelihood.replace(y=y, noise_std=noise)
    if factor is None:
        return likelihood
    mask = _of_each("mask", factor.mask, (len(y), 1, *shape[-2:]))
    return likelihood.replace(A=likelihood.A.replace(Mask, replace(factor, mask=mask)))


def _of_each(name: str, part: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a part that slices share, or have one each, as one of each."""
    try:
        return part.expand(shape)
    except RuntimeError:
        rule = f"{name} must be one for all of {shape[0]} slices or one of each, {shape}"
        raise ValueError(f"{rule}: got {tuple(part.shape)}") from None
