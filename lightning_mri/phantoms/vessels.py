"""The named arteries, veins and sinuses of the brain, as chains of tubes in the frame of the atlas."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.phantoms.canvas import HeadCanvas, Point, capsule
from lightning_mri.phantoms.tissues import Tissue

MARGIN = 2.0  # mm that the edge of a vessel may fade over


class Vessel(NamedTuple):
    """A tube along a chain of points in mm, on both sides of the head."""

    tissue: Tissue
    radius: float
    chain: tuple[Point, ...]


VESSELS = (
    Vessel(Tissue.BLOOD, 1.7, ((10, -36, -72), (0, -22, -52), (0, -14, -24))),  # vertebral and basilar arteries
    Vessel(Tissue.BLOOD, 2.2, ((24, -14, -50), (14, -8, -40), (13, 4, -28), (12, 0, -18))),  # internal carotid
    Vessel(Tissue.BLOOD, 1.4, ((12, 0, -18), (22, 4, -20), (32, 3, -17))),  # middle cerebral, and in the fissure
    Vessel(Tissue.BLOOD, 1.0, ((32, 3, -17), (41, -6, -4), (43, -24, 12))),
    Vessel(Tissue.BLOOD, 1.0, ((12, 0, -18), (2, 16, -18), (1, 34, -4), (1, 30, 22), (1, 0, 36))),  # anterior cerebral
    Vessel(Tissue.BLOOD, 1.1, ((0, -14, -24), (12, -18, -18), (22, -30, -10), (14, -60, -2))),  # posterior cerebral
    Vessel(Tissue.VEIN, 1.0, ((18, 4, 20), (4, 0, 14), (2.5, -20, 14), (1.5, -38, 8))),  # internal cerebral vein
    Vessel(Tissue.VEIN, 2.2, ((0, -38, 8), (0, -48, 10), (0, -80, -8), (0, -92, -12))),  # Galen and straight sinus
    Vessel(Tissue.VEIN, 3.2, ((0, -96, -12), (30, -88, -16), (54, -66, -22), (58, -48, -28), (46, -38, -50))),
)


def paint_vessels(
    canvas: HeadCanvas,
    points: Float[Tensor, "3 y x"],
    inside: Float[Tensor, "y x"],
    calibre: float = 1.0,
) -> None:
    """Paint the named vessels, their radii times ``calibre``, ``inside`` a part; points are in the atlas, in mm."""
    sides = torch.stack([points[0].abs(), points[1], points[2]]).flatten(1)
    low, high = sides.amin(1).tolist(), sides.amax(1).tolist()
    for vessel in VESSELS:
        radius = calibre * vessel.radius
        for start, stop in zip(vessel.chain, vessel.chain[1:], strict=False):
            reach = zip(low, high, start, stop, strict=True)
            if all(a - MARGIN < max(p, q) + radius and min(p, q) - radius < b + MARGIN for a, b, p, q in reach):
                canvas.paint(vessel.tissue, canvas.inside(capsule(points, start, stop) - radius) * inside)
