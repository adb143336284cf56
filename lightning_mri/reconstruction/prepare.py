"""From k-space as measured to a likelihood; everything is found from the acquired samples alone."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics import (
    Acs,
    Damping,
    GaussianLikelihood,
    Maps,
    Mask,
    NoisyCoils,
    Phase,
    achieved_acceleration,
    acs_image,
    compress_coils,
    estimate_maps,
    estimate_noise_std,
    fft2c,
    find_acs,
    ifft2c,
    replace_spikes,
    scaled,
    sense,
    unwhitened_size,
    whiten,
    whiten_alike,
    whiten_noisy_coils,
)
from lightning_mri.reconstruction.findings import ProblemFindings
from lightning_mri.reconstruction.maps import choose_maps
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import centre_crop, centre_pad, power_of_two


class UnusableSlicesError(ValueError):
    """Slices of a batch that nothing can be found in, such as air or zeros.

    Args:
        reasons: Why, by the place in the batch.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        row, reason = next(iter(reasons.items()))
        super().__init__(f"slice {row} of the batch cannot be reconstructed: {reason}")
        self.reasons = dict(reasons)


Image = Complex[Tensor, "..."] | Float[Tensor, "..."]

MAX_COILS = 12
"""Virtual coils that larger arrays are compressed to."""

MAX_STEPS = 2**12
"""Largest multiple of one step up to which samples are called quantised."""

LOWEST_NOISE = 1e-4
"""Noise level below which data count as noise-free, in image units; the proximal problems need some."""


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """A batch of slices, ready for a sampler or a baseline.

    Args:
        likelihood: Whitened measurement in image units, y / scale, and the acquisition.
        scale: Image in units of the input k-space = ``scale`` * x.
        maps: Coil sensitivities, as in the likelihood.
        noise_std: Noise of each real channel, in units of the input k-space.
        acs: Calibration block.
        mask: What was acquired, as the input has it; the likelihood's may be cropped along the readout.
        size: Matrix (y, x) of the finished image.
        findings: What was found and chosen.
        seconds: Time that the preparation of a slice took.
        warnings: What was found wrong with each slice's samples, sentences.
    """

    likelihood: GaussianLikelihood
    scale: Float[Tensor, " batch"]
    maps: Complex[Tensor, "batch set coil y x"]
    noise_std: Float[Tensor, " batch"]
    acs: Acs
    mask: Bool[Tensor, "1 _y _x"]
    size: tuple[int, int]
    findings: ProblemFindings
    seconds: float = 0.0
    warnings: tuple[tuple[str, ...], ...] = ()

    def __repr__(self) -> str:
        """Return the findings, one a line."""
        return f"Problem of {len(self.scale)} slices\n{self.findings.text()}"

    @property
    def acceleration(self) -> float:
        """Achieved R."""
        return self.findings.acceleration

    def to_image_units(self, image: Complex[Tensor, "batch _y _x"]) -> Complex[Tensor, "batch y x"]:
        """Return an image in units of the input k-space as samplers and baselines see it; the inverse of `finish`."""
        matrix = (self.likelihood.y.shape[-2], self.likelihood.y.shape[-1])
        return centre_pad(image / self.scale[:, None, None], matrix)

    def finish(self, x: Image) -> Image:
        """Return images in units of the input k-space at the matrix of the finished image.

        Sets of maps are combined as root sum of squares, complex images with the phase of the first set.

        Args:
            x: Images [*sample, batch, (set,) y, x] in image units, or their standard deviation.
        """
        if self.maps.shape[-4] > 1:
            magnitude = torch.linalg.vector_norm(x, dim=-3)
            x = torch.polar(magnitude, x[..., 0, :, :].angle()) if x.is_complex() else magnitude
        return centre_crop(x * self.scale[:, None, None], self.size)


def prepare(
    kspace: Complex[Tensor, "batch coil y x"],
    mask: Bool[Tensor, "_one _y _x"],
    scaling: Scaling,
    size: tuple[int, int] | None = None,
    n_sets: int = 1,
    n_center: int | None = None,
    noise_std: Float[Tensor, " batch"] | float | None = None,
    noise_covariance: Complex[Tensor, "coil coil"] | None = None,
    n_coils: int | None = MAX_COILS,
    calibration: Complex[Tensor, "batch coil _y _x"] | None = None,
) -> Problem:
    """Find coil maps, noise level and scale of measured slices, and return the likelihood.

    Where the mask is the same in every row, k-space is first cropped along the readout to ``size``, which is
    exact and spares the time that the oversampled part of the field of view would cost.

    Args:
        kspace: Measured k-space in any unit; what is not acquired is ignored, whatever it holds.
        mask: True = acquired, [1, y, x].
        scaling: The prior's scale contract.
        size: Matrix (y, x) of the finished image; that of k-space if none is given. An axis on which it is
            larger than k-space keeps the matrix of k-space.
        n_sets: Sets of coil maps; two where the field of view cuts or wraps the object.
        n_center: Calibration lines to use; all that the mask has if not given.
        noise_std: Noise of each real channel in units of ``kspace``; estimated if not given.
        noise_covariance: Covariance of the coils' noise, E eta eta^H / 2; k-space is whitened if given.
        n_coils: Most coils to reconstruct with; more are compressed to as many virtual ones, each slice by itself,
            which leaves white noise white. None keeps them all.
        calibration: K-space of lines that were measured apart for the coil maps, zero elsewhere. Their contrast may
            differ, so that they serve virtual coils, maps and, brought to the level of ``kspace``, the scale alone.

    Raises:
        ValueError: If shapes disagree, or there is no calibration block at the centre of the mask.
        UnusableSlicesError: If acquired samples of a slice are not finite, all zero, or nothing but noise.
    """
    start = time.perf_counter()
    _check(kspace, mask)
    measured, y = mask, torch.where(mask, kspace, 0)
    y, spikes = replace_spikes(y, mask)
    noisy: Sequence[NoisyCoils | None] = [None] * len(y)
    unit = power_of_two(y, 3)  # else squares of large or small numbers leave single precision
    y = y / unit
    calibration = None if calibration is None else _calibration(calibration)
    if noise_covariance is not None:
        # keeps the mean noise, so that the image stays in the units of the input
        noise_covariance = noise_covariance.to(y.device)
        power = noise_covariance.diagonal().real.mean()
        y = whiten(y, noise_covariance / power)
        calibration = None if calibration is None else whiten(calibration, noise_covariance / power)
    elif noise_std is None:
        y, noisy = whiten_noisy_coils(y, mask)
        calibration = None if calibration is None else whiten_alike(calibration, noisy)
    matrix = (y.shape[-2], y.shape[-1])
    size = matrix if size is None else (min(size[0], matrix[0]), min(size[1], matrix[1]))
    if calibration is None:
        y, mask = crop_readout(y, mask, size[0])
        source, found = y, mask
    else:
        source, found = calibration, (calibration != 0).any(dim=(0, 1))[None]
        if bool((found == found[:, :1]).all() and (mask == mask[:, :1]).all()):
            (y, mask), (source, found) = crop_readout(y, mask, size[0]), crop_readout(source, found, size[0])
    acs = _limit(find_acs(found), n_center, found)
    noise = _noise_std(y, mask, noise_std, unit.flatten())
    n_measured, blocks = y.shape[1], acs.crop(source)
    if n_coils is not None:
        y = compress_coils(y, n_coils, acs, source)
        source = y if calibration is None else compress_coils(source, n_coils, acs)
    if calibration is None:
        maps, inverted = choose_maps(y, mask, acs, noise, n_sets)
    else:
        maps, inverted = estimate_maps(source, found, acs.limited(), noise, n_sets), torch.zeros(len(y))
    shading = unwhitened_size(maps, noisy, blocks) if any(noisy) else None
    scale = scaling.of(acs_image(source, found, maps if shading is None else maps * shading, acs))
    maps = maps if shading is None else maps / shading.clamp(min=torch.finfo(torch.float32).tiny)
    if calibration is not None:
        scale = scale * _relative_level(acs.crop(y), acs.crop(source), acs.crop(mask))
    if not bool((scale > 0).all()):
        empty = (scale <= 0).nonzero().flatten().tolist()
        raise UnusableSlicesError(dict.fromkeys(empty, "no signal above the noise: no coil map was found"))
    in_image_units = (noise / scale).clamp(min=LOWEST_NOISE)
    likelihood = GaussianLikelihood(sense(maps, mask), y / scale[:, None, None, None], in_image_units)
    noise, scale = noise * unit.flatten(), scale * unit.flatten()
    findings = ProblemFindings(
        matrix_kspace=matrix,
        matrix=size,
        oversampling_removed_to=y.shape[-2],
        n_coils=n_measured,
        n_virtual_coils=None if y.shape[1] == n_measured else y.shape[1],
        n_sets=n_sets,
        maps_inverted=inverted.cpu().to(torch.float32),
        acs=acs.shape,
        acceleration=achieved_acceleration(mask),
        whitened=noise_covariance is not None or any(noisy),
        noise_std_given=noise_std is not None,
        noise_std=noise.cpu(),
        scale=scale.cpu(),
    )
    seconds = (time.perf_counter() - start) / len(kspace)
    warnings = tuple(tuple(str(each) for each in pair if each) for pair in zip(spikes, noisy, strict=True))
    return Problem(likelihood, scale, maps, noise, acs, measured, size, findings, seconds, warnings)


def _calibration(kspace: Tensor) -> Tensor:
    """Return samples for calibration alone, of which only the ratios of coils matter, without spikes."""
    kspace, _ = replace_spikes(kspace, (kspace != 0).any(1))
    return kspace / kspace.abs().amax((1, 2, 3), keepdim=True).clamp(min=LOWEST_NOISE)


def prepare_likelihood(likelihood: GaussianLikelihood, scaling: Scaling) -> Problem:
    """Return the problem of a scan whose operator and noise level are known, such as one at low field.

    Args:
        likelihood: Measurement of one coil, in any unit.
        scaling: The prior's scale contract.

    Raises:
        ValueError: If k-space holds no signal around its centre.
    """
    start = time.perf_counter()
    problem, scale = scaled(likelihood, scaling)
    mask, maps = problem.A.find(Mask), problem.A.find(Maps)
    assert mask is not None, "such an operator always has a mask"
    assert maps is not None, "such an operator always has maps"
    size = (problem.y.shape[-2], problem.y.shape[-1])
    findings = ProblemFindings(
        matrix=size,
        maps_inverted=torch.zeros(len(scale)),
        acceleration=achieved_acceleration(mask.mask),
        noise_std=likelihood.noise_std.cpu(),
        scale=scale.cpu(),
        model_degradation=problem.A.find(Damping) is not None or problem.A.find(Phase) is not None,
    )
    first, seconds = mask.mask[0], (time.perf_counter() - start) / len(scale)
    acs = find_acs(first)
    return Problem(problem, scale, maps.maps, likelihood.noise_std, acs, first, size, findings, seconds)


def crop_readout(
    kspace: Complex[Tensor, "*batch y x"], mask: Bool[Tensor, "1 y x"], n_rows: int
) -> tuple[Complex[Tensor, "*batch v x"], Bool[Tensor, "1 v x"]]:
    """Crop the field of view along the readout y to its central rows, where that is exact.

    It is where the mask does not depend on y: every acquired line is then complete, and its one-dimensional
    image can be cut before any reconstruction. Otherwise, or with nothing to cut, both come back as they are.

    Args:
        kspace: K-space, zero where not acquired.
        mask: True = acquired.
        n_rows: Rows of the image to keep.
    """
    rows = kspace.shape[-2]
    if n_rows >= rows or not bool((mask == mask[:, :1]).all()):
        return kspace, mask
    image = centre_crop(ifft2c(kspace), (n_rows, kspace.shape[-1]))
    mask = mask[:, :n_rows]
    return torch.where(mask, fft2c(image), 0), mask


def _check(kspace: Tensor, mask: Tensor) -> None:
    """Validate k-space and mask."""
    if mask.ndim != 3 or mask.shape[0] != 1 or mask.shape[-2:] != kspace.shape[-2:]:
        raise ValueError(
            "mask and kspace must agree on (y, x): "
            f"got mask {tuple(mask.shape)} and kspace {tuple(kspace.shape)} [batch, coil, y, x]"
        )
    acquired = torch.where(mask, kspace, 0)
    finite = torch.isfinite(torch.view_as_real(acquired)).flatten(1).all(1)
    n_filled, n_acquired = (acquired != 0).any(1).flatten(1).sum(1), int(mask.sum())
    reasons = {}
    for row, (is_finite, n) in enumerate(zip(finite.tolist(), n_filled.tolist(), strict=True)):
        if not is_finite:
            reasons[row] = "NaN or infinity among acquired samples"
        elif n == 0:
            reasons[row] = "no signal: k-space is all zero"
        elif 2 * n < n_acquired:
            n_steps, share = _quantised(acquired[row]), f"{n_acquired - n} of {n_acquired} acquired samples"
            reasons[row] = (
                f"k-space is digitised too coarsely: multiples of one step up to {n_steps}, and {share} zero"
                if n_steps
                else f"mask and kspace must agree on what was acquired: kspace is zero in {share} of the mask"
            )
    if reasons:
        raise UnusableSlicesError(reasons)


def _quantised(kspace: Tensor) -> int | None:
    """Return the largest number of steps, if all real and imaginary parts are integer multiples of one step."""
    parts = torch.view_as_real(kspace).abs().flatten().double()
    parts = parts[parts > 0]
    steps = parts / parts.min()
    is_integer = bool(((steps - steps.round()).abs() < 1e-3 * steps.clamp(max=100)).all())
    return int(steps.max().round()) if is_integer and float(steps.max()) < MAX_STEPS else None


def _relative_level(y: Tensor, calibration: Tensor, mask: Tensor) -> Tensor:
    """Return how much stronger the image's samples are than those for calibration, in the block that both have."""
    if not bool(mask.any()):
        raise ValueError("mask must hold some of the lines that were measured for calibration: it holds none")
    power, known = (torch.where(mask, k, 0).abs().square().flatten(1).sum(1) for k in (y, calibration))
    return torch.where(known > 0, power / known, 0).sqrt()


def _noise_std(y: Tensor, mask: Tensor, given: Tensor | float | None, unit: Tensor) -> Tensor:
    """Return the noise level of each slice, in the units of ``y``."""
    if given is None:
        return estimate_noise_std(y, mask)
    noise = torch.as_tensor(given, dtype=torch.float32, device=y.device).expand(y.shape[0])
    if not bool((noise > 0).all()):
        raise ValueError(f"noise_std must be positive: got {float(noise.min())}")
    return noise / unit


def _limit(acs: Acs, n_center: int | None, mask: Tensor) -> Acs:
    """Return the central ``n_center`` lines of a block of whole lines, or square of another block."""
    if n_center is None:
        return acs
    rows, columns = mask.shape[-2:]
    whole_lines = acs.shape[0] == rows
    if n_center < 1 or n_center > (acs.shape[1] if whole_lines else min(acs.shape)):
        raise ValueError(f"n_center must be 1 ... the {acs.shape} samples that the mask has: got {n_center}")
    first = [n // 2 - n_center // 2 for n in (rows, columns)]
    x = slice(first[1], first[1] + n_center)
    return Acs(acs.y if whole_lines else slice(first[0], first[0] + n_center), x)
