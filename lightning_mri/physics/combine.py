"""The image that a fully sampled scan shows: coils combined with maps from its calibration lines."""

import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.physics.coils import compress_coils
from lightning_mri.physics.espirit import estimate_maps
from lightning_mri.physics.fourier import fft2c, ifft2c
from lightning_mri.physics.masks import Acs
from lightning_mri.physics.noise import whiten
from lightning_mri.tensors import centre_crop, power_of_two

N_CENTER = 24


def combine(
    kspace: Complex[Tensor, "slice coil v u"],
    size: tuple[int, int],
    n_center: int = N_CENTER,
    noise_covariance: Complex[Tensor, "coil coil"] | None = None,
) -> Complex[Tensor, "slice y x"]:
    """Return the minimum-variance unbiased image, x = sum_c conj(S_c) F^H k_c, with sum_c abs(S_c)^2 = 1.

    The maps S come from the ``n_center`` central lines by ESPIRiT, and are kept where there is no signal: nothing
    is cut away but the readout's oversampling.

    Args:
        kspace: Fully sampled k-space.
        size: Matrix (y, x) of the image.
        n_center: Number of calibration lines.
        noise_covariance: Covariance of the coils' noise, E eta eta^H / 2, to whiten the coils with.
    """
    return weigh_coils(reduce_kspace(kspace, size, n_center, noise_covariance), n_center)


def reduce_kspace(
    kspace: Complex[Tensor, "slice coil v u"],
    size: tuple[int, int],
    n_center: int = N_CENTER,
    noise_covariance: Complex[Tensor, "coil coil"] | None = None,
    n_coils: int | None = None,
) -> Complex[Tensor, "slice _coil y x"]:
    """Return the part of fully sampled k-space that the image needs: its field of view, whitened virtual coils.

    The field of view is cut first, which is exact and halves the work of all that follows. Whitening keeps the
    mean noise of the coils, and with it the unit.

    Args:
        kspace: Fully sampled k-space.
        size: Matrix (y, x) of the image.
        n_center: Number of calibration lines, whose principal components are the virtual coils.
        noise_covariance: Covariance of the coils' noise, E eta eta^H / 2, to whiten the coils with.
        n_coils: Number of virtual coils of each slice; the coils as they are if not given, or if they are fewer.
    """
    unit = power_of_two(kspace, 3)
    images = centre_crop(ifft2c(kspace / unit), size)
    if noise_covariance is not None:
        images = whiten(images, noise_covariance / noise_covariance.diagonal().real.mean())
    kspace = fft2c(images)
    return unit * (kspace if n_coils is None else compress_coils(kspace, n_coils, _calibration(kspace, n_center)))


def weigh_coils(kspace: Complex[Tensor, "slice coil y x"], n_center: int = N_CENTER) -> Complex[Tensor, "slice y x"]:
    """Return the sum of fully sampled coils, each weighted by its conjugate map; see `combine`."""
    unit = power_of_two(kspace, 3)
    kspace = kspace / unit
    everywhere = torch.ones(1, *kspace.shape[-2:], dtype=torch.bool, device=kspace.device)
    maps = estimate_maps(kspace, everywhere, _calibration(kspace, n_center), crop=0.0)
    return unit[:, 0] * (maps[:, 0].conj() * ifft2c(kspace)).sum(dim=1)


def _calibration(kspace: Tensor, n_center: int) -> Acs:
    return Acs(slice(0, kspace.shape[-2]), slice(0, kspace.shape[-1])).limited(n_center)
