"""Painting a plane with tissues, and the simple solids they are painted in."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.phantoms.fields import Plane, length
from lightning_mri.phantoms.tissues import Tissue

Point = tuple[float, float, float]
FAINT = 1e-4


class Canvas:
    """Tissue fractions of each point, painted layer over layer (``faint`` ones left out); air is what is left to 1."""

    def __init__(self, fractions: Float[Tensor, "tissue y x"], faint: float = 0.0) -> None:
        self.fractions, self.faint = fractions, faint

    def paint(self, tissue: int | None, share: Float[Tensor, "y x"]) -> None:
        """Replace ``share`` of what is there by a tissue, or by air if none is given."""
        rows = (share > self.faint).any(1).nonzero()
        if len(rows) == 0:
            return
        some = slice(int(rows[0]), int(rows[-1]) + 1)  # most things are small: leave the other rows alone
        self.fractions[:, some] *= 1 - share[some]
        if tissue is not None:
            self.fractions[tissue, some] += share[some]


class HeadCanvas(Canvas):
    """A canvas of a head's tissues.

    Args:
        shape: Points along y and x.
        softness: Distance in mm over which an edge fades, by a factor e.
    """

    def __init__(self, shape: tuple[int, int], softness: float) -> None:
        super().__init__(torch.zeros(len(Tissue), *shape), FAINT)
        self.softness = softness

    def inside(self, distance: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Return the share of a point that is inside a surface at this signed distance, negative inside."""
        return torch.sigmoid(distance / -self.softness)


class PlacedPlane(NamedTuple):
    """A plane in one subject: its points in the frame of the atlas, and what all painters need there."""

    plane: Plane
    upright: Float[Tensor, "3 y x"]  # points in the frame of the atlas, not deformed
    head: Float[Tensor, "3 y x"]  # deformed as the skull is
    brain: Float[Tensor, "3 y x"]  # deformed as the brain is
    hull: Float[Tensor, "y x"]  # signed distance outwards from the brain's hull in mm
    pia: Float[Tensor, "y x"]  # depth below the brain's surface in mm
    relief: Float[Tensor, "3 y x"]  # random fields with features of 20 mm
    strands: Float[Tensor, "2 y x"]  # of 9 mm
    speckle: Float[Tensor, "3 y x"]  # of 5 mm
    folds: Float[Tensor, "4 y x"]  # that hardly change along the rays from the core of a hemisphere outwards


def _mirrored(points: Float[Tensor, "3 y x"]) -> Float[Tensor, "3 y x"]:
    """Return the points with their left half mirrored to the right."""
    return torch.stack([points[0].abs(), points[1], points[2]])


def ellipsoid(points: Float[Tensor, "3 y x"], centre: Point, radii: Point) -> Float[Tensor, "y x"]:
    """Return about the signed distance in mm to an ellipsoid that is there on both sides."""
    offset = _mirrored(points) - torch.tensor(centre)[:, None, None]
    return (length(offset / torch.tensor(radii)[:, None, None]) - 1) * min(radii)


def capsule(points: Float[Tensor, "3 y x"], start: Point, stop: Point) -> Float[Tensor, "y x"]:
    """Return the distance in mm to a line segment that is there on both sides."""
    offset = _mirrored(points) - torch.tensor(start, dtype=torch.float32)[:, None, None]
    axis = torch.tensor(stop, dtype=torch.float32) - torch.tensor(start, dtype=torch.float32)
    along = torch.einsum("c,cyx->yx", axis, offset) / (axis @ axis)
    return length(offset - along.clamp(0, 1) * axis[:, None, None])
