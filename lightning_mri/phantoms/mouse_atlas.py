"""Parametric anatomy of a mouse's head: tissues, and bodies drawn by hand after the layout of stereotaxic atlases.

Coordinates are in mm from bregma: x to the side, y up, z to the nose.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.lazy import lazy

interpolate = lazy("scipy.interpolate")

BRAIN_RANGE_MM = (-6.6, 3.2)
"""Slices between cerebellum and frontal pole."""


class MouseTissue(IntEnum):
    """What a point of a mouse's head can be made of; air is the absence of all."""

    CORTEX = 0
    HIPPOCAMPUS = 1
    STRIATUM = 2
    PALLIDUM = 3
    THALAMUS = 4
    HYPOTHALAMUS = 5
    MIDBRAIN = 6
    HINDBRAIN = 7
    CEREBELLUM = 8
    BULB = 9
    WHITE = 10
    FLUID = 11
    MENINGES = 12
    BONE = 13
    MARROW = 14
    MUSCLE = 15
    FAT = 16
    SKIN = 17
    GLAND = 18
    VITREOUS = 19
    LENS = 20


BRAIN = tuple(MouseTissue)[: MouseTissue.FLUID + 1]

# T1 in s, T2 in ms, proton density: rounded from measurements between 7 T and 11 T
RELAXATION = {
    MouseTissue.CORTEX: (1.90, 41, 0.80),
    MouseTissue.HIPPOCAMPUS: (1.90, 46, 0.82),
    MouseTissue.STRIATUM: (1.85, 39, 0.79),
    MouseTissue.PALLIDUM: (1.70, 37, 0.77),
    MouseTissue.THALAMUS: (1.75, 36, 0.77),
    MouseTissue.HYPOTHALAMUS: (1.95, 42, 0.81),
    MouseTissue.MIDBRAIN: (1.75, 37, 0.77),
    MouseTissue.HINDBRAIN: (1.75, 37, 0.76),
    MouseTissue.CEREBELLUM: (1.85, 41, 0.80),
    MouseTissue.BULB: (2.00, 43, 0.82),
    MouseTissue.WHITE: (1.65, 33, 0.70),
    MouseTissue.FLUID: (3.20, 130, 1.00),
    MouseTissue.MENINGES: (2.00, 38, 0.60),
    MouseTissue.BONE: (0.60, 5, 0.15),
    MouseTissue.MARROW: (1.00, 30, 0.60),
    MouseTissue.MUSCLE: (1.80, 23, 0.75),
    MouseTissue.FAT: (0.50, 52, 0.80),
    MouseTissue.SKIN: (1.20, 25, 0.70),
    MouseTissue.GLAND: (1.60, 46, 0.85),
    MouseTissue.VITREOUS: (3.20, 110, 1.00),
    MouseTissue.LENS: (1.40, 18, 0.60),
}


@dataclass(frozen=True)
class Levels:
    """Values that change along the head: one row for each z, monotone (PCHIP) between rows, constant beyond."""

    rows: tuple[tuple[float, ...], ...]  # rows (z, value, ...), from the tail to the nose

    STEP = 0.05
    FIRST, LAST = -11.0, 9.0

    @cached_property
    def table(self) -> Float[Tensor, "value node"]:
        """The values on a fine grid of z."""
        knots = np.array(self.rows)
        z = np.arange(self.FIRST, self.LAST, self.STEP).clip(knots[0, 0], knots[-1, 0])
        return torch.from_numpy(interpolate.PchipInterpolator(knots[:, 0], knots[:, 1:])(z).T.astype(np.float32))

    def at(self, z: Float[Tensor, "y x"]) -> Float[Tensor, "value y x"]:
        """Return the values at each z."""
        node = ((z - self.FIRST) / self.STEP).clamp(0, self.table.shape[1] - 1.001)
        below = node.long()
        return torch.lerp(self.table[:, below], self.table[:, below + 1], node - below)

    def between(self, low: float, high: float) -> Float[Tensor, "value node"]:
        """Return the values on the grid of z from ``low`` to ``high``."""
        first, last = (int((min(max(z, self.FIRST), self.LAST) - self.FIRST) / self.STEP) for z in (low, high))
        return self.table[:, first : last + 2]

    def reaches(self, z: Float[Tensor, "y x"]) -> bool:
        """Tell whether any point lies between the first and the last row."""
        return self.rows[0][0] < float(z.max()) and float(z.min()) < self.rows[-1][0]


@dataclass(frozen=True)
class Body:
    """An ellipse (or a mirrored pair) of one tissue along the head.

    Args:
        name: Anatomical name.
        tissue: What it is made of; None for air.
        levels: Rows (z, x, y, radius across, radius along, tilt): at tilt 0 the second radius points up, and
            a positive tilt leans its top away from the midline.
        strength: Share of the tissue, where the body's fibres mix with their surroundings.
    """

    name: str
    tissue: MouseTissue | None
    levels: Levels
    strength: float = 1.0


def _body(name: str, tissue: MouseTissue | None, *rows: tuple[float, ...], strength: float = 1.0) -> Body:
    return Body(name, tissue, Levels(tuple((*row, 0.0)[:6] for row in rows)), strength)


# fmt: off
# rows: z, half width, top, bottom
CEREBRUM = Levels((
    (-5.4, 2.9, 1.1, 0.1), (-4.9, 4.1, 1.95, -0.9), (-4.4, 4.75, 2.35, -1.7), (-3.8, 5.15, 2.65, -2.3),
    (-3.2, 5.3, 2.85, -2.8), (-2.4, 5.35, 2.98, -3.1), (-1.5, 5.25, 3.0, -3.15), (-0.6, 5.0, 2.95, -3.05),
    (0.4, 4.55, 2.85, -2.9), (1.4, 3.85, 2.6, -2.6), (2.2, 3.05, 2.25, -2.15), (2.9, 2.2, 1.8, -1.4),
    (3.5, 1.4, 1.3, -0.5), (3.9, 0.5, 1.0, 0.3),
))
BRAINSTEM = Levels((
    (-10.0, 1.5, -0.5, -2.3), (-8.5, 1.8, -0.2, -2.5), (-7.5, 2.15, 0.0, -2.65), (-6.5, 2.45, 0.15, -2.8),
    (-5.6, 2.6, 0.5, -2.9), (-5.0, 2.65, 1.3, -2.95), (-4.3, 2.6, 1.75, -2.85), (-3.6, 2.35, 1.6, -2.75),
    (-3.0, 2.0, 1.1, -2.6), (-2.7, 0.3, 0.4, -0.6),
))
CEREBELLUM = Levels((
    (-8.8, 0.5, 0.6, 0.2), (-8.3, 1.7, 1.6, -0.1), (-7.6, 2.9, 2.2, -0.3), (-6.8, 3.8, 2.5, -0.35),
    (-6.1, 4.0, 2.5, -0.2), (-5.6, 3.3, 2.2, 0.3), (-5.2, 1.6, 1.7, 1.0),
))
HEAD = Levels((
    (-10.0, 7.4, 4.0, -7.6), (-7.0, 8.0, 4.4, -8.4), (-3.5, 8.0, 4.6, -8.8), (0.0, 7.3, 4.45, -8.4),
    (3.0, 6.3, 3.7, -7.4), (5.0, 5.4, 3.0, -6.4), (7.0, 4.3, 2.3, -5.4),
))
# rows: z, share of the half circle from dorsal to ventral that the hippocampus spans, its thickness
HIPPOCAMPUS = Levels((
    (-4.3, 0.62, 0.0), (-3.9, 0.68, 0.8), (-3.4, 0.72, 1.15), (-2.8, 0.68, 1.3), (-2.2, 0.5, 1.3),
    (-1.6, 0.38, 1.1), (-1.1, 0.28, 0.6), (-0.8, 0.2, 0.0),
))
# rows: z, depth of the callosum's middle below the surface, its half thickness at the midline and at the side
CALLOSUM = Levels((
    (-4.6, 1.15, 0.0, 0.04), (-3.6, 1.2, 0.0, 0.12), (-2.7, 1.2, 0.08, 0.14), (-1.6, 1.22, 0.14, 0.15),
    (0.0, 1.28, 0.17, 0.16), (1.0, 1.3, 0.24, 0.18), (1.5, 1.3, 0.0, 0.2), (2.6, 1.25, 0.0, 0.14),
    (3.1, 1.0, 0.0, 0.0),
))
BULBS = _body("olfactory bulb", MouseTissue.BULB,
    (2.0, 0.85, -1.2, 0, 0), (2.8, 0.88, -0.6, 0.8, 1.1), (3.4, 0.95, -0.3, 1.0, 1.5),
    (4.2, 0.98, -0.1, 1.02, 1.6), (5.0, 0.9, -0.1, 0.92, 1.4), (5.6, 0.7, -0.15, 0.65, 0.9),
    (6.0, 0.5, -0.2, 0, 0))
PARAFLOCCULI = _body("paraflocculus", MouseTissue.CEREBELLUM,
    (-7.0, 3.4, -0.7, 0, 0), (-6.6, 3.5, -0.6, 0.65, 0.75), (-6.0, 3.6, -0.5, 0.75, 0.8),
    (-5.4, 3.7, -0.4, 0, 0))
COLLICULI = (
    _body("superior colliculus", MouseTissue.MIDBRAIN,
        (-4.9, 0.8, 1.2, 0, 0), (-4.4, 0.95, 1.35, 1.0, 0.6, 1.2), (-3.6, 0.9, 1.2, 0.9, 0.55, 1.2),
        (-3.0, 0.8, 1.0, 0, 0)),
    _body("inferior colliculus", MouseTissue.MIDBRAIN,
        (-5.9, 1.1, 1.0, 0, 0), (-5.5, 1.15, 1.1, 0.85, 0.65), (-5.0, 1.1, 1.1, 1.0, 0.8),
        (-4.5, 1.0, 1.0, 0, 0)),
)
# inside the cerebrum, painted in this order
FOREBRAIN = (
    _body("striatum", MouseTissue.STRIATUM,
        (-2.2, 3.3, -0.2, 0, 0), (-1.6, 3.15, -0.1, 0.5, 1.0, 0.1), (-0.6, 2.75, 0.05, 1.0, 1.5, 0.1),
        (0.4, 2.2, 0.15, 1.3, 1.6, 0.1), (1.2, 1.85, 0.1, 1.1, 1.3, 0.1), (1.9, 1.7, 0.0, 0, 0)),
    _body("septum", MouseTissue.HYPOTHALAMUS,
        (-0.4, 0, 0.3, 0, 0), (0.2, 0, 0.25, 0.65, 1.1), (1.0, 0, 0.2, 0.5, 0.9), (1.4, 0, 0.2, 0, 0),
        strength=0.6),
    _body("amygdala", MouseTissue.HIPPOCAMPUS,
        (-2.5, 3.2, -1.9, 0, 0), (-1.9, 3.15, -1.9, 0.7, 0.75, 0.5), (-1.0, 3.0, -1.95, 0.65, 0.7, 0.5),
        (-0.5, 2.8, -1.9, 0, 0), strength=0.8),
    _body("pallidum", MouseTissue.PALLIDUM,
        (-1.9, 2.8, -0.5, 0, 0), (-1.4, 2.6, -0.5, 0.28, 0.6, 0.3), (-0.8, 2.15, -0.5, 0.4, 0.75, 0.4),
        (-0.3, 1.7, -0.6, 0.45, 0.7, 0.5), (0.1, 1.5, -0.8, 0, 0)),
    _body("hypothalamus", MouseTissue.HYPOTHALAMUS,
        (-3.1, 0, -2.4, 0, 0), (-2.7, 0, -2.4, 0.9, 0.5), (-2.0, 0, -2.3, 1.35, 0.85),
        (-1.0, 0, -2.2, 1.4, 0.95), (0.0, 0, -2.1, 1.2, 0.75), (0.5, 0, -2.2, 0, 0)),
    _body("thalamus", MouseTissue.THALAMUS,
        (-3.4, 0, -0.2, 0, 0), (-2.9, 0, -0.2, 2.0, 1.0), (-2.3, 0, -0.15, 2.3, 1.05),
        (-1.7, 0, -0.15, 2.25, 1.1), (-1.1, 0, -0.2, 1.9, 1.05), (-0.6, 0, -0.3, 1.2, 0.8),
        (-0.3, 0, -0.4, 0, 0), strength=0.9),
    _body("habenula", MouseTissue.HIPPOCAMPUS,
        (-2.1, 0.4, 0.75, 0, 0), (-1.6, 0.35, 0.75, 0.2, 0.2), (-1.0, 0.3, 0.7, 0, 0)),
    _body("internal capsule and peduncle", MouseTissue.WHITE,
        (-3.2, 1.7, -2.15, 0, 0), (-2.7, 2.0, -1.7, 0.2, 0.5, 0.9), (-2.0, 2.4, -1.0, 0.16, 0.7, 0.4),
        (-1.4, 2.35, -0.6, 0.17, 0.85, 0.3), (-0.8, 2.0, -0.6, 0.14, 0.8, 0.4), (-0.1, 1.7, -0.9, 0, 0),
        strength=0.6),
    _body("optic tract", MouseTissue.WHITE,
        (-2.9, 2.5, -0.7, 0, 0), (-2.4, 2.55, -1.2, 0.08, 0.45, 0.2), (-1.8, 2.2, -1.95, 0.09, 0.45, 0.8),
        (-1.0, 1.35, -2.55, 0.1, 0.4, 1.3), (-0.4, 0.5, -2.9, 0.12, 0.5, 1.55), (-0.1, 0.2, -2.95, 0, 0),
        strength=0.9),
    _body("fimbria", MouseTissue.WHITE,
        (-2.4, 2.9, -0.2, 0, 0), (-1.8, 2.55, 0.25, 0.13, 0.4, 0.5), (-1.2, 1.65, 0.75, 0.15, 0.45, 1.0),
        (-0.7, 0.75, 0.8, 0.13, 0.5, 1.5), (-0.3, 0.3, 0.6, 0, 0), strength=0.85),
    _body("fornix", MouseTissue.WHITE,
        (-2.2, 0.45, -2.2, 0, 0), (-1.4, 0.5, -1.7, 0.1, 0.12), (-0.6, 0.45, -1.0, 0.12, 0.15),
        (-0.1, 0.25, -0.3, 0.12, 0.3), (0.2, 0.15, 0.0, 0, 0), strength=0.7),
    _body("anterior commissure", MouseTissue.WHITE,
        (-0.3, 0.3, -1.25, 0, 0), (0.0, 0.5, -1.22, 0.1, 0.6, 1.45), (0.5, 0.95, -1.1, 0.15, 0.28, 1.0),
        (1.2, 1.15, -1.0, 0.17, 0.22, 0.6), (2.0, 1.2, -0.9, 0.17, 0.26), (2.7, 1.0, -0.7, 0, 0),
        strength=0.95),
)
HINDBRAIN = (
    _body("periaqueductal grey", MouseTissue.HYPOTHALAMUS,
        (-5.2, 0, 0.4, 0, 0), (-4.4, 0, 0.35, 0.7, 0.6), (-3.4, 0, 0.5, 0.5, 0.5), (-2.8, 0, 0.6, 0, 0),
        strength=0.7),
    _body("cerebral peduncle and pyramid", MouseTissue.WHITE,
        (-8.5, 0.25, -2.4, 0, 0), (-7.0, 0.28, -2.6, 0.25, 0.1), (-5.0, 0.5, -2.7, 0.35, 0.14),
        (-4.2, 1.0, -2.5, 0.14, 0.45, 1.3), (-3.3, 1.55, -2.1, 0.15, 0.5, 1.0), (-2.9, 1.8, -1.9, 0, 0)),
    _body("medial lemniscus", MouseTissue.WHITE,
        (-6.8, 0.3, -2.1, 0, 0), (-5.5, 0.5, -2.0, 0.12, 0.3, 0.9), (-4.0, 1.2, -1.2, 0.12, 0.5, 0.9),
        (-3.2, 1.4, -0.9, 0, 0), strength=0.5),
    _body("trigeminal tract", MouseTissue.WHITE,
        (-9.0, 1.4, -1.3, 0, 0), (-7.5, 1.75, -1.2, 0.18, 0.55, 0.2), (-6.0, 2.0, -1.1, 0.22, 0.6, 0.2),
        (-5.2, 2.1, -1.2, 0, 0), strength=0.7),
)
# radii across are multiplied by each mouse's own ventricle size
VENTRICLES = (
    _body("lateral ventricle", MouseTissue.FLUID,
        (-3.9, 3.8, -0.4, 0, 0), (-3.3, 3.85, -0.6, 0.02, 0.6, 0.05), (-2.7, 3.75, -0.5, 0.02, 0.5, 0.15),
        (-2.0, 3.1, 0.1, 0.025, 0.35, 0.45), (-1.4, 2.1, 0.85, 0.05, 0.35, 1.15),
        (-0.8, 1.4, 1.05, 0.12, 0.5, 1.25), (-0.3, 1.0, 0.95, 0.17, 0.5, 0.8),
        (0.3, 0.85, 0.8, 0.12, 0.55, 0.35), (0.9, 0.8, 0.75, 0.07, 0.5, 0.2), (1.5, 0.8, 0.75, 0, 0), strength=0.85),
    _body("third ventricle", MouseTissue.FLUID,
        (-3.0, 0, -2.2, 0, 0), (-2.6, 0, -2.2, 0.05, 0.3), (-1.8, 0, -2.1, 0.04, 0.6),
        (-1.0, 0, -2.1, 0.04, 0.7), (-0.3, 0, -2.2, 0.05, 0.5), (0.2, 0, -2.0, 0, 0), strength=0.5),
    _body("dorsal third ventricle", MouseTissue.FLUID,
        (-3.2, 0, 0.9, 0, 0), (-2.7, 0, 0.9, 0.14, 0.1), (-2.2, 0, 0.88, 0.14, 0.12),
        (-1.5, 0, 0.85, 0.13, 0.13), (-0.8, 0, 0.85, 0.12, 0.17), (-0.4, 0, 0.8, 0, 0)),
    _body("aqueduct and fourth ventricle", MouseTissue.FLUID,
        (-8.2, 0, -0.1, 0, 0), (-7.3, 0, -0.05, 0.5, 0.1), (-6.6, 0, 0.05, 0.8, 0.15),
        (-6.0, 0, 0.15, 0.6, 0.2), (-5.4, 0, 0.35, 0.35, 0.3), (-4.8, 0, 0.35, 0.14, 0.2),
        (-3.8, 0, 0.4, 0.11, 0.15), (-3.1, 0, 0.55, 0.1, 0.13), (-2.6, 0, 0.75, 0, 0)),
)
# too fast for its spins to be refocused, blood leaves no signal
VESSELS = (
    _body("superior sagittal sinus", None,
        (-5.4, 0, 1.6, 0, 0), (-4.4, 0, 2.25, 0.24, 0.14), (-3.2, 0, 2.7, 0.2, 0.14), (-1.5, 0, 2.8, 0.17, 0.13),
        (0.4, 0, 2.66, 0.15, 0.12), (2.2, 0, 2.08, 0.13, 0.12), (3.4, 0, 1.3, 0, 0), strength=0.75),
    _body("internal cerebral and great vein", None,
        (-4.0, 0, 1.5, 0, 0), (-3.3, 0, 1.25, 0.17, 0.13), (-2.4, 0.12, 1.02, 0.1, 0.11),
        (-1.2, 0.14, 0.98, 0.07, 0.08), (-0.6, 0.15, 0.95, 0, 0), strength=0.7),
    _body("longitudinal hippocampal vein", None,
        (-3.3, 1.6, 0.75, 0, 0), (-2.8, 2.05, 0.5, 0.11, 0.1), (-2.1, 1.6, 0.88, 0.12, 0.09),
        (-1.3, 1.0, 0.95, 0.09, 0.08), (-0.8, 0.7, 0.95, 0, 0), strength=0.65),
    _body("transverse hippocampal artery", None,
        (-3.4, 2.55, -0.6, 0, 0), (-2.8, 2.7, -0.75, 0.09, 0.12, 0.3), (-2.1, 2.55, -0.55, 0.08, 0.1),
        (-1.6, 2.5, -0.5, 0, 0), strength=0.6),
    _body("azygos pericallosal artery", None,
        (-0.6, 0, 1.5, 0, 0), (0.3, 0, 1.52, 0.09, 0.09), (1.2, 0, 1.2, 0.11, 0.14), (1.7, 0, 0.2, 0.09, 0.2),
        (2.1, 0, -0.6, 0, 0), strength=0.7),
    _body("posterior cerebral artery", None,
        (-4.2, 1.9, -1.2, 0, 0), (-3.7, 2.05, -1.3, 0.16, 0.3, 0.5), (-3.2, 2.2, -1.6, 0.13, 0.22, 0.5),
        (-2.8, 2.3, -1.9, 0, 0), strength=0.75),
    _body("basilar artery and circle of Willis", None,
        (-7.5, 0, -2.75, 0, 0), (-6.0, 0, -2.95, 0.13, 0.11), (-4.5, 0.1, -3.0, 0.15, 0.11),
        (-2.8, 0.75, -3.05, 0.12, 0.1), (-1.0, 1.2, -3.0, 0.12, 0.1), (0.5, 0.9, -2.9, 0.12, 0.1),
        (1.5, 0.2, -2.6, 0, 0), strength=0.8),
)
# around the brain, painted in this order
SURROUNDINGS = (
    _body("Harderian gland", MouseTissue.GLAND,
        (-0.5, 4.6, -1.5, 0, 0), (0.8, 4.5, -1.3, 1.0, 1.3, 0.3), (2.2, 4.2, -1.0, 1.3, 1.8, 0.3),
        (4.2, 3.6, -1.0, 1.1, 1.6, 0.3), (5.2, 3.4, -1.0, 0, 0)),
    _body("tongue", MouseTissue.MUSCLE,
        (-3.5, 0, -6.6, 0, 0), (-1.5, 0, -6.5, 1.9, 1.0), (7.0, 0, -4.6, 1.3, 0.8)),
    _body("zygomatic arch", MouseTissue.BONE,
        (-3.0, 6.4, -2.6, 0, 0), (-2.0, 6.3, -2.6, 0.25, 0.5), (3.0, 5.2, -2.8, 0.25, 0.5),
        (4.5, 4.6, -2.8, 0, 0)),
    _body("mandible", MouseTissue.BONE,
        (-4.5, 5.3, -5.0, 0, 0), (-3.0, 5.2, -5.2, 0.3, 1.3, 0.15), (0.0, 4.2, -5.8, 0.4, 1.2, 0.15),
        (4.0, 2.6, -5.6, 0.5, 0.9), (7.0, 1.4, -4.8, 0.4, 0.7)),
    _body("mandible's marrow", MouseTissue.MARROW,
        (-3.0, 5.2, -5.2, 0, 0), (-1.0, 4.5, -5.7, 0.1, 0.7, 0.15), (4.0, 2.6, -5.6, 0.25, 0.5),
        (7.0, 1.4, -4.8, 0.2, 0.4)),
    _body("molars", MouseTissue.BONE,
        (-1.0, 2.3, -4.4, 0, 0), (0.5, 2.2, -4.5, 0.5, 0.8), (3.0, 1.9, -4.1, 0.5, 0.7),
        (4.2, 1.7, -3.8, 0, 0)),
    _body("palate", MouseTissue.BONE,
        (-1.5, 0, -4.9, 0, 0), (0.0, 0, -4.8, 1.5, 0.18), (6.0, 0, -3.2, 1.2, 0.18),
        (8.0, 0, -2.6, 0.8, 0.2)),
    _body("nasopharynx", None,
        (-5.0, 0, -4.6, 0, 0), (-3.5, 0, -4.5, 0.5, 0.3), (5.0, 0, -2.7, 0.6, 0.4)),
    _body("bulla", MouseTissue.BONE,
        (-6.6, 3.4, -3.7, 0, 0), (-5.8, 3.4, -3.8, 1.1, 1.1), (-4.9, 3.35, -3.9, 1.35, 1.35),
        (-4.0, 3.2, -3.9, 0.9, 1.0), (-3.4, 3.0, -3.9, 0, 0)),
    _body("middle ear", None,
        (-6.4, 3.4, -3.7, 0, 0), (-5.8, 3.4, -3.8, 0.9, 0.9), (-4.9, 3.35, -3.9, 1.15, 1.15),
        (-4.0, 3.2, -3.9, 0.7, 0.8), (-3.6, 3.0, -3.9, 0, 0)),
    _body("ear canal", None,
        (-5.8, 5.6, -3.0, 0, 0), (-5.3, 5.8, -3.0, 0.45, 1.3, 1.3), (-4.8, 6.0, -2.9, 0, 0)),
    _body("vitreous", MouseTissue.VITREOUS,
        (1.9, 4.9, 0.0, 0, 0), (2.3, 4.9, 0.0, 1.0, 1.0), (3.5, 4.8, 0.0, 1.6, 1.6),
        (4.7, 4.7, 0.0, 1.0, 1.0), (5.1, 4.7, 0.0, 0, 0)),
    _body("lens", MouseTissue.LENS,
        (2.6, 5.1, 0.05, 0, 0), (2.9, 5.1, 0.05, 0.7, 0.7), (3.6, 5.05, 0.05, 1.0, 1.0),
        (4.3, 5.0, 0.05, 0.7, 0.7), (4.6, 5.0, 0.05, 0, 0)),
)
# fmt: on
