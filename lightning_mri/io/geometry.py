"""Where images lie: affines, orientation and spacing, for every format.

Affines take indices (x, y, slice, 1) to RAS+ coordinates in mm, as NIfTI has them. DICOM and ParaVision count
towards left and back instead (LPS).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lightning_mri.lazy import lazy

orientations = lazy("nibabel.orientations")

UNKNOWN = 1.0
"""Edge of a voxel in mm where it is not known."""
GAP_TOLERANCE = 0.02
"""Share of the spacing by which slices may be off."""
SIZE_TOLERANCE = 0.01
"""Share by which two statements of one size may differ."""
RIGHT_ANGLE = 1e-3
"""Cosine below which rows and columns count as at right angles."""
SWAP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Takes LPS coordinates to RAS+ and back."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """What a file says about where its images lie."""

    pixel_size: tuple[float, float] | None = None  # size (y, x) of a pixel in mm, if known
    slice_spacing: float | None = None  # distance between the centres of slices in mm, if known
    affine: Float[Tensor, "4 4"] | None = None  # to RAS+ coordinates, if known
    warnings: tuple[str, ...] = ()  # what had to be guessed, one sentence each


@dataclass(frozen=True, eq=False)
class Place:
    """Where the voxels of a finished image lie.

    Args:
        affine: Takes indices (x, y, slice, 1) to RAS+ coordinates in mm.
        is_known: Whether the scan gives it; otherwise orientation was assumed.
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
    sizes = {"pixel size": pixel_size, "slice spacing": slice_spacing}
    missing = [name for name, size in sizes.items() if size is None]
    if missing:
        warnings.append(f"the {' and the '.join(missing)} {'are' if missing[1:] else 'is'} not known: 1 mm is written")
    y, x = pixel_size or (UNKNOWN, UNKNOWN)
    steps = torch.tensor([-x, -y, slice_spacing or UNKNOWN])
    n_slices, rows, columns = shape
    assumed = torch.eye(4)
    assumed[:3, :3] = torch.diag(steps)
    assumed[:3, 3] = -steps * (torch.tensor([columns, rows, n_slices]) - 1) / 2
    return Place(assumed, False, tuple(warnings))


def about_centre(
    affine: Float[Tensor, "4 4"] | None, size: tuple[int, int], new: tuple[int, int]
) -> Float[Tensor, "4 4"] | None:
    """Return the affine of images cut or padded about their centre, index n // 2, to a new matrix (y, x)."""
    if affine is None:
        return None
    rows, columns = (n // 2 - m // 2 for n, m in zip(size, new, strict=True))
    return torch.cat([affine[:, :3], affine @ torch.tensor([[columns], [rows], [0.0], [1.0]])], 1)


def stack_geometry(
    x: np.ndarray,
    y: np.ndarray,
    positions: np.ndarray,
    pixel_size: tuple[float, float] | None,
    thickness: float | None,
) -> Geometry:
    """Return the geometry of parallel slices, from what DICOM and ParaVision say of each.

    Args:
        x: Direction [3] in which x counts up, LPS.
        y: The same for y.
        positions: Centres [slice, 3] of the slices' first pixels, LPS, mm.
        pixel_size: Size (y, x) of a pixel in mm, if known.
        thickness: Stands for the spacing of a single slice, in mm, if known.
    """
    if len(positions) > 1:
        step = (positions[-1] - positions[0]) / (len(positions) - 1)
        steps = np.diff(positions, axis=0)
        spacing = float(np.linalg.norm(step))
        if np.linalg.norm(steps - step, axis=1).max() > GAP_TOLERANCE * spacing:
            gaps = np.linalg.norm(steps, axis=1)
            uneven = (
                f"slices are not equally spaced ({gaps.min():.3g} ... {gaps.max():.3g} mm): orientation is not known"
            )
            return Geometry(pixel_size, warnings=(uneven,))
    elif thickness is not None:
        step, spacing = np.cross(x, y) * thickness, thickness
    else:
        return Geometry(pixel_size, warnings=("the distance of slices is not known: nor is orientation",))
    if pixel_size is None:
        return Geometry(None, spacing, warnings=("the file has no size of pixels: orientation is not known",))
    affine = np.eye(4)
    affine[:3] = np.stack([x * pixel_size[1], y * pixel_size[0], step, positions[0]], axis=1)
    return Geometry(pixel_size, spacing, torch.tensor(SWAP @ affine, dtype=torch.float32))


def lps_of(place: Place) -> np.ndarray:
    """Return a place's affine [3, 4] to LPS coordinates."""
    return (SWAP @ place.affine.double().numpy(force=True))[:3]


def shear(affine: Float[Tensor, "4 4"]) -> float | None:
    """Return the cosine between rows and columns; None where they are at right angles."""
    x, y = affine[:3, 0].double(), affine[:3, 1].double()
    cosine = float(x @ y / (x.norm() * y.norm()))
    return None if abs(cosine) < RIGHT_ANGLE else cosine


def is_shown_transposed(affine: Float[Tensor, "4 4"]) -> bool:
    """Return whether viewers show y along rows: what is nearest to left-right, else to front-back, runs across."""
    axes = orientations.io_orientation(affine.double().numpy(force=True))[:2, 0]
    return bool(axes[0] > axes[1])


def as_shown(images: Float[Tensor, "slice y x"], place: Place) -> tuple[Float[Tensor, "slice rows columns"], Place]:
    """Return images whose rows and columns run as viewers show them, and where these lie.

    Rows run to the left, in sagittal images to the back; columns to the back, else to the feet, whichever axis is
    nearest. Every voxel stays where it was.
    """
    affine = place.affine.double().numpy(force=True)
    x_sign, y_sign = orientations.io_orientation(affine)[:2, 1]
    flips = [[0, -x_sign], [1, -y_sign], [2, 1]]  # against RAS+
    affine = affine @ orientations.inv_ornt_aff(flips, tuple(reversed(images.shape)))
    if is_shown_transposed(place.affine):
        affine = affine[:, [1, 0, 2, 3]]
    return _turned(images, place.affine), replace(place, affine=torch.tensor(affine, dtype=place.affine.dtype))


def for_readers(
    images: Shaped[Tensor, "*batch y x"],
    affine: Float[Tensor, "4 4"] | None,
    pixel_size: tuple[float, float] | None = None,
) -> tuple[Shaped[Tensor, "*batch rows columns"], tuple[float, float] | None, str]:
    """Return images for pictures, turned as in radiology, the size of their pixels in mm, and how that is in words.

    Args:
        images: What is to be drawn.
        affine: Of the scan that they are of; if it is not known, they stay as stored.
        pixel_size: Size (y, x) of a pixel in mm, if known.
    """
    if affine is None:
        return images, pixel_size, "as stored: it is not known where left is"
    if pixel_size is not None and is_shown_transposed(affine):
        pixel_size = (pixel_size[1], pixel_size[0])
    return _turned(images, affine).contiguous(), pixel_size, "as in radiology"


def _turned(images: Tensor, affine: Tensor) -> Tensor:
    """Return images [*batch, y, x] as `as_shown` does."""
    x_sign, y_sign = orientations.io_orientation(affine.double().numpy(force=True))[:2, 1]
    images = images.flip([axis for axis, sign in ((-1, x_sign), (-2, y_sign)) if sign > 0])
    return images.mT if is_shown_transposed(affine) else images


def greatest_distance(a: Tensor, shape_a: Sequence[int], b: Tensor, shape_b: Sequence[int]) -> float:
    """Return how far in mm a corner voxel of one of two volumes [slice, y, x] is from the nearest one of the other."""
    distances = torch.cdist(_corners(a, shape_a), _corners(b, shape_b))
    return float(torch.stack([distances.amin(dim=0), distances.amin(dim=1)]).max())


def misplacement(a: Tensor | None, b: Tensor | None, shape: Sequence[int]) -> float | None:
    """Return how far in mm the voxels of one index lie apart, at most, for two affines of a volume [slice, y, x].

    None up to half a pixel of the first, and where one of them is not known.
    """
    if a is None or b is None:
        return None
    distance = float(_corners(a - b, shape).norm(dim=1).max())
    return distance if distance > float(a[:3, :2].norm(dim=0).min()) / 2 else None


def _corners(affine: Tensor, shape: Sequence[int]) -> Float[Tensor, "corner 3"]:
    """Return where an affine takes the corner voxels of a volume [slice, y, x]."""
    ends = (torch.tensor([0.0, n - 1]) for n in reversed(shape))
    return (torch.cartesian_prod(*ends, torch.ones(1)) @ affine.T)[:, :3]
