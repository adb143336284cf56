"""Where an image lies, for formats that must say so."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

UNKNOWN = 1.0
"""Edge of a voxel in mm where it is not known."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where the voxels of a finished image lie.

    Args:
        affine: Takes indices (x, y, slice, 1) to RAS+ coordinates in mm.
        is_known: Whether the scan told it; otherwise orientation was assumed.
        warnings: What was assumed, one sentence each.
    """

    affine: Float[Tensor, "4 4"]
    is_known: bool = True
    warnings: tuple[str, ...] = ()


def place_of(
    affine: Float[Tensor, "4 4"] | None,
    pixel_size: tuple[float, float] | None,
    slice_spacing: float | None,
    shape: tuple[int, int, int],
) -> Place:
    """Return where a scan lies: as its file says, else axial, seen from the feet, around the origin.

    Then x counts towards the subject's left, y towards the back and slices towards the head, as axial images are
    shown, and the warnings say so.

    Args:
        affine: What the file says, if anything.
        pixel_size: Size (y, x) of a pixel in mm, if known.
        slice_spacing: In mm, if known.
        shape: Slices of a volume, and matrix (y, x).
    """
    if affine is not None:
        return Place(affine)
    warnings = ["the orientation is not known: images are written as axial, x to the left and y to the back"]
    if pixel_size is None or slice_spacing is None:
        missing = [
            name for name, value in (("pixel size", pixel_size), ("slice spacing", slice_spacing)) if value is None
        ]
        warnings.append(f"the {' and the '.join(missing)} {'are' if missing[1:] else 'is'} not known: 1 mm is written")
    y, x = pixel_size or (UNKNOWN, UNKNOWN)
    steps = torch.tensor([-x, -y, slice_spacing or UNKNOWN])
    n_slices, rows, columns = shape
    assumed = torch.eye(4)
    assumed[:3, :3] = torch.diag(steps)
    assumed[:3, 3] = -steps * (torch.tensor([columns, rows, n_slices]) - 1) / 2
    return Place(assumed, False, tuple(warnings))
