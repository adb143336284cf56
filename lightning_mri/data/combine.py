"""The image that a fully sampled scan shows: coils combined with maps from its calibration lines."""

import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.physics import estimate_maps, fft2c, find_acs, ifft2c
from lightning_mri.tensors import centre_crop

N_CENTER = 24


def combine(
    kspace: Complex[Tensor, "slice coil v u"], size: tuple[int, int], n_center: int = N_CENTER
) -> Complex[Tensor, "slice y x"]:
    """Return the minimum-variance unbiased image, x = sum_c conj(S_c) F^H k_c, with sum_c abs(S_c)^2 = 1.

    The field of view is cut to ``size`` first, which removes the readout's oversampling. The maps S come from
    the ``n_center`` central lines by ESPIRiT, and are kept where there is no signal: nothing is cut away.

    Args:
        kspace: Fully sampled k-space.
        size: Matrix (y, x) of the image.
        n_center: Number of calibration lines.
    """
    images = centre_crop(ifft2c(kspace), size)
    everywhere = torch.ones(1, *size, dtype=torch.bool, device=kspace.device)
    acs = find_acs(everywhere).limited(n_center)
    maps = estimate_maps(fft2c(images), everywhere, acs, crop=0.0)
    return (maps[:, 0].conj() * images).sum(dim=1)
