"""The brain of a mouse: the covers of its large parts, and how its structures are painted."""

import math

import torch
from torch import Tensor

from lightning_mri.phantoms.mouse_atlas import (
    BRAINSTEM,
    BULBS,
    CALLOSUM,
    CEREBELLUM,
    CEREBRUM,
    COLLICULI,
    FOREBRAIN,
    HINDBRAIN,
    HIPPOCAMPUS,
    PARAFLOCCULI,
    MouseTissue,
)
from lightning_mri.phantoms.mouse_canvas import MouseCanvas, band


def paint_brain(canvas: MouseCanvas, brain: "Brain", fibres: Tensor, folia: Tensor) -> None:
    """Paint the parts of the brain."""
    _paint_bulbs(canvas)
    _paint_cerebrum(canvas, brain, fibres)
    _paint_hindbrain(canvas, brain)
    _paint_cerebellum(canvas, brain, folia)


class Brain:
    """Covers of the large parts of the brain, and the depth below its surface."""

    gap = 0.1  # mm between brain and skull

    def __init__(self, canvas: MouseCanvas) -> None:
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


def _cerebrum(canvas: MouseCanvas, base: float = 0.0) -> Tensor:
    """Return the level of both hemispheres: a dome with a cleft above and the piriform lobes' corners below.

    With ``base`` in mm the lower half is drawn out: depth then counts from the dorsal and lateral surface.
    """
    presence = band(canvas.z, -5.4, 3.9, 0.02)
    lobes = torch.exp(-(((canvas.a - 3.7) / 0.8) ** 2)) - 0.8 * torch.exp(-(((canvas.a - 2.1) / 0.6) ** 2))
    cleft = 0.34 * torch.exp(-((canvas.a / 0.24) ** 2))
    shape = 0.8 * torch.exp(-(((canvas.z + 1.9) / 1.7) ** 2)) * lobes
    y = torch.where(canvas.y > 0, canvas.y + cleft, canvas.y + shape)
    return canvas.dome(CEREBRUM, 0.4, 2.35, y, base) + (1 - presence) * 10


def _cerebellum(canvas: MouseCanvas) -> Tensor:
    """Return the level of the cerebellum: a vermis that stands out between two hemispheres."""
    lateral = torch.sigmoid((canvas.a - 1.35) / 0.15)
    furrow = torch.exp(-(((canvas.a - 1.4) / 0.25) ** 2))
    y = torch.where(canvas.y > 0.4, canvas.y + (canvas.y - 0.4) * (0.3 * lateral + 0.2 * furrow), canvas.y)
    return canvas.dome(CEREBELLUM, 0.35, 2.2, y)


def _paint_cerebrum(canvas: MouseCanvas, brain: Brain, fibres: Tensor) -> None:
    """Paint cortex, callosum, hippocampus, the bodies inside, and fibre bundles through the striatum."""
    inside = brain.cerebrum
    if not bool((inside > 0).any()):
        return
    depth = canvas.depth(canvas.cover(_cerebrum(canvas, base=1.8)))
    angle = torch.atan2(canvas.a, canvas.y + 0.5) / math.pi
    canvas.paint(MouseTissue.CORTEX, inside)
    canvas.paint(MouseTissue.WHITE, 0.14 * inside * band(depth, 0.5, 0.9, 0.1))
    canvas.paint(MouseTissue.FLUID, 0.1 * inside * torch.sigmoid((0.14 - depth) / 0.05))
    middle, half_midline, half_side = CALLOSUM.at(canvas.z)
    middle = middle + 0.15 * torch.exp(-((canvas.a / 0.5) ** 2))
    for body in FOREBRAIN[:3]:
        canvas.paint_body(body, within=inside * torch.sigmoid((depth - middle) / 0.04))
    striatum = canvas.fractions[MouseTissue.STRIATUM] * torch.sigmoid(4 * fibres - 2)
    canvas.paint(MouseTissue.WHITE, 0.45 * striatum)
    _paint_hippocampus(canvas, inside, depth, angle, middle)
    for body in FOREBRAIN[3:]:
        canvas.paint_body(body, within=inside)
    at_midline = torch.exp(-((canvas.a / 0.35) ** 2))
    cingulum = 0.09 * torch.exp(-(((canvas.a - 0.95) / 0.4) ** 2)) * (half_side > 0.05)
    half = half_midline * at_midline + (half_side + cingulum) * (1 - at_midline)
    half = half * torch.sigmoid((0.63 - angle) / 0.05) * (1.1 - 1.25 * angle).clamp(min=0.25)
    soft = 0.35 * canvas.spacing
    thick = torch.sigmoid((half - 0.01) / 0.01)
    canvas.paint(MouseTissue.WHITE, inside * thick * band(depth, middle - half, middle + half, soft))


def _paint_hippocampus(canvas: MouseCanvas, inside: Tensor, depth: Tensor, angle: Tensor, callosum: Tensor) -> None:
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
    canvas.paint(MouseTissue.HIPPOCAMPUS, cover)
    level = (depth - surface) / thickness.clamp(min=0.1)
    canvas.paint(MouseTissue.WHITE, 0.45 * cover * band(level, 0.3, 0.4, 0.03))
    canvas.paint(MouseTissue.FLUID, 0.13 * cover * band(level, 0.46, 0.58, 0.03))
    canvas.paint(MouseTissue.WHITE, 0.35 * cover * band(level, 0.72, 0.82, 0.03))


def _paint_hindbrain(canvas: MouseCanvas, brain: Brain) -> None:
    """Paint midbrain, pons and medulla with a cleft around them."""
    if not bool((brain.stem > 0).any()):
        return
    cleft = band(canvas.depth(brain.stem), -0.1, 0.02, 0.03) * torch.sigmoid((canvas.y + 1.5) / 0.2)
    dorsal = torch.sigmoid((canvas.y - 0.3) / 0.3)
    canvas.paint(MouseTissue.MENINGES, 0.8 * cleft * dorsal)
    canvas.paint(MouseTissue.FLUID, 0.3 * cleft * (1 - dorsal))
    rostral = torch.sigmoid((canvas.z + 4.9 - 0.3 * canvas.y) / 0.25)
    canvas.paint(MouseTissue.HINDBRAIN, brain.stem * (1 - rostral))
    canvas.paint(MouseTissue.MIDBRAIN, brain.stem * rostral)
    for body in COLLICULI:
        canvas.paint_body(body)
    for body in HINDBRAIN:
        canvas.paint_body(body, within=brain.stem)


def _paint_cerebellum(canvas: MouseCanvas, brain: Brain, waviness: Tensor) -> None:
    """Paint the cerebellum: folia of vermis and hemispheres around white matter, fissures between them."""
    canvas.paint_body(PARAFLOCCULI)
    if not bool((brain.cerebellum > 0).any()):
        return
    inside = brain.cerebellum
    canvas.paint(MouseTissue.CEREBELLUM, inside)
    vermis = torch.sigmoid((1.25 - canvas.a) / 0.12)
    from_vermis = torch.hypot(canvas.a * 0.9, canvas.y + 0.3)
    from_side = torch.hypot((canvas.a - 2.2) * 1.3, canvas.y + 0.6)
    radius = torch.where(canvas.a < 1.25, from_vermis, from_side + 0.35) + 0.17 * waviness + 0.25 * canvas.z
    phase = 2 * math.pi * radius / 0.8
    depth = canvas.depth(inside)
    deep = torch.sigmoid((0.55 - canvas.y - 0.1 * canvas.a) / 0.15) * torch.sigmoid((depth - 0.3) / 0.1)
    leaves = torch.sigmoid((phase.cos() - 0.5) * 7) * torch.sigmoid((depth - 0.3) / 0.1)
    fissures = torch.sigmoid((-phase.cos() - 0.93) * 30)
    canvas.paint(MouseTissue.WHITE, inside * torch.maximum(0.9 * leaves, 0.75 * deep))
    canvas.paint(MouseTissue.FLUID, 0.3 * inside * fissures * (1 - deep))
    furrow = torch.exp(-(((canvas.a - 1.25) / 0.07) ** 2)) * torch.sigmoid((canvas.y - 1.0) / 0.2)
    canvas.paint(MouseTissue.MENINGES, 0.5 * inside * furrow * (vermis * 4 * (1 - vermis)))


def _paint_bulbs(canvas: MouseCanvas) -> None:
    """Paint the olfactory bulbs with their rings: glomeruli, plexiform and mitral layer, granules, stream."""
    if not BULBS.levels.reaches(canvas.z):
        return
    level = canvas.ellipse(BULBS.levels)
    inside = canvas.cover(level)
    canvas.paint(MouseTissue.BULB, inside)
    canvas.paint(MouseTissue.FLUID, 0.1 * inside * torch.sigmoid((level + 0.17) / 0.02))
    canvas.paint(MouseTissue.WHITE, 0.35 * inside * band(level, -0.36, -0.22, 0.03))
    canvas.paint(MouseTissue.WHITE, 0.35 * inside * torch.sigmoid((-0.78 - level) / 0.04))
