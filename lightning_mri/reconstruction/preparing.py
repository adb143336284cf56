"""From k-space as measured to a likelihood; everything is found from the acquired samples alone."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics import (
    Acs,
    GaussianLikelihood,
    NoisyCoils,
    Spikes,
    about_dead,
    achieved_acceleration,
    acs_image,
    compress_coils,
    estimate_noise_std,
    fft2c,
    ifft2c,
    live_coils,
    replace_spikes,
    sense,
    unwhitened_size,
    whiten_alike,
    whiten_live,
    whiten_noisy_coils,
    without_vortices,
)
from lightning_mri.reconstruction.findings import ProblemFindings
from lightning_mri.reconstruction.maps import ESPIRIT_LINES, FEWEST_LINES, UNCHECKED, choose_maps, find_block
from lightning_mri.reconstruction.measurement import Measurement, lines_apart
from lightning_mri.reconstruction.problem import LOWEST_NOISE, CalibrationLines, Problem, finished_size
from lightning_mri.reconstruction.unusable import check_samples, check_slices
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import centre_crop, power_of_two

MAX_COILS = 16
"""Virtual coils that larger arrays are compressed to; 12 of 16 cost 2 to 4 % on a measured head with few lines."""

NOT_CALIBRATED = "no lines were measured for its coil maps"
NO_COIL = "no coil has signal, noise and calibration lines"
NO_NOISE = "no noise was found, as in k-space that was computed or filled in: the standard deviation may be too small"


@torch.no_grad()
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
    exact and spares the time that the oversampled part of the field of view would cost. Coils of zeros, in k-space, in
    the noise scan or in the calibration lines, are left out with a warning, and change nothing.

    Args:
        kspace: Measured k-space in any unit; what is not acquired is ignored, whatever it holds.
        mask: True = acquired, [1, y, x].
        scaling: The prior's scale contract.
        size: Matrix (y, x) of the finished image; that of k-space if none is given. An axis on which it is
            larger than k-space keeps the matrix of k-space.
        n_sets: Sets of coil maps; two where the field of view cuts or wraps the object.
        n_center: Calibration lines to use; all that the mask has if not given.
        noise_std: Noise of each real channel in units of ``kspace``; estimated if not given.
        noise_covariance: Covariance of the coils' noise, E eta eta^H / 2; k-space is whitened if given. Only ratios of
            its entries count: the level is estimated all the same, since what it then covers of the maps' errors has
            made images better than the level of the noise scan did.
        n_coils: Most coils to reconstruct with; more are compressed to as many virtual ones, each slice by itself,
            which leaves white noise white. None keeps them all.
        calibration: K-space of lines that were measured apart for the coil maps, zero elsewhere. Their contrast may
            differ, so that they serve virtual coils, maps and, brought to the level of ``kspace``, the scale alone.
            Those that every slice has are used: `Reconstructor.reconstruct` brings slices together that have the same.

    Raises:
        ValueError: If shapes or types disagree, there is no calibration block at the centre of the mask, or the
            covariance of the coils that are left is not Hermitian positive definite.
        UncalibratedError: If there is one of too few lines: of one, or of less than four for several sets, one coil,
            or where they were measured apart.
        UnusableSlicesError: If acquired samples of a slice are not finite, all zero, or nothing but noise, or none were
            measured for its calibration.
    """
    measured = Measurement(kspace, mask, size, noise_covariance, calibration)
    return prepare_measured(measured, scaling, n_sets, n_coils, n_center, noise_std)


@torch.no_grad()
def prepare_measured(
    measured: Measurement,
    scaling: Scaling,
    n_sets: int = 1,
    n_coils: int | None = MAX_COILS,
    n_center: int | None = None,
    noise_std: Float[Tensor, " batch"] | float | None = None,
) -> Problem:
    """Return the likelihood of measured slices; other arguments and errors as in `prepare`."""
    start = time.perf_counter()
    samples, live = _of_live_coils(measured)
    samples, unit, spikes = _clean(samples)
    samples, noisy = _whiten(samples, measured.noise_covariance, live, noise_std is None)
    size = finished_size(measured.size, measured.kspace.shape)
    samples = _crop(samples, size[0])
    acs = _block(samples, n_sets, n_center)
    noise = _noise_std(samples, noise_std, unit)
    n_live, blocks = samples.y.shape[1], acs.crop(samples.source)
    if n_coils is not None:
        samples = samples.each(partial(compress_coils, n_coils=n_coils, acs=acs, calibration=samples.source))
    maps, inverted, apart = _maps(samples, acs, noise, n_sets)
    maps, scale = _scale(samples, maps, acs, scaling, noisy, blocks)
    maps, phase = without_vortices(maps, samples.source, samples.found, acs)
    in_image_units = (noise / scale).clamp(min=LOWEST_NOISE)
    likelihood = GaussianLikelihood(sense(maps, samples.mask), samples.y / scale[:, None, None, None], in_image_units)
    noise, scale = noise * unit, scale * unit
    quiet = (noise < LOWEST_NOISE * scale) & (noise_std is None)
    warnings = _warnings(acs, live, spikes, noisy, quiet)
    n_used = samples.y.shape[1]
    findings = ProblemFindings(
        matrix_kspace=(measured.kspace.shape[-2], measured.kspace.shape[-1]),
        matrix=size,
        oversampling_removed_to=samples.y.shape[-2],
        n_coils=measured.kspace.shape[1],
        n_virtual_coils=None if n_used == n_live else n_used,
        n_sets=n_sets,
        maps_inverted=inverted.cpu().to(torch.float32),
        acs=acs.shape,
        acceleration=achieved_acceleration(samples.mask),
        whitened=measured.noise_covariance is not None or any(noisy),
        noise_std_given=noise_std is not None,
        noise_std=noise.cpu(),
        scale=scale.cpu(),
    )
    seconds = (time.perf_counter() - start) / len(measured)
    return Problem(likelihood, scale, maps, noise, acs, measured.mask, size, findings, seconds, warnings, apart, phase)


@dataclass(frozen=True, eq=False)
class _Samples:
    """Samples on their way to a likelihood, zero where nothing was measured."""

    y: Tensor  # K-space of the image [batch, coil, y, x]
    mask: Tensor  # where it was acquired [1, y, x]
    apart: Tensor | None  # K-space of lines that were measured for calibration alone; None where those of ``y`` serve
    found: Tensor  # where samples for calibration were measured [1, y, x]

    @property
    def source(self) -> Tensor:
        """K-space for calibration."""
        return self.y if self.apart is None else self.apart

    def each(self, change: Callable[[Tensor], Tensor]) -> "_Samples":
        """Return the samples of the image and those for calibration changed alike."""
        return replace(self, y=change(self.y), apart=None if self.apart is None else change(self.apart))


def _of_live_coils(measured: Measurement) -> tuple[_Samples, Tensor]:
    """Return samples of the coils that hold something in some slice, and which did in each slice [batch, coil].

    A coil that is dead in single slices becomes zero there, so that no slice depends on the others of its batch.
    """
    mask, apart = measured.mask, measured.calibration
    y = torch.where(mask, measured.kspace, 0)
    check_samples(y, mask)
    live = live_coils(y, measured.noise_covariance)
    if apart is not None:
        check_slices((apart != 0).flatten(1).any(1), NOT_CALIBRATED)
        live &= live_coils(apart)
    check_slices(live.any(1), NO_COIL)
    if not bool(live.all()):
        used, kept = live.any(0), live[..., None, None]
        y, apart = (y * kept)[:, used], None if apart is None else (apart * kept)[:, used]
    return _Samples(y, mask, apart, mask if apart is None else lines_apart(apart).all(0, keepdim=True)), live


def _clean(samples: _Samples) -> tuple[_Samples, Tensor, Sequence[Spikes | None]]:
    """Return acquired samples without spikes, the unit [batch] they are in, and the spikes of each slice."""
    y, spikes = replace_spikes(samples.y, samples.mask)
    unit = power_of_two(y, 3)  # else squares of large or small numbers leave single precision
    if samples.apart is None:
        return replace(samples, y=y / unit), unit.flatten(), spikes
    # of samples for calibration alone only the ratios of coils matter
    apart, _ = replace_spikes(samples.apart, (samples.apart != 0).any(1))
    apart = apart / apart.abs().amax((1, 2, 3), keepdim=True).clamp(min=LOWEST_NOISE)
    return replace(samples, y=y / unit, apart=apart), unit.flatten(), spikes


def _whiten(
    samples: _Samples, covariance: Tensor | None, live: Tensor, find_noisy: bool
) -> tuple[_Samples, Sequence[NoisyCoils | None]]:
    """Return samples of white noise, by its covariance or, without one, by the coils far noisier than the others.

    Those are numbered among the coils that are left; the covariance and ``live`` are of all coils.
    """
    if covariance is not None:
        used = live.any(0)
        left = covariance[used.cpu()][:, used.cpu()]
        return samples.each(lambda kspace: whiten_live(kspace, left, live[:, used])), [None] * len(live)
    if not find_noisy:
        return samples, [None] * len(live)
    y, noisy = whiten_noisy_coils(samples.y, samples.mask)
    return replace(samples, y=y, apart=None if samples.apart is None else whiten_alike(samples.apart, noisy)), noisy


def _crop(samples: _Samples, n_rows: int) -> _Samples:
    """Return samples of the central rows of the field of view, where `crop_readout` is exact for all of them."""
    if samples.apart is None:
        y, mask = crop_readout(samples.y, samples.mask, n_rows)
        return _Samples(y, mask, None, mask)
    if not (_of_whole_readouts(samples.mask) and _of_whole_readouts(samples.found)):
        return samples
    return _Samples(*crop_readout(samples.y, samples.mask, n_rows), *crop_readout(samples.apart, samples.found, n_rows))


def _maps(samples: _Samples, acs: Acs, noise: Tensor, n_sets: int) -> tuple[Tensor, Tensor, CalibrationLines | None]:
    """Return coil maps, which slices have those of an inversion, and the lines for calibration alone, if any."""
    if samples.apart is None:
        return *choose_maps(samples.y, samples.mask, acs, noise, n_sets), None
    apart = CalibrationLines(samples.apart, samples.found, estimate_noise_std(samples.apart, samples.found))
    return apart.maps(acs, n_sets), torch.zeros(len(samples.y)), apart  # inversion needs the image's own samples


def _scale(
    samples: _Samples, maps: Tensor, acs: Acs, scaling: Scaling, noisy: Sequence[NoisyCoils | None], blocks: Tensor
) -> tuple[Tensor, Tensor]:
    """Return maps that undo the shading of whitened coils, and the scale [batch] of the calibration image.

    ``blocks`` are the calibration blocks of all coils, ``noisy`` what each slice was whitened by.
    """
    unshaded = maps
    if any(noisy):
        shading = unwhitened_size(maps, noisy, blocks)
        unshaded, maps = maps * shading, maps / shading.clamp(min=torch.finfo(torch.float32).tiny)
    scale = scaling.of(acs_image(samples.source, samples.found, unshaded, acs))
    if samples.apart is not None:
        scale = scale * _relative_level(acs.crop(samples.y), acs.crop(samples.apart), acs.crop(samples.mask))
    check_slices(scale > 0, "no signal above the noise: no coil map was found")
    return maps, scale


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
    if n_rows >= rows or not _of_whole_readouts(mask):
        return kspace, mask
    image = centre_crop(ifft2c(kspace), (n_rows, kspace.shape[-1]))
    mask = mask[:, :n_rows]
    return torch.where(mask, fft2c(image), 0), mask


def _of_whole_readouts(mask: Tensor) -> bool:
    """Return whether a mask is the same in every row."""
    return bool((mask == mask[:, :1]).all())


def _relative_level(y: Tensor, calibration: Tensor, mask: Tensor) -> Tensor:
    """Return how much stronger the image's samples are than those for calibration, in the block that both have."""
    if not bool(mask.any()):
        raise ValueError("mask must hold some of the lines that were measured for calibration: it holds none")
    power, known = (torch.where(mask, k, 0).abs().square().flatten(1).sum(1) for k in (y, calibration))
    return torch.where(known > 0, power / known, 0).sqrt()


def _warnings(
    acs: Acs, live: Tensor, spikes: Sequence[Spikes | None], noisy: Sequence[NoisyCoils | None], quiet: Tensor
) -> tuple[tuple[str, ...], ...]:
    """Return what was found wrong with each slice, in sentences that number the coils as the scan does.

    ``noisy`` numbers them among those that are live in some slice; ``quiet`` are the slices where no noise was found.
    """
    number = live.any(0).nonzero().flatten().tolist()
    few = UNCHECKED.format(min(acs.shape)) if min(acs.shape) < ESPIRIT_LINES else None
    found = []
    for dead, spiky, loud, is_quiet in zip(about_dead(live), spikes, noisy, quiet, strict=True):
        if loud:
            loud = replace(loud, ratios={number[coil]: ratio for coil, ratio in loud.ratios.items()})
        texts = (dead, spiky, loud, NO_NOISE if is_quiet else None, few)
        found.append(tuple(str(text) for text in texts if text))
    return tuple(found)


def _noise_std(samples: _Samples, given: Tensor | float | None, unit: Tensor) -> Tensor:
    """Return the noise level of each slice, in the units of its samples."""
    y = samples.y
    if given is None:
        return estimate_noise_std(y, samples.mask)
    noise = torch.as_tensor(given, dtype=torch.float32, device=y.device)
    if noise.numel() not in (1, len(y)):
        raise ValueError(f"noise_std must be one number, or one for each of {len(y)} slices: got {noise.tolist()}")
    noise = noise.expand(len(y))
    if not bool((noise.isfinite() & (noise > 0)).all()):
        raise ValueError(f"noise_std must be finite and positive: got {noise.tolist()}")
    return noise / unit


def _block(samples: _Samples, n_sets: int, n_center: int | None) -> Acs:
    """Return the calibration block, or its central ``n_center`` lines where it has whole ones, else its square."""
    one_set = n_sets == 1 < samples.y.shape[1] and samples.apart is None
    acs = find_block(samples.found, FEWEST_LINES if one_set else ESPIRIT_LINES)
    if n_center is None:
        return acs
    rows, columns = samples.found.shape[-2:]
    whole_lines = acs.shape[0] == rows
    if n_center < 1 or n_center > (acs.shape[1] if whole_lines else min(acs.shape)):
        raise ValueError(f"n_center must be 1 ... the {acs.shape} samples that the mask has: got {n_center}")
    first = [n // 2 - n_center // 2 for n in (rows, columns)]
    x = slice(first[1], first[1] + n_center)
    return Acs(acs.y if whole_lines else slice(first[0], first[0] + n_center), x)
