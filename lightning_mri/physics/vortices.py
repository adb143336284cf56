"""Coil maps whose phase leaves no vortex in the image."""

import math

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from lightning_mri.physics.espirit import acs_image
from lightning_mri.physics.masks import Acs

VORTEX_SIGNAL = 0.1
"""Signal beside a point about which the phase turns, relative to the largest: less beside a zero of the image itself.
It found the vortex of a measured head at every R, one in eight of simulated ones, none in three other scans."""


def without_vortices(
    maps: Complex[Tensor, "batch set coil y x"],
    kspace: Complex[Tensor, "batch coil y x"],
    mask: Bool[Tensor, "1 y x"],
    acs: Acs,
) -> tuple[Complex[Tensor, "batch set coil y x"], Complex[Tensor, "batch y x"] | None]:
    """Return maps that take over the image's smooth phase where it has vortices, and that phase, exp(i phi), if any.

    The virtual coil that maps are relative to may be 0 in the middle of a head. The image's phase turns about that
    point, which priors and wavelets take for a dark spot. The phase is that of the calibration image.

    Args:
        maps: Coil maps; several sets have no common phase, and stay as they are.
        kspace: K-space for calibration.
        mask: Where it was measured.
        acs: Calibration block.
    """
    if maps.shape[1] > 1:
        return maps, None
    image = acs_image(kspace, mask, maps, acs.limited(aspect=2))
    turns = _has_vortex(image)
    phase = torch.where(turns[:, None, None] & (image != 0), image.sgn(), 1)
    return (maps * phase[:, None, None], phase) if bool(turns.any()) else (maps, None)


def _has_vortex(image: Complex[Tensor, "batch y x"]) -> Bool[Tensor, " batch"]:
    """Return whether the phase of each image turns about a point where there is signal."""
    corners = [image[:, :-1, :-1], image[:, 1:, :-1], image[:, 1:, 1:], image[:, :-1, 1:]]
    turn = torch.stack([(b * a.conj()).angle() for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]).sum(0)
    weakest = torch.stack(corners).abs().amin(0)
    there = weakest > VORTEX_SIGNAL * image.abs().amax((1, 2), keepdim=True)
    return ((turn.abs() > math.pi) & there).flatten(1).any(1)
