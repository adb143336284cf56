"""Noise of a scan: its level from the acquired samples alone, and whitening over coils."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics.coils import mix_coils, virtual_coils
from lightning_mri.physics.fourier import ifft2c
from lightning_mri.physics.masks import find_acs
from lightning_mri.tensors import power_of_two

EDGE, CENTRE = 1 / 8, 1 / 8  # share of the samples that count as far from the centre; half width of the centre
N_CLIPS = 20
MAD_PER_STD = 0.6744898  # of a normal distribution
NOISY = 2.5  # times the median coil; on scans of five arrays coils differ by up to 1.9, or 5 where signal hides noise
SIGNAL = 1.4  # edge over background of a coil's noise estimates; 3 and more for the coils of those 5
ROUNDING = 1e-4  # of a coil's root mean square: less may be rounding of data without noise
SAMPLES_A_COIL = 10  # for a covariance, whose relative error is then about a third


def estimate_noise_std(
    kspace: Complex[Tensor, "*batch coil y x"], mask: Bool[Tensor, "*mask_batch 1 y x"]
) -> Float[Tensor, "*batch"]:
    """Estimate the standard deviation of the noise in each real channel of whitened k-space.

    The smaller of two estimates, each of which may be several times too high: the median absolute deviation
    of the samples farthest from the centre of k-space, too high where they hold signal; and the root mean
    square of the background, too high where the object fills the field of view. The background is the quiet
    rows of the image for masks of whole readouts, and the quiet pixels of the calibration image for others.
    Samples that are exactly zero in all coils were filled in and do not count, and neither do coils of zeros.

    Args:
        kspace: K-space of each slice.
        mask: True where a sample was acquired.

    Raises:
        ValueError: If a slice has no acquired sample that is not zero.
    """
    *batch, n_coils, rows, columns = kspace.shape
    acquired = (mask & (kspace != 0).any(-3, keepdim=True)).reshape(-1, rows, columns)
    slices = kspace.reshape(-1, n_coils, rows, columns)
    unit = power_of_two(torch.where(acquired[:, None], slices, 0), 3)
    if not acquired.any((-2, -1)).all():
        raise ValueError("kspace must hold acquired samples in every slice: got one that is all zero")
    pairs = zip(slices / unit, acquired, strict=True)
    levels = [torch.minimum(*_levels(_filled_coils(data, where), where)) for data, where in pairs]
    return (torch.stack(levels) * unit.flatten()).reshape(batch)


def _filled_coils(kspace: Tensor, acquired: Tensor) -> Tensor:
    """Return the coils of a slice that hold something: others are dead, or were filled in to pad an array."""
    filled = ((kspace != 0) & acquired).flatten(1).any(1)
    return kspace if bool(filled.all()) else kspace[filled]


def _levels(kspace: Tensor, acquired: Tensor) -> tuple[Tensor, Tensor]:
    """Return the noise level by the samples farthest from the centre of k-space, and by the background."""
    y, x = ((torch.arange(n, device=acquired.device) - n // 2) / (n / 2) for n in acquired.shape)
    rows, lines = acquired.any(1), acquired.any(0)
    if torch.equal(acquired, rows[:, None] & lines):
        distance = y.abs()[:, None].expand_as(acquired)
        quiet = _quiet_rows_std(kspace[..., _outer_lines(lines)], int(rows.sum()))
    else:
        distance = torch.hypot(y[:, None], x)
        quiet = _quiet_pixels_std(kspace, acquired)
    return _edge_std(kspace, acquired, distance), quiet


def _outer_lines(lines: Tensor) -> Tensor:
    """Return the acquired lines away from the centre, all of them if there are none."""
    x = (torch.arange(len(lines), device=lines.device) - len(lines) // 2) / (len(lines) / 2)
    outer = lines & (x.abs() > CENTRE)
    return outer if outer.any() else lines


def _edge_std(kspace: Tensor, acquired: Tensor, distance: Tensor) -> Tensor:
    """Median absolute deviation, as standard deviation, of the acquired samples of largest distance."""
    distances = distance[acquired]
    limit = torch.kthvalue(distances, math.ceil((1 - EDGE) * len(distances))).values
    edge = torch.view_as_real(kspace[:, acquired & (distance >= limit)])
    return edge.abs().median() / MAD_PER_STD


def _quiet_rows_std(readouts: Tensor, n_acquired_rows: int) -> Tensor:
    """Noise in the rows of the image that see no object, from readouts [coil, y, line]."""
    n_coils, n_rows, n_lines = readouts.shape
    rows = torch.fft.ifft(torch.fft.ifftshift(readouts, -2), dim=-2, norm="ortho")
    return _quiet_std(rows.abs().square().mean((0, 2)) * (n_rows / n_acquired_rows), n_coils * n_lines)


def _quiet_pixels_std(kspace: Tensor, acquired: Tensor) -> Tensor:
    """Noise in the pixels of the calibration image that see no object; a Hann window keeps it in place."""
    try:
        block = find_acs(acquired[None]).limited()
    except ValueError:
        return kspace.real.new_tensor(math.inf)
    y, x = (torch.hann_window(n + 1, dtype=torch.float32, device=kspace.device)[1:] for n in block.shape)
    window = y[:, None] * x
    image = ifft2c(block.crop(kspace) * window)
    return _quiet_std(image.abs().square().mean(0).flatten() / window.square().mean(), len(kspace))


def _quiet_std(power: Tensor, n_averaged: int) -> Tensor:
    """Standard deviation per real channel, from the places [n] as quiet as the quietest.

    Starts from the 5th percentile of the power, each a mean over m values, and takes in all places less
    than three of its standard deviations 1 / sqrt(m) above the mean so far.
    """
    return (power[power <= _quiet_limit(power, n_averaged)].mean() / 2).sqrt()


def _quiet_limit(power: Tensor, n_averaged: int) -> Tensor:
    """Return the largest power of what counts as quiet."""
    level = torch.kthvalue(power, max(1, round(0.05 * len(power)))).values
    for _ in range(N_CLIPS - 1):
        level = power[power <= level * (1 + 3 / math.sqrt(n_averaged))].mean()
    return level * (1 + 3 / math.sqrt(n_averaged))


@dataclass(frozen=True, eq=False)
class NoisyCoils:
    """Coils of one slice that are far noisier than the others.

    Args:
        ratios: Noise level of each of them, relative to the median coil.
        root: L with covariance L L^H, by whose inverse the slice was whitened.
    """

    ratios: Mapping[int, float]
    root: Complex[Tensor, "coil coil"]

    def __str__(self) -> str:
        coils = ", ".join(f"{coil} ({ratio:.1f} x)" for coil, ratio in self.ratios.items())
        return f"coils noisier than the others, counted less by whitening: {coils}"


def whiten_noisy_coils(
    kspace: Complex[Tensor, "slice coil y x"], mask: Bool[Tensor, "#slice y x"]
) -> tuple[Complex[Tensor, "slice coil y x"], tuple[NoisyCoils | None, ...]]:
    """Whiten slices in which single coils are far noisier than the others, as a loose connector makes them.

    For scans without a noise scan. A coil counts as noisy where its level is 2.5 times that of the median coil, and
    its samples far from the centre of k-space are no stronger than its background: else they hold signal. Covariances
    come from the background of the image where that has ten samples a coil, and are diagonal otherwise. The median
    coil keeps its unit. Coils without noise, such as those of zeros, have no part in this, and stay as they are.

    Args:
        kspace: K-space of each slice, zero where not acquired.
        mask: True where a sample was acquired.

    Returns:
        K-space, of which slices without such coils keep every bit, and the noisy coils of each slice, if any.
    """
    found: list[NoisyCoils | None] = []
    slices = []
    for data, acquired in zip(kspace, mask.expand(len(kspace), *mask.shape[1:]), strict=True):
        filled = acquired & (data != 0).any(0)
        edge, quiet = (torch.stack(parts) for parts in zip(*(_levels(one[None], filled) for one in data), strict=True))
        level = torch.minimum(edge, quiet)
        rms = data[:, filled].abs().square().mean(1).sqrt()
        counted = level > 0
        median = level[counted].median() if bool(counted.any()) else level.new_tensor(math.inf)
        is_noisy = (level > NOISY * median) & (edge < SIGNAL * quiet) & (level > ROUNDING * rms)
        if not bool(is_noisy.any()):
            found.append(None)
            slices.append(data)
            continue
        covariance = torch.eye(len(data), dtype=data.dtype, device=data.device)
        covariance[counted[:, None] & counted] = _covariance(data[counted], filled, level[counted]).flatten()
        ratios = {int(i): float(level[i] / median) for i in is_noisy.nonzero()}
        found.append(NoisyCoils(ratios, torch.linalg.cholesky(covariance)))
        slices.append(whiten(data, covariance))
    return (torch.stack(slices) if any(found) else kspace), tuple(found)


def whiten_alike(
    kspace: Complex[Tensor, "slice coil y x"], noisy: Sequence[NoisyCoils | None]
) -> Complex[Tensor, "slice coil y x"]:
    """Return slices whitened by the noise that was found in other samples of the same coils."""
    pairs = zip(kspace, noisy, strict=True)
    return torch.stack([one if found is None else whiten(one, found.root @ found.root.mH) for one, found in pairs])


def unwhitened_size(
    maps: Complex[Tensor, "slice set coil y x"],
    noisy: Sequence[NoisyCoils | None],
    blocks: Complex[Tensor, "slice _coil _v _u"],
) -> Float[Tensor, "slice set 1 y x"]:
    """Return abs(L S), the factor from the image of whitened coils to that of the others.

    Maps S of whitened coils have sum abs(S)^2 = 1, so that their image would be darker where a noisy coil counts less.

    Args:
        maps: Maps S of whitened coils, or of virtual ones.
        noisy: What each slice was whitened by.
        blocks: Whitened calibration blocks, whose principal components the virtual coils are.
    """
    factors = []
    for slice_maps, found, block in zip(maps, noisy, blocks, strict=True):
        root = None if found is None else found.root
        if root is not None and slice_maps.shape[-3] < len(root):
            root = root @ virtual_coils(block, slice_maps.shape[-3]).mH
        mixed = slice_maps if root is None else mix_coils(root, slice_maps)
        factors.append(torch.linalg.vector_norm(mixed, dim=-3, keepdim=True))
    return torch.stack(factors)


def _covariance(kspace: Tensor, acquired: Tensor, level: Tensor) -> Tensor:
    """Return the covariance of the noise of coils of known levels, that of the median coil 1."""
    diagonal = torch.diag((level / level.median()).square()).to(kspace.dtype)
    rows, lines = acquired.any(1), acquired.any(0)
    if not torch.equal(acquired, rows[:, None] & lines):
        return diagonal
    outer = _outer_lines(lines)
    images = torch.fft.ifft(torch.fft.ifftshift(kspace[..., outer], -2), dim=-2, norm="ortho")
    power = (images.abs() / level[:, None, None]).square().mean((0, 2))
    samples = images[:, power <= _quiet_limit(power, len(kspace) * images.shape[-1])].flatten(1)
    if samples.shape[1] < SAMPLES_A_COIL * len(kspace):
        return diagonal
    covariance = (samples @ samples.mH).to(kspace.dtype)
    size = covariance.diagonal().real.sqrt()
    correlation = covariance / (size[:, None] * size)
    return correlation * (level[:, None] * level) / level.median() ** 2


def noise_covariance(samples: Complex[Tensor, " coil *sample"]) -> Complex[Tensor, "coil coil"]:
    """Return the covariance of noise-only samples per real channel, n n^H / 2, averaged over samples.

    Args:
        samples: Noise of each coil, such as a scan without excitation.

    Raises:
        ValueError: If there are fewer samples than coils.
    """
    flat = samples.flatten(1)
    n_coils, n_samples = flat.shape
    if n_samples < n_coils:
        raise ValueError(f"samples must be at least as many as coils, {n_coils}: got {n_samples}")
    return flat @ flat.mH / (2 * n_samples)


def whiten(
    kspace: Complex[Tensor, "*batch coil y x"], covariance: Complex[Tensor, "coil coil"]
) -> Complex[Tensor, "*batch coil y x"]:
    """Combine coils so that their noise is independent with standard deviation 1 in each real channel.

    With covariance L L^H (Cholesky) this is L^-1 k. Zeros stay zeros.

    Args:
        kspace: K-space in the units of the noise samples.
        covariance: Noise covariance per real channel, from `noise_covariance`.

    Raises:
        ValueError: If the covariance is not Hermitian positive definite.
    """
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed or not torch.allclose(covariance, covariance.mH, rtol=1e-4, atol=0):
        raise ValueError(f"covariance must be Hermitian positive definite: got\n{covariance}")
    flat = torch.linalg.solve_triangular(factor.to(kspace.dtype), kspace.flatten(-2), upper=False)
    return flat.unflatten(-1, kspace.shape[-2:])
