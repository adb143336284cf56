"""Where a slice of a head lies: its matrix, pixels, orientation and thickness."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.phantoms.fields import Plane, log_uniform

OVERSAMPLING = 2
THIN = 1.5  # mm; thinner slices are computed as one plane
# directions of the image's rows (growing y), columns (growing x) and of the slice axis, in head coordinates
ORIENTATIONS = {
    "axial": ((0, -1, 0), (-1, 0, 0), (0, 0, 1)),
    "sagittal": ((0, 0, -1), (0, -1, 0), (1, 0, 0)),
    "coronal": ((0, 0, -1), (-1, 0, 0), (0, 1, 0)),
}


@dataclass(frozen=True)
class Geometry:
    """Where a slice lies in the head; the default is axial through the middle of the brain.

    Args:
        shape: Pixels along y and x.
        pixel_size: Their size in mm.
        offset_mm: Position along the slice axis, from the middle of the brain.
        orientation: ``axial``, ``sagittal`` or ``coronal``.
        tilt: Rotation in degrees about the rows', the columns' and the slice axis.
        shift_mm: Displacement of the field of view along y and x.
        thickness_mm: Thickness of the slice.
    """

    shape: tuple[int, int] = (144, 144)
    pixel_size: tuple[float, float] = (1.6, 1.6)
    offset_mm: float = 0.0
    orientation: str = "axial"
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_mm: tuple[float, float] = (0.0, 0.0)
    thickness_mm: float = 0.0

    def __post_init__(self) -> None:
        """Validate the settings."""
        if self.orientation not in ORIENTATIONS:
            raise ValueError(f"orientation must be one of {', '.join(ORIENTATIONS)}: got {self.orientation!r}")
        if min(self.shape) < 2 or not (all(edge > 0 for edge in self.pixel_size) and self.thickness_mm >= 0):
            raise ValueError(
                "shape must be at least 2 x 2, pixel_size positive and thickness_mm not negative: "
                f"got {self.shape}, {self.pixel_size} and {self.thickness_mm}"
            )

    def axes(self) -> Float[Tensor, "3 3"]:
        """Return the unit vectors of rows, columns and slice axis, one a row."""
        a, b, c = (math.radians(angle) for angle in self.tilt)
        rotation = torch.linalg.matrix_exp(torch.tensor([[0, -c, b], [c, 0, -a], [-b, a, 0]]))
        return rotation @ torch.tensor(ORIENTATIONS[self.orientation], dtype=torch.float32)

    def plane(self, offset_mm: float = 0.0) -> Plane:
        """Return the super-sampled points of the slice, ``offset_mm`` off its middle along the slice axis."""
        rows, columns, normal = self.axes()
        spacing = tuple(size / OVERSAMPLING for size in self.pixel_size)
        y, x = (
            (torch.arange(OVERSAMPLING * n) - OVERSAMPLING * n // 2) * step + shift
            for n, step, shift in zip(self.shape, spacing, self.shift_mm, strict=True)
        )
        origin = normal * (self.offset_mm + offset_mm)
        points = origin[:, None, None] + rows[:, None, None] * y[:, None] + columns[:, None, None] * x
        return Plane(points, (spacing[0], spacing[1]))

    def planes(self) -> list[Plane]:
        """Return the planes whose mean is the slice, its middle first."""
        offsets = [0.0] if self.thickness_mm <= THIN else [0.0, -self.thickness_mm / 3, self.thickness_mm / 3]
        return [self.plane(offset) for offset in offsets]


def draw_geometry(rng: np.random.Generator, size: int) -> Geometry:
    """Draw orientation, pixel size, tilt and field of view, which sometimes cuts the head."""
    orientation = str(rng.choice(["axial", "sagittal", "coronal"], p=[0.7, 0.15, 0.15]))
    low, high = {"axial": (-50, 60), "sagittal": (-52, 52), "coronal": (-62, 66)}[orientation]
    pixel = log_uniform(rng, 0.5, 2.5)
    tilt = rng.normal(0, 8, 3)
    if rng.random() < 0.3:
        tilt[2] = rng.uniform(-180, 180)
    spare = max(0.0, 125 - size * pixel / 2)
    shift = rng.uniform(-0.8, 0.8, 2) * spare + rng.normal(0, 4, 2)
    return Geometry(
        shape=(size, size),
        pixel_size=(pixel * rng.uniform(0.95, 1.05), pixel),
        offset_mm=rng.uniform(low, high),
        orientation=orientation,
        tilt=(tilt[0], tilt[1], tilt[2]),
        shift_mm=(shift[0], shift[1]),
        thickness_mm=rng.uniform(2, 6) if rng.random() < 0.12 else 0.0,
    )
