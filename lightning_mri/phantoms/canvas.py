"""Painting a plane with tissues, and the simple solids they are painted in."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.phantoms.fields import length
from lightning_mri.phantoms.tissues import Tissue

Point = tuple[float, float, float]
FAINT = 1e-4


class Canvas:
    """Tissue fractions of each point, painted layer over layer; air is what is left to 1.

    Args:
        shape: Points along y and x.
        softness: Distance in mm over which an edge fades, by a factor e.
    """

    def __init__(self, shape: tuple[int, int], softness: float) -> None:
        self.fractions = torch.zeros(len(Tissue), *shape)
        self.softness = softness

    def inside(self, distance: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Return the share of a point that is inside a surface at this signed distance, negative inside."""
        return torch.sigmoid(distance / -self.softness)

    def paint(self, tissue: Tissue | None, share: Float[Tensor, "y x"]) -> None:
        """Replace ``share`` of what is there by a tissue, or by air if none is given; shares below 1e-4 are left."""
        rows = (share > FAINT).any(1).nonzero()
        if len(rows) == 0:
            return
        some = slice(int(rows[0]), int(rows[-1]) + 1)  # most things are small: leave the other rows alone
        self.fractions[:, some] *= 1 - share[some]
        if tissue is not None:
            self.fractions[tissue, some] += share[some]


def _mirrored(points: Float[Tensor, "3 y x"]) -> Float[Tensor, "3 y x"]:
    """Return the points with their left half folded to the right."""
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
