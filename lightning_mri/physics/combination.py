"""The image that a fully sampled scan shows: coils combined with maps from its calibration lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.physics.coils import compress_coils
from lightning_mri.physics.dead_coils import about_dead, live_coils, whiten_live
from lightning_mri.physics.espirit import estimate_maps
from lightning_mri.physics.fourier import fft2c, ifft2c
from lightning_mri.physics.masks import Acs
from lightning_mri.physics.noise import NoisyCoils, unwhitened_size, whiten_noisy_coils
from lightning_mri.physics.spikes import replace_spikes
from lightning_mri.tensors import centre_crop, power_of_two

N_CENTER = 24


@dataclass(frozen=True, eq=False)
class Combined:
    """Fully sampled slices, their coils combined."""

    image: Complex[Tensor, "slice y x"]  # their images
    # K-space of the whitened virtual coils they were combined from, in the field of view of the images
    kspace: Complex[Tensor, "slice _coil y x"]
    warnings: tuple[tuple[str, ...], ...]  # what was found wrong with each slice's samples, sentences


def combine(
    kspace: Complex[Tensor, "slice coil v u"],
    size: tuple[int, int],
    noise_covariance: Complex[Tensor, "coil coil"] | None = None,
) -> Complex[Tensor, "slice y x"]:
    """Return the coil-combined image, without virtual coils."""
    return combine_coils(kspace, size, noise_covariance=noise_covariance).image


def combine_coils(
    kspace: Complex[Tensor, "slice coil v u"],
    size: tuple[int, int],
    n_center: int = N_CENTER,
    noise_covariance: Complex[Tensor, "coil coil"] | None = None,
    n_coils: int | None = None,
) -> Combined:
    """Combine coils to the minimum-variance unbiased image, x = sum_c conj(S_c) F^H k_c, with sum_c abs(S_c)^2 = 1.

    As where scans are reconstructed, spikes are replaced, and coils far noisier than the others are whitened where
    there is no noise scan. The maps S come from the ``n_center`` central lines by ESPIRiT, and are kept where there is
    no signal: nothing is cut away but the readout's oversampling. That is cut first, which is exact and halves the
    work of all that follows. Whitening keeps the unit. Slices of zeros stay so, and coils of zeros change nothing.

    Args:
        kspace: Fully sampled k-space.
        size: Matrix (y, x) of the image.
        n_center: Number of calibration lines, for the maps and the virtual coils.
        noise_covariance: Covariance of the coils' noise, E eta eta^H / 2, to whiten the coils with.
        n_coils: Number of virtual coils of each slice; the coils as they are if not given, or if they are fewer.

    Raises:
        ValueError: If the covariance of the coils that hold anything is not Hermitian positive definite.
    """
    kspace = kspace.to(torch.complex64)
    live = live_coils(kspace, noise_covariance)
    kspace = kspace if bool(live.all()) else kspace * live[..., None, None]
    filled = (kspace != 0).any(1)
    there = filled.flatten(1).any(1)
    if not bool(there.all()):
        return _with_empty(kspace, there, size, n_center, noise_covariance, n_coils)
    kspace, spikes = replace_spikes(kspace, filled)
    unit = power_of_two(kspace, 3)
    kspace = kspace / unit
    noisy: Sequence[NoisyCoils | None] = [None] * len(kspace)
    if noise_covariance is None:
        kspace, noisy = whiten_noisy_coils(kspace, filled)
    images = centre_crop(ifft2c(kspace), size)
    if noise_covariance is not None:
        images = whiten_live(images, noise_covariance, live)
    kspace = fft2c(images)
    acs = Acs(slice(0, size[0]), slice(0, size[1])).limited(n_center)
    blocks = acs.crop(kspace)
    kspace = kspace if n_coils is None else compress_coils(kspace, n_coils, acs)
    maps = estimate_maps(kspace, torch.ones(1, *size, dtype=torch.bool, device=kspace.device), acs, crop=0.0)
    image = (maps[:, 0].conj() * ifft2c(kspace)).sum(dim=1)
    if any(noisy):  # brightness is that of coils that all count
        image = image * unwhitened_size(maps, noisy, blocks)[:, 0, 0]
    told = zip(about_dead(live), spikes, noisy, strict=True)
    warnings = tuple(tuple(str(each) for each in texts if each) for texts in told)
    return Combined(unit[:, 0] * image, unit * kspace, warnings)


def _with_empty(
    kspace: Tensor,
    there: Tensor,
    size: tuple[int, int],
    n_center: int,
    noise_covariance: Tensor | None,
    n_coils: int | None,
) -> Combined:
    """Combine the coils of slices some of which are all zero."""
    n_left = min(kspace.shape[1], n_coils or kspace.shape[1])
    image, coils = kspace.new_zeros(len(kspace), *size), kspace.new_zeros(len(kspace), n_left, *size)
    warnings: list[tuple[str, ...]] = [()] * len(kspace)
    if bool(there.any()):
        found = combine_coils(kspace[there], size, n_center, noise_covariance, n_coils)
        image[there], coils[there] = found.image, found.kspace
        for row, texts in zip(there.nonzero().flatten().tolist(), found.warnings, strict=True):
            warnings[row] = texts
    return Combined(image, coils, tuple(warnings))
