"""Noise of a scan: its level from the acquired samples alone, and whitening over coils."""

import math

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics.fourier import ifft2c
from lightning_mri.physics.masks import find_acs

EDGE, CENTRE = 1 / 8, 1 / 8
N_CLIPS = 20
MAD_PER_STD = 0.6744898


def estimate_noise_std(
    kspace: Complex[Tensor, "*batch coil y x"], mask: Bool[Tensor, "*mask_batch 1 y x"]
) -> Float[Tensor, "*batch"]:
    """Estimate the standard deviation of the noise in each real channel of whitened k-space.

    The smaller of two estimates, each of which may be several times too high: the median absolute deviation
    of the samples farthest from the centre of k-space, too high where they hold signal; and the root mean
    square of the background, too high where the object fills the field of view. The background is the quiet
    rows of the image for masks of whole readouts, and the quiet pixels of the calibration image for others.
    Samples that are exactly zero in all coils were filled in and do not count.

    Args:
        kspace: K-space of each slice.
        mask: True where a sample was acquired.

    Raises:
        ValueError: If a slice has no acquired sample that is not zero.
    """
    *batch, n_coils, rows, columns = kspace.shape
    acquired = (mask & (kspace != 0).any(-3, keepdim=True)).reshape(-1, rows, columns)
    slices = kspace.reshape(-1, n_coils, rows, columns)
    if not acquired.any((-2, -1)).all():
        raise ValueError("kspace must hold acquired samples in every slice: got one that is all zero")
    levels = [_noise_of_slice(data, where) for data, where in zip(slices, acquired, strict=True)]
    return torch.stack(levels).reshape(batch)


def _noise_of_slice(kspace: Tensor, acquired: Tensor) -> Tensor:
    y, x = ((torch.arange(n, device=acquired.device) - n // 2) / (n / 2) for n in acquired.shape)
    rows, lines = acquired.any(1), acquired.any(0)
    if torch.equal(acquired, rows[:, None] & lines):
        distance = y.abs()[:, None].expand_as(acquired)
        outer = lines & (x.abs() > CENTRE)
        quiet = _quiet_rows_std(kspace[..., outer if outer.any() else lines], int(rows.sum()))
    else:
        distance = torch.hypot(y[:, None], x)
        quiet = _quiet_pixels_std(kspace, acquired)
    return torch.minimum(_edge_std(kspace, acquired, distance), quiet)


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
    y, x = (torch.hann_window(n + 1, device=kspace.device)[1:] for n in block.shape)
    window = y[:, None] * x
    image = ifft2c(block.crop(kspace) * window)
    return _quiet_std(image.abs().square().mean(0).flatten() / window.square().mean(), len(kspace))


def _quiet_std(power: Tensor, n_averaged: int) -> Tensor:
    """Standard deviation per real channel, from the places [n] as quiet as the quietest.

    Starts from the 5th percentile of the power, each a mean over m values, and takes in all places less
    than three of its standard deviations 1 / sqrt(m) above the mean so far.
    """
    level = torch.kthvalue(power, max(1, round(0.05 * len(power)))).values
    for _ in range(N_CLIPS):
        level = power[power <= level * (1 + 3 / math.sqrt(n_averaged))].mean()
    return (level / 2).sqrt()


def noise_covariance(samples: Complex[Tensor, "coil *sample"]) -> Complex[Tensor, "coil coil"]:
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
    flat = torch.linalg.solve_triangular(factor, kspace.flatten(-2), upper=False)
    return flat.unflatten(-1, kspace.shape[-2:])
