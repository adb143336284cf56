"""Ischaemic lesions: acute infarcts in the territory of an artery, and old damage by small vessels.

Both are defined in space, in the frame of the atlas, so that all slices of a subject agree.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.phantoms.canvas import Point
from lightning_mri.phantoms.fields import length, log_uniform


class LesionKind(IntEnum):
    """Values of a lesion mask; 0 is no lesion."""

    ACUTE = 1
    GLIOSIS = 2


class Territory(NamedTuple):
    """Where an artery's tissue begins and the range of directions in which it lies, on the right side."""

    share: float
    apex: Point
    low: Point
    high: Point


TERRITORIES = (
    Territory(0.55, (22, -6, 6), (1.0, -0.9, -0.5), (1.0, 0.8, 0.9)),  # middle cerebral artery
    Territory(0.12, (5, 6, 16), (0.1, 0.1, 0.3), (0.3, 1.0, 1.0)),  # anterior cerebral
    Territory(0.2, (12, -40, 0), (0.2, -1.0, -0.3), (0.5, -0.8, 0.4)),  # posterior cerebral
    Territory(0.13, (6, -46, -32), (0.5, -0.9, -0.6), (1.0, -0.3, 0.1)),  # of the cerebellum
)


@dataclass(frozen=True)
class Infarct:
    """An acute infarct: a wedge that opens from an artery's stem towards the cortex, or a lacune."""

    side: int  # 1 for the right side of the head, -1 for the left
    apex: tuple[float, float, float]  # stem of the artery, or centre of the lacune, in mm
    direction: tuple[float, float, float]  # axis of the wedge, unit length
    half_angle: float  # half the opening of the wedge in rad; pi for a lacune
    near: float  # distance from the apex in mm where the wedge begins
    far: float  # distance where it ends
    scattered: bool = False  # whether the clot broke up, so that only spots within the wedge are struck

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Infarct":
        """Draw an infarct: one in four a lacune of the deep nuclei, one in seven scattered."""
        side = 1 if rng.random() < 0.5 else -1
        if rng.random() < 0.25:
            centre = rng.uniform([9, -26, -4], [28, 16, 24])
            return cls(side, _point(centre), (1.0, 0.0, 0.0), math.pi, -1, log_uniform(rng, 2.5, 7))
        shares = np.array([territory.share for territory in TERRITORIES])
        territory = TERRITORIES[rng.choice(len(TERRITORIES), p=shares / shares.sum())]
        direction = rng.uniform(territory.low, territory.high)
        near = rng.uniform(0, 30)
        far = 200.0 if rng.random() < 0.75 else near + rng.uniform(8, 25)
        half_angle = math.radians(log_uniform(rng, 14, 55))
        direction /= np.linalg.norm(direction)
        return cls(side, territory.apex, _point(direction), half_angle, near, far, bool(rng.random() < 0.2))

    def share(
        self,
        points: Float[Tensor, "3 y x"],
        coarse: Float[Tensor, "y x"],
        fine: Float[Tensor, "y x"],
        spots: Float[Tensor, "y x"],
    ) -> Float[Tensor, "y x"]:
        """Return the share of each point that is struck.

        Args:
            points: Positions in the frame of the atlas, in mm.
            coarse: Random field that bends the border over centimetres.
            fine: Random field that frays it over millimetres.
            spots: Random field whose peaks are struck where the infarct is scattered.
        """
        centre = torch.tensor(self.apex, dtype=torch.float32)[:, None, None]
        offset = torch.stack([self.side * points[0], points[1], points[2]]) - centre
        radius = length(offset)
        along = torch.einsum("c,cyx->yx", torch.tensor(self.direction, dtype=torch.float32), offset)
        angle = torch.acos((along / radius.clamp(min=1e-3)).clamp(-1, 1))
        border = torch.maximum(radius * (angle - self.half_angle).clamp(max=1.5), radius - self.far)
        border = torch.maximum(border, self.near - radius)
        small = min(1.0, self.far / 12)  # a lacune is smoother than a wedge
        ragged = border + small * (4 * coarse + 1.5 * fine)
        struck = torch.sigmoid(-torch.maximum(ragged, 1 - self.side * points[0]) / 0.8)  # stays on its side
        return struck * torch.sigmoid(8 * (spots - 0.9)) if self.scattered else struck


def _point(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z
