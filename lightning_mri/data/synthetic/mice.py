"""Synthetic mice: coronal T2-weighted slices of a parametric mouse head, brain and surroundings.

The anatomy is a list of bodies drawn by hand after the general layout of stereotaxic atlases, each an ellipse
whose centre, radii and tilt change along the head, and of layers at a depth below the cerebrum's surface.
A mouse gets its own size, posture, warp, ventricles, relaxation times and protocol. Coordinates are in mm
from bregma: x to the side, y up, z to the nose.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy import ndimage
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from lightning_mri.data.synthetic.fields import Plane, SmoothField, field, log_uniform
from lightning_mri.physics.fourier import fft2c, ifft2c
from lightning_mri.tensors import centre_crop, derive_seed

SUPERSAMPLING = 2  # pixels are computed finer and cut out of k-space, as a scanner does, with its Gibbs ringing
BRAIN_RANGE_MM = (-6.6, 3.2)  # slices between cerebellum and frontal pole


class Tissue(IntEnum):
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


BRAIN = tuple(Tissue)[: Tissue.FLUID + 1]

# T1 in s, T2 in ms, proton density: rounded from measurements between 7 T and 11 T
RELAXATION = {
    Tissue.CORTEX: (1.90, 41, 0.80),
    Tissue.HIPPOCAMPUS: (1.90, 45, 0.82),
    Tissue.STRIATUM: (1.85, 39, 0.79),
    Tissue.PALLIDUM: (1.70, 36, 0.76),
    Tissue.THALAMUS: (1.75, 37, 0.78),
    Tissue.HYPOTHALAMUS: (1.95, 42, 0.81),
    Tissue.MIDBRAIN: (1.75, 38, 0.78),
    Tissue.HINDBRAIN: (1.75, 37, 0.76),
    Tissue.CEREBELLUM: (1.85, 41, 0.80),
    Tissue.BULB: (2.00, 43, 0.82),
    Tissue.WHITE: (1.65, 33, 0.70),
    Tissue.FLUID: (3.20, 130, 1.00),
    Tissue.MENINGES: (2.00, 38, 0.60),
    Tissue.BONE: (0.60, 5, 0.15),
    Tissue.MARROW: (1.00, 30, 0.60),
    Tissue.MUSCLE: (1.80, 23, 0.75),
    Tissue.FAT: (0.50, 52, 0.80),
    Tissue.SKIN: (1.20, 25, 0.70),
    Tissue.GLAND: (1.60, 46, 0.85),
    Tissue.VITREOUS: (3.20, 110, 1.00),
    Tissue.LENS: (1.40, 18, 0.60),
}


@dataclass(frozen=True)
class Levels:
    """Values that change along the head: one row for each z, monotone (PCHIP) between rows, constant beyond.

    Args:
        rows: Rows (z, value, ...), from the tail to the nose.
    """

    rows: tuple[tuple[float, ...], ...]

    STEP = 0.05
    FIRST, LAST = -11.0, 9.0

    @cached_property
    def table(self) -> Float[Tensor, "value node"]:
        """The values on a fine grid of z."""
        knots = np.array(self.rows)
        z = np.arange(self.FIRST, self.LAST, self.STEP).clip(knots[0, 0], knots[-1, 0])
        return torch.from_numpy(PchipInterpolator(knots[:, 0], knots[:, 1:])(z).T.astype(np.float32))

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
    tissue: Tissue | None
    levels: Levels
    strength: float = 1.0


def _body(name: str, tissue: Tissue | None, *rows: tuple[float, ...], strength: float = 1.0) -> Body:
    return Body(name, tissue, Levels(tuple((*row, 0.0)[:6] for row in rows)), strength)


# fmt: off
# rows: z, half width, top, bottom
CEREBRUM = Levels((
    (-5.4, 2.6, 0.9, 0.4), (-4.9, 4.0, 1.9, -0.4), (-4.4, 4.75, 2.35, -1.3), (-3.8, 5.15, 2.65, -2.1),
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
    (-4.6, 1.15, 0.0, 0.03), (-3.6, 1.2, 0.0, 0.08), (-2.7, 1.2, 0.06, 0.09), (-1.6, 1.22, 0.11, 0.1),
    (0.0, 1.28, 0.15, 0.11), (1.0, 1.3, 0.2, 0.12), (1.5, 1.3, 0.0, 0.14), (2.6, 1.25, 0.0, 0.1),
    (3.1, 1.0, 0.0, 0.0),
))
BULBS = _body("olfactory bulb", Tissue.BULB,
    (2.0, 0.85, -1.2, 0, 0), (2.8, 0.88, -0.6, 0.8, 1.1), (3.4, 0.95, -0.3, 1.0, 1.5),
    (4.2, 0.98, -0.1, 1.02, 1.6), (5.0, 0.9, -0.1, 0.92, 1.4), (5.6, 0.7, -0.15, 0.65, 0.9),
    (6.0, 0.5, -0.2, 0, 0))
PARAFLOCCULI = _body("paraflocculus", Tissue.CEREBELLUM,
    (-7.0, 3.9, -0.9, 0, 0), (-6.6, 4.1, -0.8, 0.6, 0.7), (-6.0, 4.2, -0.7, 0.65, 0.75),
    (-5.5, 4.2, -0.6, 0, 0))
COLLICULI = (
    _body("superior colliculus", Tissue.MIDBRAIN,
        (-4.9, 0.8, 1.2, 0, 0), (-4.4, 0.95, 1.35, 1.0, 0.6, 1.2), (-3.6, 0.9, 1.2, 0.9, 0.55, 1.2),
        (-3.0, 0.8, 1.0, 0, 0)),
    _body("inferior colliculus", Tissue.MIDBRAIN,
        (-5.9, 1.1, 1.0, 0, 0), (-5.5, 1.15, 1.1, 0.85, 0.65), (-5.0, 1.1, 1.1, 1.0, 0.8),
        (-4.5, 1.0, 1.0, 0, 0)),
)
# inside the cerebrum, painted in this order
FOREBRAIN = (
    _body("striatum", Tissue.STRIATUM,
        (-2.2, 3.3, -0.2, 0, 0), (-1.6, 3.15, -0.1, 0.5, 1.0, 0.1), (-0.6, 2.75, 0.05, 1.0, 1.5, 0.1),
        (0.4, 2.2, 0.15, 1.3, 1.6, 0.1), (1.2, 1.85, 0.1, 1.1, 1.3, 0.1), (1.9, 1.7, 0.0, 0, 0)),
    _body("septum", Tissue.HYPOTHALAMUS,
        (-0.4, 0, 0.3, 0, 0), (0.2, 0, 0.25, 0.65, 1.1), (1.0, 0, 0.2, 0.5, 0.9), (1.4, 0, 0.2, 0, 0),
        strength=0.6),
    _body("amygdala", Tissue.HIPPOCAMPUS,
        (-2.5, 3.2, -1.9, 0, 0), (-1.9, 3.15, -1.9, 0.7, 0.75, 0.5), (-1.0, 3.0, -1.95, 0.65, 0.7, 0.5),
        (-0.5, 2.8, -1.9, 0, 0), strength=0.8),
    _body("pallidum", Tissue.PALLIDUM,
        (-1.9, 2.8, -0.5, 0, 0), (-1.4, 2.6, -0.5, 0.28, 0.6, 0.3), (-0.8, 2.15, -0.5, 0.4, 0.75, 0.4),
        (-0.3, 1.7, -0.6, 0.45, 0.7, 0.5), (0.1, 1.5, -0.8, 0, 0)),
    _body("hypothalamus", Tissue.HYPOTHALAMUS,
        (-3.1, 0, -2.4, 0, 0), (-2.7, 0, -2.4, 0.9, 0.5), (-2.0, 0, -2.3, 1.35, 0.85),
        (-1.0, 0, -2.2, 1.4, 0.95), (0.0, 0, -2.1, 1.2, 0.75), (0.5, 0, -2.2, 0, 0)),
    _body("thalamus", Tissue.THALAMUS,
        (-3.4, 0, -0.2, 0, 0), (-2.9, 0, -0.2, 2.0, 1.0), (-2.3, 0, -0.15, 2.3, 1.05),
        (-1.7, 0, -0.15, 2.25, 1.1), (-1.1, 0, -0.2, 1.9, 1.05), (-0.6, 0, -0.3, 1.2, 0.8),
        (-0.3, 0, -0.4, 0, 0), strength=0.75),
    _body("habenula", Tissue.HIPPOCAMPUS,
        (-2.1, 0.4, 0.75, 0, 0), (-1.6, 0.35, 0.75, 0.2, 0.2), (-1.0, 0.3, 0.7, 0, 0)),
    _body("internal capsule and peduncle", Tissue.WHITE,
        (-3.2, 1.7, -2.15, 0, 0), (-2.7, 2.0, -1.7, 0.2, 0.5, 0.9), (-2.0, 2.4, -1.0, 0.16, 0.7, 0.4),
        (-1.4, 2.35, -0.6, 0.17, 0.85, 0.3), (-0.8, 2.0, -0.6, 0.14, 0.8, 0.4), (-0.1, 1.7, -0.9, 0, 0),
        strength=0.75),
    _body("optic tract", Tissue.WHITE,
        (-2.9, 2.5, -0.7, 0, 0), (-2.4, 2.55, -1.2, 0.08, 0.45, 0.2), (-1.8, 2.2, -1.95, 0.09, 0.45, 0.8),
        (-1.0, 1.35, -2.55, 0.1, 0.4, 1.3), (-0.4, 0.5, -2.9, 0.12, 0.5, 1.55), (-0.1, 0.2, -2.95, 0, 0),
        strength=0.9),
    _body("fimbria", Tissue.WHITE,
        (-2.4, 2.9, -0.2, 0, 0), (-1.8, 2.55, 0.25, 0.13, 0.4, 0.5), (-1.2, 1.65, 0.75, 0.15, 0.45, 1.0),
        (-0.7, 0.75, 0.8, 0.13, 0.5, 1.5), (-0.3, 0.3, 0.6, 0, 0), strength=0.85),
    _body("fornix", Tissue.WHITE,
        (-2.2, 0.45, -2.2, 0, 0), (-1.4, 0.5, -1.7, 0.1, 0.12), (-0.6, 0.45, -1.0, 0.12, 0.15),
        (-0.1, 0.25, -0.3, 0.12, 0.3), (0.2, 0.15, 0.0, 0, 0), strength=0.7),
    _body("anterior commissure", Tissue.WHITE,
        (-0.3, 0.3, -1.25, 0, 0), (0.0, 0.5, -1.22, 0.1, 0.6, 1.45), (0.5, 0.95, -1.1, 0.15, 0.28, 1.0),
        (1.2, 1.15, -1.0, 0.17, 0.22, 0.6), (2.0, 1.2, -0.9, 0.17, 0.26), (2.7, 1.0, -0.7, 0, 0),
        strength=0.95),
)
HINDBRAIN = (
    _body("periaqueductal grey", Tissue.HYPOTHALAMUS,
        (-5.2, 0, 0.4, 0, 0), (-4.4, 0, 0.35, 0.7, 0.6), (-3.4, 0, 0.5, 0.5, 0.5), (-2.8, 0, 0.6, 0, 0),
        strength=0.7),
    _body("cerebral peduncle and pyramid", Tissue.WHITE,
        (-8.5, 0.25, -2.4, 0, 0), (-7.0, 0.28, -2.6, 0.25, 0.1), (-5.0, 0.5, -2.7, 0.35, 0.14),
        (-4.2, 1.0, -2.5, 0.14, 0.45, 1.3), (-3.3, 1.55, -2.1, 0.15, 0.5, 1.0), (-2.9, 1.8, -1.9, 0, 0)),
    _body("medial lemniscus", Tissue.WHITE,
        (-6.8, 0.3, -2.1, 0, 0), (-5.5, 0.5, -2.0, 0.12, 0.3, 0.9), (-4.0, 1.2, -1.2, 0.12, 0.5, 0.9),
        (-3.2, 1.4, -0.9, 0, 0), strength=0.5),
    _body("trigeminal tract", Tissue.WHITE,
        (-9.0, 1.4, -1.3, 0, 0), (-7.5, 1.75, -1.2, 0.18, 0.55, 0.2), (-6.0, 2.0, -1.1, 0.22, 0.6, 0.2),
        (-5.2, 2.1, -1.2, 0, 0), strength=0.7),
)
# radii across are multiplied by each mouse's own ventricle size
VENTRICLES = (
    _body("lateral ventricle", Tissue.FLUID,
        (-3.9, 3.8, -0.4, 0, 0), (-3.3, 3.85, -0.6, 0.02, 0.6, 0.05), (-2.7, 3.75, -0.5, 0.02, 0.5, 0.15),
        (-2.0, 3.1, 0.1, 0.025, 0.35, 0.45), (-1.4, 2.1, 0.85, 0.05, 0.35, 1.15),
        (-0.8, 1.4, 1.05, 0.12, 0.5, 1.25), (-0.3, 1.0, 0.95, 0.17, 0.5, 0.8),
        (0.3, 0.85, 0.75, 0.15, 0.7, 0.3), (0.9, 0.8, 0.7, 0.1, 0.6, 0.15), (1.5, 0.8, 0.7, 0, 0)),
    _body("third ventricle", Tissue.FLUID,
        (-3.0, 0, -2.2, 0, 0), (-2.6, 0, -2.2, 0.05, 0.3), (-1.8, 0, -2.1, 0.04, 0.6),
        (-1.0, 0, -2.1, 0.04, 0.7), (-0.3, 0, -2.2, 0.05, 0.5), (0.2, 0, -2.0, 0, 0)),
    _body("dorsal third ventricle", Tissue.FLUID,
        (-3.2, 0, 0.9, 0, 0), (-2.7, 0, 0.9, 0.14, 0.1), (-2.2, 0, 0.88, 0.14, 0.12),
        (-1.5, 0, 0.85, 0.13, 0.13), (-0.8, 0, 0.85, 0.12, 0.17), (-0.4, 0, 0.8, 0, 0)),
    _body("aqueduct and fourth ventricle", Tissue.FLUID,
        (-8.2, 0, -0.1, 0, 0), (-7.3, 0, -0.05, 0.5, 0.1), (-6.6, 0, 0.05, 0.8, 0.15),
        (-6.0, 0, 0.15, 0.6, 0.2), (-5.4, 0, 0.35, 0.35, 0.3), (-4.8, 0, 0.35, 0.14, 0.2),
        (-3.8, 0, 0.4, 0.11, 0.15), (-3.1, 0, 0.55, 0.1, 0.13), (-2.6, 0, 0.75, 0, 0)),
)
# around the brain, painted in this order
SURROUNDINGS = (
    _body("Harderian gland", Tissue.GLAND,
        (-0.5, 4.6, -1.5, 0, 0), (0.8, 4.5, -1.3, 1.0, 1.3, 0.3), (2.2, 4.2, -1.0, 1.3, 1.8, 0.3),
        (4.2, 3.6, -1.0, 1.1, 1.6, 0.3), (5.2, 3.4, -1.0, 0, 0)),
    _body("tongue", Tissue.MUSCLE,
        (-3.5, 0, -6.6, 0, 0), (-1.5, 0, -6.5, 1.9, 1.0), (7.0, 0, -4.6, 1.3, 0.8)),
    _body("zygomatic arch", Tissue.BONE,
        (-3.0, 6.4, -2.6, 0, 0), (-2.0, 6.3, -2.6, 0.25, 0.5), (3.0, 5.2, -2.8, 0.25, 0.5),
        (4.5, 4.6, -2.8, 0, 0)),
    _body("mandible", Tissue.BONE,
        (-4.5, 5.3, -5.0, 0, 0), (-3.0, 5.2, -5.2, 0.3, 1.3, 0.15), (0.0, 4.2, -5.8, 0.4, 1.2, 0.15),
        (4.0, 2.6, -5.6, 0.5, 0.9), (7.0, 1.4, -4.8, 0.4, 0.7)),
    _body("mandible's marrow", Tissue.MARROW,
        (-3.0, 5.2, -5.2, 0, 0), (-1.0, 4.5, -5.7, 0.1, 0.7, 0.15), (4.0, 2.6, -5.6, 0.25, 0.5),
        (7.0, 1.4, -4.8, 0.2, 0.4)),
    _body("molars", Tissue.BONE,
        (-1.0, 2.3, -4.4, 0, 0), (0.5, 2.2, -4.5, 0.5, 0.8), (3.0, 1.9, -4.1, 0.5, 0.7),
        (4.2, 1.7, -3.8, 0, 0)),
    _body("palate", Tissue.BONE,
        (-1.5, 0, -4.9, 0, 0), (0.0, 0, -4.8, 1.5, 0.18), (6.0, 0, -3.2, 1.2, 0.18),
        (8.0, 0, -2.6, 0.8, 0.2)),
    _body("nasopharynx", None,
        (-5.0, 0, -4.6, 0, 0), (-3.5, 0, -4.5, 0.5, 0.3), (5.0, 0, -2.7, 0.6, 0.4)),
    _body("bulla", Tissue.BONE,
        (-6.6, 3.4, -3.7, 0, 0), (-5.8, 3.4, -3.8, 1.1, 1.1), (-4.9, 3.35, -3.9, 1.35, 1.35),
        (-4.0, 3.2, -3.9, 0.9, 1.0), (-3.4, 3.0, -3.9, 0, 0)),
    _body("middle ear", None,
        (-6.4, 3.4, -3.7, 0, 0), (-5.8, 3.4, -3.8, 0.9, 0.9), (-4.9, 3.35, -3.9, 1.15, 1.15),
        (-4.0, 3.2, -3.9, 0.7, 0.8), (-3.6, 3.0, -3.9, 0, 0)),
    _body("ear canal", None,
        (-5.8, 5.6, -3.0, 0, 0), (-5.3, 5.8, -3.0, 0.45, 1.3, 1.3), (-4.8, 6.0, -2.9, 0, 0)),
    _body("vitreous", Tissue.VITREOUS,
        (1.9, 4.9, 0.0, 0, 0), (2.3, 4.9, 0.0, 1.0, 1.0), (3.5, 4.8, 0.0, 1.6, 1.6),
        (4.7, 4.7, 0.0, 1.0, 1.0), (5.1, 4.7, 0.0, 0, 0)),
    _body("lens", Tissue.LENS,
        (2.6, 5.1, 0.05, 0, 0), (2.9, 5.1, 0.05, 0.7, 0.7), (3.6, 5.05, 0.05, 1.0, 1.0),
        (4.3, 5.0, 0.05, 0.7, 0.7), (4.6, 5.0, 0.05, 0, 0)),
)
# fmt: on

# feature size in mm, channels, lattice nodes
FIELDS = {
    "warp": (5.0, 3, 16),
    "warp-fine": (1.6, 3, 32),
    "fine": (0.35, 1, 64),
    "coarse": (1.2, 1, 48),
    "soft tissue": (1.6, 3, 40),
    "fat": (4.0, 3, 16),
    "fibres": (0.45, 1, 48),
    "meninges": (1.0, 2, 48),
    "folia": (2.5, 1, 16),
    "shading": (9.0, 1, 12),
    "phase": (10.0, 1, 12),
}


Window = tuple[slice, slice]


class Canvas:
    """Points of one slice and the tissue fractions painted on them so far."""

    def __init__(
        self,
        points: Float[Tensor, "3 y x"],
        spacing: float,
        fractions: Float[Tensor, "tissue y x"] | None = None,
    ) -> None:
        """Start with air everywhere, or continue with what was painted."""
        self.points = points
        self.x, self.y, self.z = points
        self.a = self.x.abs()
        self.spacing = spacing
        self.fractions = points.new_zeros(len(Tissue), *points.shape[1:]) if fractions is None else fractions

    def window(self, levels: Levels) -> Window:
        """Return the rows and columns that a body can reach."""
        cx, cy, across, along, _ = levels.between(float(self.z.min()), float(self.z.max()))
        reach = float(torch.maximum(across, along).max()) * 2.2 + 2 * self.spacing
        near = (self.y > float(cy.min()) - reach) & (self.y < float(cy.max()) + reach)
        near &= (self.a > float(cx.min()) - reach) & (self.a < float(cx.max()) + reach)
        rows, columns = (near.any(axis).nonzero()[:, 0] for axis in (1, 0))
        if len(rows) < 2 or len(columns) < 2:
            return slice(0), slice(0)
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def within(self, window: Window) -> "Canvas":
        """Return a part of the canvas; what is painted on it is painted here."""
        return Canvas(self.points[:, *window], self.spacing, self.fractions[:, *window])

    def cover(self, level: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Return the share of each pixel where ``level`` is negative, by its value over its slope."""
        # far outside (level >= 1) a steep change of size along the head must not pass for an edge
        return (0.5 - level / _slope(level)).clamp(0, 1) * (level < 1)

    def below(self, level: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Return the depth in mm below a surface, to first order, also where it lies outside the image."""
        return -level / _slope(level) * self.spacing

    def depth(self, cover: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Return the distance in mm from the edge of a region: positive inside, negative outside."""
        inside = cover.numpy() > 0.5
        distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        return torch.from_numpy(ndimage.gaussian_filter(distance, 0.7).astype(np.float32)) * self.spacing

    def ellipse(self, levels: Levels, widening: float = 1.0) -> Float[Tensor, "y x"]:
        """Return a level that is 0 on the edge of a body, -1 in its centre."""
        cx, cy, across, along, tilt = levels.at(self.z)
        dx, dy = self.a - cx, self.y - cy
        u, v = dx * tilt.cos() - dy * tilt.sin(), dx * tilt.sin() + dy * tilt.cos()
        return torch.hypot(u / (across * widening).clamp(min=1e-3), v / along.clamp(min=1e-3)) - 1

    def dome(
        self,
        levels: Levels,
        waist: float,
        roundness: float,
        y: Float[Tensor, "y x"] | None = None,
        base: float = 0.0,
    ) -> Float[Tensor, "y x"]:
        """Return a level that is 0 on a closed outline of given half width, top and bottom.

        Args:
            levels: Rows (z, half width, top, bottom).
            waist: Where it is widest: 0 = bottom, 1 = top.
            roundness: Exponent of the superellipse, 2 = ellipse.
            y: Height of each point; its own by default.
            base: Lowers the bottom by this, in mm.
        """
        y = self.y if y is None else y
        width, top, bottom = levels.at(self.z)
        middle = bottom + waist * (top - bottom)
        height = torch.where(y > middle, top - middle, middle - bottom + base)
        across, along = self.a / width, (y - middle).abs() / height
        return (across**roundness + along**roundness) ** (1 / roundness) - 1

    def paint(self, tissue: Tissue | None, cover: Float[Tensor, "y x"]) -> None:
        """Cover what was painted before with a tissue, or with air."""
        self.fractions *= 1 - cover
        if tissue is not None:
            self.fractions[tissue] += cover

    def paint_body(self, body: Body, within: Float[Tensor, "y x"] | None = None, widening: float = 1.0) -> None:
        """Cover the inside of a body, and of a region, where it reaches this slice."""
        if not body.levels.reaches(self.z):
            return
        window = self.window(body.levels)
        part = self.within(window)
        if part.a.numel():
            cover = body.strength * part.cover(part.ellipse(body.levels, widening))
            part.paint(body.tissue, cover if within is None else cover * within[window])


def _slope(level: Tensor) -> Tensor:
    """Return the length of the gradient, in units of a pixel."""
    along_y, along_x = torch.gradient(level)
    return torch.hypot(along_y, along_x).clamp(min=1e-6)


def _band(value: Tensor, low: Tensor | float, high: Tensor | float, softness: float) -> Tensor:
    """Return 1 between two values, with edges of a given softness."""
    return torch.sigmoid((value - low) / softness) * torch.sigmoid((high - value) / softness)


@dataclass(frozen=True)
class Mouse:
    """A synthetic mouse; everything about it follows from its seed.

    Args:
        seed: Number of the animal.
    """

    seed: int

    def slice(
        self,
        offset_mm: float,
        shape: tuple[int, int] = (128, 128),
        pixel_size: float = 0.15,
        thickness_mm: float = 0.3,
    ) -> Complex[Tensor, "y x"]:
        """Return a coronal T2-weighted image, dorsal side up, noise-free, signal relative to that of water.

        Args:
            offset_mm: Position from bregma, positive to the nose; the brain is in `BRAIN_RANGE_MM`.
            shape: Image size (y, x).
            pixel_size: Edge of a pixel in mm.
            thickness_mm: Slice thickness, over which tissues are averaged.

        Raises:
            ValueError: If a size is not positive.
        """
        fine = self._plane(offset_mm, shape, pixel_size, thickness_mm)
        signal = torch.einsum("t,tyx->yx", self.signals, self.fractions(offset_mm, shape, pixel_size, thickness_mm))
        texture = 1 + self.texture * (self._field("fine").on(fine)[0] + 0.7 * self._field("coarse").on(fine)[0])
        image = torch.polar(signal * texture.clamp(min=0.3) * self._shading(fine), self._phase(fine))
        return ifft2c(centre_crop(fft2c(image), shape) * self._window(shape)) / SUPERSAMPLING

    def volume(
        self,
        n_slices: int,
        shape: tuple[int, int] = (128, 128),
        pixel_size: float = 0.15,
        thickness_mm: float = 0.3,
        centre_mm: float = -1.7,
        spacing_mm: float = 0.5,
    ) -> Complex[Tensor, "slice y x"]:
        """Return slices from tail to nose, ``spacing_mm`` apart, around ``centre_mm``.

        Args:
            n_slices: Number of slices.
            shape: Size of each image (y, x).
            pixel_size: Edge of a pixel in mm.
            thickness_mm: Slice thickness.
            centre_mm: Position of the middle of the volume from bregma.
            spacing_mm: Distance of neighbouring slices.

        Raises:
            ValueError: If a size is not positive.
        """
        if n_slices < 1:
            raise ValueError(f"n_slices must be at least 1: got {n_slices}")
        offsets = [centre_mm + (i - (n_slices - 1) / 2) * spacing_mm for i in range(n_slices)]
        return torch.stack([self.slice(offset, shape, pixel_size, thickness_mm) for offset in offsets])

    def fractions(
        self,
        offset_mm: float,
        shape: tuple[int, int] = (128, 128),
        pixel_size: float = 0.15,
        thickness_mm: float = 0.3,
    ) -> Float[Tensor, "tissue v u"]:
        """Return how much of each `Tissue` is in each point of the finer grid of `slice`."""
        parts = []
        for shift in (-0.25, 0.25):
            plane = self._plane(offset_mm + shift * thickness_mm, shape, pixel_size, thickness_mm)
            parts.append(self._paint(plane))
        return torch.stack(parts).mean(0)

    @cached_property
    def signals(self) -> Float[Tensor, "tissue"]:
        """Spin-echo signal of each tissue in this animal, density (1 - exp(-TR / T1)) exp(-TE / T2)."""
        rng = self._rng("contrast")
        t1, t2, density = np.array([RELAXATION[tissue] for tissue in Tissue]).T * np.exp(
            np.array([[0.03], [0.04], [0.02]]) * rng.standard_normal((3, len(Tissue)))
        )
        echo, repetition = log_uniform(rng, 22, 55), rng.uniform(2.5, 6)
        signal = density * (1 - np.exp(-repetition / t1)) * np.exp(-echo / t2)
        signal[Tissue.FAT] *= rng.uniform(0.4, 1.6)  # brightened by the echo train, darkened by fat suppression
        return torch.from_numpy(signal.astype(np.float32))

    @cached_property
    def texture(self) -> float:
        """Relative variation of the signal within a tissue."""
        return float(self._rng("texture").uniform(0.02, 0.06))

    @cached_property
    def _pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrix and shift from scanner to head coordinates: size, roll, yaw, pitch and position."""
        rng = self._rng("pose")
        roll, yaw, pitch = np.clip(rng.standard_normal(3), -2, 2) * np.radians([3.0, 2.0, 2.5])
        turn = np.array([[1, roll, yaw], [-roll, 1, pitch], [-yaw, -pitch, 1]])
        size = np.exp(0.03 * rng.standard_normal()) * np.exp(0.02 * rng.standard_normal(3))
        return turn / size[:, None], np.clip(rng.standard_normal(3), -2, 2) * np.array([0.3, 0.4, 0.2])

    @cached_property
    def _ventricle_size(self) -> float:
        return log_uniform(self._rng("ventricles"), 0.7, 2.2)

    def _field(self, name: str) -> SmoothField:
        return self._fields[name]

    @cached_property
    def _fields(self) -> dict[str, SmoothField]:
        """Random fields by name: feature size in mm, channels, nodes."""
        return {name: field(self.seed, name, *size) for name, size in FIELDS.items()}

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, "mouse", name))

    def _plane(self, offset_mm: float, shape: tuple[int, int], pixel_size: float, thickness_mm: float) -> Plane:
        """Return the points of a slice in head coordinates, `SUPERSAMPLING` times as fine as its pixels."""
        if min(shape) < 1 or pixel_size <= 0 or thickness_mm <= 0:
            raise ValueError(
                "shape, pixel_size and thickness_mm must be positive: "
                f"got {tuple(shape)}, {pixel_size} and {thickness_mm}"
            )
        spacing = pixel_size / SUPERSAMPLING
        rows, columns = ((torch.arange(n * SUPERSAMPLING) - n * SUPERSAMPLING // 2) * spacing for n in shape)
        y, x = torch.meshgrid(-rows - 0.4, columns, indexing="ij")
        points = torch.stack([x, y, torch.full_like(x, offset_mm)])
        matrix, shift = (torch.from_numpy(part.astype(np.float32)) for part in self._pose)
        return Plane(torch.einsum("ij,jyx->iyx", matrix, points) + shift[:, None, None], (spacing, spacing))

    def _window(self, shape: tuple[int, int]) -> Float[Tensor, "y x"]:
        """Return the filter of this animal's reconstruction: some scanners tame the Gibbs ringing."""
        share = self._rng("window").uniform(0, 0.5)
        hann = [0.5 + 0.5 * torch.cos(math.pi * (torch.arange(n) - n // 2) / (n / 2)) for n in shape]
        return torch.outer(*(1 - share + share * part for part in hann))

    def _shading(self, plane: Plane) -> Float[Tensor, "y x"]:
        """Return the receive field: brighter towards the dorsal surface coil, and smoothly uneven."""
        rng = self._rng("shading")
        fall = rng.uniform(0.0, 0.09)
        uneven = self._field("shading").on(plane)[0]
        return torch.exp(fall * (plane.points[1] - 1).clamp(-9, 3) + rng.uniform(0.02, 0.1) * uneven)

    def _phase(self, plane: Plane) -> Float[Tensor, "y x"]:
        """Return the phase: coil and eddy currents, smooth, and susceptibility near the middle ears."""
        rng = self._rng("phase")
        smooth = rng.uniform(0.2, 0.8) * self._field("phase").on(plane)[0]
        x, y, z = plane.points
        ears = (x.abs() - 3.4).square() + (y + 3.9).square() + (z + 5.0).square()
        dipole = ((z + 5.0).square() * 3 - ears) / (ears + 1.5) ** 2.5
        ramp = (rng.uniform(-0.1, 0.1, 2) * np.array([1.0, 1.0])).astype(np.float32)
        return smooth + rng.uniform(0, 4) * dipole + ramp[0] * x + ramp[1] * y + rng.uniform(-math.pi, math.pi)

    def _paint(self, plane: Plane) -> Float[Tensor, "tissue y x"]:
        points = plane.points
        slow = self._field("warp").on(plane)
        fast = self._field("warp-fine").on(plane)
        canvas = Canvas(points + 0.12 * slow + 0.035 * fast, plane.step)
        brain = _Brain(canvas)
        self._paint_head(canvas, plane, brain)
        self._paint_brain(canvas, plane, brain)
        return canvas.fractions

    def _paint_head(self, canvas: Canvas, plane: Plane, brain: "_Brain") -> None:
        """Paint skin, fat, muscle, glands, eyes, ears and skull."""
        rng = self._rng("head")
        surface = canvas.dome(HEAD, 0.5, 2.3)
        head, below = canvas.cover(surface), canvas.below(surface)
        fibres, patches, marrow = self._field("soft tissue").on(plane)
        uneven, folding, gaps = self._field("fat").on(plane)
        canvas.paint(Tissue.MUSCLE, head)
        canvas.paint(Tissue.GLAND, 0.12 * head * torch.sigmoid(3 * patches))
        canvas.paint(Tissue.MENINGES, 0.25 * head * torch.sigmoid(4 * fibres - 3))
        # muscles lie in sheets under the skin, with fat between them here and there
        sheet = torch.cos(2 * math.pi * (below / 2.4 + 0.45 * folding + 0.1 * fibres + rng.uniform()))
        fascia = torch.sigmoid(40 * (sheet - 0.97)) * torch.sigmoid(3 * (gaps + 0.4 * patches))
        canvas.paint(Tissue.FAT, head * fascia * rng.uniform(0.3, 0.8))
        canvas.paint(Tissue.GLAND, head * 0.7 * torch.sigmoid(6 * (patches - 1.7) - canvas.y - 5))
        fat = rng.uniform(0.05, 0.45) * (1 + 0.6 * uneven).clamp(min=0.05)
        canvas.paint(Tissue.FAT, head * torch.sigmoid((0.4 + fat - below) / 0.06))
        for body in SURROUNDINGS:
            canvas.paint_body(body, within=head)
        canvas.paint(Tissue.SKIN, head * torch.sigmoid((0.38 - below) / 0.05))
        thickness = rng.uniform(0.18, 0.3) * (1 + 0.35 * uneven).clamp(min=0.4) + 0.09 * (-canvas.y - 0.5).clamp(min=0)
        outside = -brain.depth - brain.gap
        canvas.paint(Tissue.BONE, torch.sigmoid((thickness - outside) / (0.4 * canvas.spacing)))
        spongy = _band(outside, 0.3 * thickness, 0.75 * thickness, 0.04) * torch.sigmoid(5 * (marrow - 0.2))
        canvas.paint(Tissue.MARROW, 0.7 * spongy)

    def _paint_brain(self, canvas: Canvas, plane: Plane, brain: "_Brain") -> None:
        """Paint meninges, the parts of the brain and the ventricles."""
        wet, vessels = self._field("meninges").on(plane)
        cavity = torch.sigmoid((brain.depth + brain.gap) / (0.4 * canvas.spacing))
        canvas.paint(Tissue.MENINGES, cavity)
        canvas.paint(Tissue.FLUID, cavity * torch.sigmoid(4 * (wet - 0.3)) * 0.7)
        _paint_bulbs(canvas)
        _paint_cerebrum(canvas, brain, self._field("fibres").on(plane)[0])
        _paint_hindbrain(canvas, brain)
        _paint_cerebellum(canvas, brain, self._field("folia").on(plane)[0])
        for ventricle in VENTRICLES:
            canvas.paint_body(ventricle, widening=self._ventricle_size)
        inside = torch.sigmoid(brain.depth / 0.1)
        canvas.paint(Tissue.MENINGES, 0.5 * inside * torch.sigmoid(10 * (vessels - 2.9)))


class _Brain:
    """Covers of the large parts of the brain, and the depth below its surface."""

    gap = 0.1  # mm between brain and skull

    def __init__(self, canvas: Canvas) -> None:
        self.cerebrum = canvas.cover(_cerebrum(canvas))
        stem = canvas.dome(BRAINSTEM, 0.42, 2.6)
        colliculi = [canvas.ellipse(body.levels) for body in COLLICULI if body.levels.reaches(canvas.z)]
        self.stem = torch.stack([canvas.cover(level) for level in (stem, *colliculi)]).amax(0)
        self.stem = self.stem * _band(canvas.z, -12, -2.95, 0.05)
        self.cerebellum = canvas.cover(canvas.dome(CEREBELLUM, 0.35, 2.4)) * _band(canvas.z, -8.8, -5.15, 0.03)
        outer = [self.cerebrum, self.stem, self.cerebellum]
        for body in (BULBS, PARAFLOCCULI):
            if body.levels.reaches(canvas.z):
                outer.append(canvas.cover(canvas.ellipse(body.levels)))
        whole = torch.stack(outer).amax(0)
        # the skull bridges clefts narrower than 1 mm
        closed = canvas.depth(whole) > -0.5
        self.depth = canvas.depth(closed.float()) - 0.5
        self.depth = torch.maximum(self.depth, canvas.depth(whole))


def _cerebrum(canvas: Canvas, base: float = 0.0) -> Tensor:
    """Return the level of both hemispheres: a dome with a cleft above and the piriform lobes' corners below.

    With ``base`` in mm the lower half is drawn out: depth then counts from the dorsal and lateral surface.
    """
    presence = _band(canvas.z, -5.4, 3.9, 0.02)
    lobes = torch.exp(-(((canvas.a - 3.3) / 0.9) ** 2)) - 0.8 * torch.exp(-(((canvas.a - 1.9) / 0.5) ** 2))
    cleft = 0.3 * torch.exp(-((canvas.a / 0.22) ** 2))
    shape = 0.42 * torch.exp(-(((canvas.z + 1.8) / 1.6) ** 2)) * lobes
    y = torch.where(canvas.y > 0, canvas.y + cleft, canvas.y + shape)
    return canvas.dome(CEREBRUM, 0.4, 2.35, y, base) + (1 - presence) * 10


def _paint_cerebrum(canvas: Canvas, brain: _Brain, fibres: Tensor) -> None:
    """Paint cortex, callosum, hippocampus, the bodies inside, and fibre bundles through the striatum."""
    inside = brain.cerebrum
    if not bool((inside > 0).any()):
        return
    depth = canvas.depth(canvas.cover(_cerebrum(canvas, base=1.8)))
    angle = torch.atan2(canvas.a, canvas.y + 0.5) / math.pi
    canvas.paint(Tissue.CORTEX, inside)
    canvas.paint(Tissue.WHITE, 0.14 * inside * _band(depth, 0.5, 0.9, 0.1))
    canvas.paint(Tissue.FLUID, 0.1 * inside * torch.sigmoid((0.14 - depth) / 0.05))
    middle, half_midline, half_side = CALLOSUM.at(canvas.z)
    middle = middle + 0.15 * torch.exp(-((canvas.a / 0.5) ** 2))
    for body in FOREBRAIN[:3]:
        canvas.paint_body(body, within=inside * torch.sigmoid((depth - middle) / 0.04))
    striatum = canvas.fractions[Tissue.STRIATUM] * torch.sigmoid(4 * fibres - 2)
    canvas.paint(Tissue.WHITE, 0.45 * striatum)
    _paint_hippocampus(canvas, inside, depth, angle, middle)
    for body in FOREBRAIN[3:]:
        canvas.paint_body(body, within=inside)
    at_midline = torch.exp(-((canvas.a / 0.35) ** 2))
    cingulum = 0.09 * torch.exp(-(((canvas.a - 0.95) / 0.4) ** 2)) * (half_side > 0.05)
    half = half_midline * at_midline + (half_side + cingulum) * (1 - at_midline)
    half = half * torch.sigmoid((0.63 - angle) / 0.05) * (1 - 0.6 * angle)
    soft = 0.35 * canvas.spacing
    thick = torch.sigmoid((half - 0.01) / 0.01)
    canvas.paint(Tissue.WHITE, inside * thick * _band(depth, middle - half, middle + half, soft))


def _paint_hippocampus(canvas: Canvas, inside: Tensor, depth: Tensor, angle: Tensor, callosum: Tensor) -> None:
    """Paint the hippocampus under the callosum: a shell around thalamus and midbrain, with its layers."""
    if not HIPPOCAMPUS.reaches(canvas.z):
        return
    span, thickness = HIPPOCAMPUS.at(canvas.z)
    reach = (1 - (angle / span).clamp(0, 1) ** 3).clamp(min=0).sqrt()
    thickness = thickness * reach
    surface = callosum + 0.1
    soft = 0.5 * canvas.spacing
    medial = torch.sigmoid((canvas.a - 0.12) / 0.05)
    cover = (
        inside * _band(depth, surface, surface + thickness, soft) * torch.sigmoid((thickness - 0.05) / 0.02) * medial
    )
    canvas.paint(Tissue.HIPPOCAMPUS, cover)
    level = (depth - surface) / thickness.clamp(min=0.1)
    canvas.paint(Tissue.WHITE, 0.45 * cover * _band(level, 0.3, 0.4, 0.03))
    canvas.paint(Tissue.FLUID, 0.13 * cover * _band(level, 0.46, 0.58, 0.03))
    canvas.paint(Tissue.WHITE, 0.35 * cover * _band(level, 0.72, 0.82, 0.03))


def _paint_hindbrain(canvas: Canvas, brain: _Brain) -> None:
    """Paint midbrain, pons and medulla with a cleft around them."""
    if not bool((brain.stem > 0).any()):
        return
    cleft = _band(canvas.depth(brain.stem), -0.1, 0.02, 0.03) * torch.sigmoid((canvas.y + 1.5) / 0.2)
    dorsal = torch.sigmoid((canvas.y - 0.3) / 0.3)
    canvas.paint(Tissue.MENINGES, 0.8 * cleft * dorsal)
    canvas.paint(Tissue.FLUID, 0.3 * cleft * (1 - dorsal))
    rostral = torch.sigmoid((canvas.z + 4.9 - 0.3 * canvas.y) / 0.25)
    canvas.paint(Tissue.HINDBRAIN, brain.stem * (1 - rostral))
    canvas.paint(Tissue.MIDBRAIN, brain.stem * rostral)
    for body in COLLICULI:
        canvas.paint_body(body)
    for body in HINDBRAIN:
        canvas.paint_body(body, within=brain.stem)


def _paint_cerebellum(canvas: Canvas, brain: _Brain, waviness: Tensor) -> None:
    """Paint the cerebellum: folia of vermis and hemispheres around white matter, fissures between them."""
    canvas.paint_body(PARAFLOCCULI)
    if not bool((brain.cerebellum > 0).any()):
        return
    inside = brain.cerebellum
    canvas.paint(Tissue.CEREBELLUM, inside)
    vermis = torch.sigmoid((1.25 - canvas.a) / 0.12)
    from_vermis = torch.hypot(canvas.a * 0.9, canvas.y + 0.3)
    from_side = torch.hypot((canvas.a - 2.2) * 1.3, canvas.y + 0.6)
    radius = torch.where(canvas.a < 1.25, from_vermis, from_side + 0.35) + 0.12 * waviness + 0.25 * canvas.z
    phase = 2 * math.pi * radius / 0.8
    depth = canvas.depth(inside)
    deep = torch.sigmoid((0.55 - canvas.y - 0.1 * canvas.a) / 0.15) * torch.sigmoid((depth - 0.3) / 0.1)
    leaves = torch.sigmoid((phase.cos() - 0.75) * 8) * torch.sigmoid((depth - 0.35) / 0.1)
    fissures = torch.sigmoid((-phase.cos() - 0.93) * 30)
    canvas.paint(Tissue.WHITE, inside * torch.maximum(0.75 * leaves, 0.6 * deep))
    canvas.paint(Tissue.FLUID, 0.22 * inside * fissures * (1 - deep))
    furrow = torch.exp(-(((canvas.a - 1.25) / 0.07) ** 2)) * torch.sigmoid((canvas.y - 1.0) / 0.2)
    canvas.paint(Tissue.MENINGES, 0.5 * inside * furrow * (vermis * 4 * (1 - vermis)))


def _paint_bulbs(canvas: Canvas) -> None:
    """Paint the olfactory bulbs with their rings: glomeruli, plexiform and mitral layer, granules, stream."""
    if not BULBS.levels.reaches(canvas.z):
        return
    level = canvas.ellipse(BULBS.levels)
    inside = canvas.cover(level)
    canvas.paint(Tissue.BULB, inside)
    canvas.paint(Tissue.FLUID, 0.1 * inside * torch.sigmoid((level + 0.17) / 0.02))
    canvas.paint(Tissue.WHITE, 0.35 * inside * _band(level, -0.36, -0.22, 0.03))
    canvas.paint(Tissue.WHITE, 0.35 * inside * torch.sigmoid((-0.78 - level) / 0.04))
