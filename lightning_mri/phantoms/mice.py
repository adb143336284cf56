"""Synthetic mice: coronal T2-weighted slices of a parametric mouse head, brain and surroundings.

The anatomy is `mouse_atlas`: bodies, each an ellipse whose centre, radii and tilt change along the head, and layers
at a depth below the cerebrum's surface. A mouse gets its own size, posture, warp, ventricles, relaxation times and
protocol. Coordinates are in mm from bregma: x to the side, y up, z to the nose.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.phantoms.fields import Plane, SmoothField, field, log_uniform
from lightning_mri.phantoms.mouse_atlas import (
    BRAINSTEM,
    BULBS,
    CALLOSUM,
    CEREBELLUM,
    CEREBRUM,
    COLLICULI,
    FOREBRAIN,
    HEAD,
    HINDBRAIN,
    HIPPOCAMPUS,
    PARAFLOCCULI,
    RELAXATION,
    SURROUNDINGS,
    VENTRICLES,
    VESSELS,
    Tissue,
)
from lightning_mri.phantoms.mouse_canvas import Canvas, band
from lightning_mri.physics.fourier import fft2c, ifft2c
from lightning_mri.tensors import centre_crop, derive_seed

SUPERSAMPLING = 2  # pixels are computed finer and cut out of k-space, as a scanner does, with its Gibbs ringing

# feature size in mm, channels, lattice nodes
FIELDS = {
    "warp": (5.0, 3, 16),
    "warp-fine": (1.6, 3, 32),
    "fine": (0.26, 1, 72),
    "coarse": (1.2, 1, 48),
    "soft tissue": (1.6, 3, 40),
    "fat": (4.0, 3, 16),
    "fibres": (0.45, 1, 48),
    "meninges": (1.0, 2, 48),
    "folia": (1.3, 1, 32),
    "shading": (9.0, 1, 12),
    "phase": (10.0, 1, 12),
}


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
        texture = 1 + self.texture * (self._field("fine").on(fine)[0] + 0.4 * self._field("coarse").on(fine)[0])
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
        return float(self._rng("texture").uniform(0.03, 0.09))

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
        return log_uniform(self._rng("ventricles"), 0.5, 1.8)

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
        share = self._rng("window").uniform(0, 0.3)
        hann = [0.5 + 0.5 * torch.cos(math.pi * (torch.arange(n) - n // 2) / (n / 2)) for n in shape]
        return torch.outer(*(1 - share + share * part for part in hann))

    def _shading(self, plane: Plane) -> Float[Tensor, "y x"]:
        """Return the receive field: brighter towards the dorsal surface coil, and smoothly uneven."""
        rng = self._rng("shading")
        fall = rng.uniform(0.0, 0.12)
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
        fat = rng.uniform(0.05, 0.45) * (1 + 0.9 * uneven).clamp(min=0)
        canvas.paint(Tissue.FAT, head * torch.sigmoid((0.4 + fat - below) / 0.06))
        for body in SURROUNDINGS:
            canvas.paint_body(body, within=head)
        canvas.paint(Tissue.SKIN, head * torch.sigmoid((0.38 - below) / 0.05))
        thickness = rng.uniform(0.18, 0.3) * (1 + 0.45 * uneven).clamp(min=0.4) + 0.09 * (-canvas.y - 0.5).clamp(min=0)
        outside = -brain.depth - brain.gap
        canvas.paint(Tissue.BONE, torch.sigmoid((thickness - outside) / (0.4 * canvas.spacing)))
        spongy = band(outside, 0.3 * thickness, 0.75 * thickness, 0.04) * torch.sigmoid(5 * marrow)
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
        for vessel in VESSELS:
            canvas.paint_body(vessel)
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
        self.stem = self.stem * band(canvas.z, -12, -2.95, 0.05)
        self.cerebellum = canvas.cover(_cerebellum(canvas)) * band(canvas.z, -8.8, -5.15, 0.03)
        outer = [self.cerebrum, self.stem, self.cerebellum]
        for body in (BULBS, PARAFLOCCULI):
            if body.levels.reaches(canvas.z):
                outer.append(canvas.cover(canvas.ellipse(body.levels)))
        whole = torch.stack(outer).amax(0)
        # the skull bridges clefts narrower than 1 mm
        depth = canvas.depth(whole)
        self.depth = torch.maximum(canvas.depth((depth > -0.5).float()) - 0.5, depth)


def _cerebrum(canvas: Canvas, base: float = 0.0) -> Tensor:
    """Return the level of both hemispheres: a dome with a cleft above and the piriform lobes' corners below.

    With ``base`` in mm the lower half is drawn out: depth then counts from the dorsal and lateral surface.
    """
    presence = band(canvas.z, -5.4, 3.9, 0.02)
    lobes = torch.exp(-(((canvas.a - 3.7) / 0.8) ** 2)) - 0.8 * torch.exp(-(((canvas.a - 2.1) / 0.6) ** 2))
    cleft = 0.34 * torch.exp(-((canvas.a / 0.24) ** 2))
    shape = 0.8 * torch.exp(-(((canvas.z + 1.9) / 1.7) ** 2)) * lobes
    y = torch.where(canvas.y > 0, canvas.y + cleft, canvas.y + shape)
    return canvas.dome(CEREBRUM, 0.4, 2.35, y, base) + (1 - presence) * 10


def _cerebellum(canvas: Canvas) -> Tensor:
    """Return the level of the cerebellum: a vermis that stands out between two hemispheres."""
    lateral = torch.sigmoid((canvas.a - 1.35) / 0.15)
    furrow = torch.exp(-(((canvas.a - 1.4) / 0.25) ** 2))
    y = torch.where(canvas.y > 0.4, canvas.y + (canvas.y - 0.4) * (0.3 * lateral + 0.2 * furrow), canvas.y)
    return canvas.dome(CEREBELLUM, 0.35, 2.2, y)


def _paint_cerebrum(canvas: Canvas, brain: _Brain, fibres: Tensor) -> None:
    """Paint cortex, callosum, hippocampus, the bodies inside, and fibre bundles through the striatum."""
    inside = brain.cerebrum
    if not bool((inside > 0).any()):
        return
    depth = canvas.depth(canvas.cover(_cerebrum(canvas, base=1.8)))
    angle = torch.atan2(canvas.a, canvas.y + 0.5) / math.pi
    canvas.paint(Tissue.CORTEX, inside)
    canvas.paint(Tissue.WHITE, 0.14 * inside * band(depth, 0.5, 0.9, 0.1))
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
    half = half * torch.sigmoid((0.63 - angle) / 0.05) * (1.1 - 1.25 * angle).clamp(min=0.25)
    soft = 0.35 * canvas.spacing
    thick = torch.sigmoid((half - 0.01) / 0.01)
    canvas.paint(Tissue.WHITE, inside * thick * band(depth, middle - half, middle + half, soft))


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
    cover = inside * band(depth, surface, surface + thickness, soft) * torch.sigmoid((thickness - 0.05) / 0.02) * medial
    canvas.paint(Tissue.HIPPOCAMPUS, cover)
    level = (depth - surface) / thickness.clamp(min=0.1)
    canvas.paint(Tissue.WHITE, 0.45 * cover * band(level, 0.3, 0.4, 0.03))
    canvas.paint(Tissue.FLUID, 0.13 * cover * band(level, 0.46, 0.58, 0.03))
    canvas.paint(Tissue.WHITE, 0.35 * cover * band(level, 0.72, 0.82, 0.03))


def _paint_hindbrain(canvas: Canvas, brain: _Brain) -> None:
    """Paint midbrain, pons and medulla with a cleft around them."""
    if not bool((brain.stem > 0).any()):
        return
    cleft = band(canvas.depth(brain.stem), -0.1, 0.02, 0.03) * torch.sigmoid((canvas.y + 1.5) / 0.2)
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
    radius = torch.where(canvas.a < 1.25, from_vermis, from_side + 0.35) + 0.17 * waviness + 0.25 * canvas.z
    phase = 2 * math.pi * radius / 0.8
    depth = canvas.depth(inside)
    deep = torch.sigmoid((0.55 - canvas.y - 0.1 * canvas.a) / 0.15) * torch.sigmoid((depth - 0.3) / 0.1)
    leaves = torch.sigmoid((phase.cos() - 0.5) * 7) * torch.sigmoid((depth - 0.3) / 0.1)
    fissures = torch.sigmoid((-phase.cos() - 0.93) * 30)
    canvas.paint(Tissue.WHITE, inside * torch.maximum(0.9 * leaves, 0.75 * deep))
    canvas.paint(Tissue.FLUID, 0.3 * inside * fissures * (1 - deep))
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
    canvas.paint(Tissue.WHITE, 0.35 * inside * band(level, -0.36, -0.22, 0.03))
    canvas.paint(Tissue.WHITE, 0.35 * inside * torch.sigmoid((-0.78 - level) / 0.04))
