"""A subject's anatomy: which tissue is where.

Each subject deforms the averaged brain in its own way, folds its own cortex where the average leaves open how
it is folded, and has its own skull, scalp, face, neck, vessels and, in some, lesions. Everything is defined in
space, by distances and random fields, so that all slices of a subject agree.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.phantoms.atlas import BRAIN_CENTRE, load_atlas
from lightning_mri.phantoms.canvas import HeadCanvas, PlacedPlane, capsule, ellipsoid
from lightning_mri.phantoms.face import paint_eyes, paint_face, paint_neck
from lightning_mri.phantoms.fields import Plane, SmoothField, field, length, log_uniform
from lightning_mri.phantoms.lesions import Infarct
from lightning_mri.phantoms.tissues import Tissue
from lightning_mri.phantoms.vessels import paint_vessels
from lightning_mri.tensors import derive_seed

BEND_CELLS = (45.0, 18.0, 9.0)
DEEP_GREY = (((11, -18, 7), (10, 15, 10)), ((25, 4, 1), (7, 17, 11)), ((13, 12, 9), (6, 10, 11)))
# pallidum, red nucleus, substantia nigra, dentate nucleus
IRON_RICH = (
    ((19, -3, 0), (4.5, 9, 7)),
    ((5, -20, -9), (3.5, 3.5, 3.5)),
    ((11, -17, -13), (5, 4, 3)),
    ((15, -57, -35), (6, 7, 4)),
)


class Composition(NamedTuple):
    """What a plane through a subject is made of.

    ``fractions`` holds the share of each `Tissue` (air is the rest to 1); ``detail`` the deviation of the
    atlas' T1-weighted intensity from what its tissues explain; ``depth`` the distance in mm inwards from the
    brain's hull.
    """

    fractions: Float[Tensor, "tissue y x"]
    detail: Float[Tensor, "y x"]
    depth: Float[Tensor, "y x"]


class Anatomy:
    """One subject; everything about its shape follows from the seed.

    Args:
        seed: Identifies the subject.
        lesions: Whether the subject has lesions; if not given, one in four has.
    """

    def __init__(self, seed: int, lesions: bool | None = None) -> None:
        self.seed = seed
        rng = np.random.default_rng(derive_seed(seed, "anatomy"))
        self.scale = torch.from_numpy(rng.uniform(0.88, 1.13, 3).astype(np.float32)) * rng.uniform(0.96, 1.04)
        self.bend = rng.uniform(0, 1) * np.array([4.5, 2.0 * (rng.random() < 0.7), 0.9 * (rng.random() < 0.7)])
        self.fold_cell = log_uniform(rng, 11, 15)
        self.fold_gain = rng.uniform(3.5, 6.5)
        self.sharpness = log_uniform(rng, 1.6, 5)
        self.atrophy = float(rng.beta(1.3, 2))
        self.sulcus_width = 0.05 + 0.75 * self.atrophy
        self.cortex = rng.uniform(2.3, 3.4)
        self.sulcal_depths = rng.uniform(16, 26), rng.uniform(7, 15)
        self.crown = rng.uniform(0.1, 0.5) + 1.6 * self.atrophy
        self.narrowing = 0.75 - 1.1 * self.atrophy + rng.uniform(-0.25, 0.25)
        # fluid, inner table, marrow, outer table, fat and skin, outwards from the brain
        layers = rng.uniform([0.1, 0.9, 0.5, 0.9, 1.5, 1.0], [0.8, 2.0, 4.5, 2.0, 7.0, 2.2])
        self.layers = torch.from_numpy(layers.astype(np.float32))
        self.muscle = rng.uniform(-0.5, 1.5)
        self.temple = rng.uniform(1, 6)
        self.brow = rng.uniform(-4, 4)
        self.calibre = log_uniform(rng, 0.75, 1.4)
        drawn = bool(rng.random() < 0.25)
        self.has_lesions = drawn if lesions is None else lesions
        self._draw_lesions(rng)

    def _draw_lesions(self, rng: np.random.Generator) -> None:
        """Draw how much old damage of the white matter there is, and an infarct."""
        infarct, acute = Infarct.draw(rng), rng.random() < 0.8
        self.infarct = infarct if acute else None
        self.spot_threshold = rng.uniform(1.7, 2.7) if rng.random() < 0.6 or not acute else np.inf

    @cached_property
    def _fields(self) -> dict[str, SmoothField]:
        """The subject's random fields, each with its size of features and number of components."""
        sizes = {
            **{f"bend-{cell}": (cell, 3, 32) for cell in BEND_CELLS},
            "thickness": (55.0, 6, 32),
            "folds": (self.fold_cell, 4, 48),
            "relief": (20.0, 3, 32),
            "strands": (9.0, 2, 48),
            "speckle": (5.0, 3, 48),
            "vessels": (16.0, 2, 40),
            "spots": (12.0, 1, 48),
        }
        return {name: field(self.seed, name, *size) for name, size in sizes.items()}

    def compose(self, plane: Plane) -> Composition:
        """Return what the plane is made of."""
        place = self._settle(plane)
        grey, white, t1 = load_atlas().tissue_at(place.brain)
        fluid = (1 - grey - white).clamp(min=0)
        shares = self._fold(place, torch.stack([grey, white, fluid]))
        canvas = HeadCanvas((plane.points.shape[1], plane.points.shape[2]), 0.25 * plane.step + 0.1)
        self._paint_head(canvas, place)
        self._paint_brain(canvas, place, shares, grey)
        self._paint_vessels(canvas, place, shares)
        if self.has_lesions:
            self._paint_lesions(canvas, place, shares)
        explained = 0.9 * white + 0.66 * grey + 0.3 * fluid
        return Composition(canvas.fractions, (t1 - explained) * canvas.inside(place.hull), -place.hull)

    def _settle(self, plane: Plane) -> PlacedPlane:
        """Return the plane as the subject's deformation places it in the atlas."""
        upright = plane.points / self.scale[:, None, None] + BRAIN_CENTRE[:, None, None]
        bends = [self._fields[f"bend-{cell}"].on(plane) for cell in BEND_CELLS]
        coarse, middle, fine = (gain * bend for gain, bend in zip(self.bend.tolist(), bends, strict=True))
        head = upright + 0.6 * coarse + 0.12 * (middle + fine)  # the skull is smoother than the brain
        brain = upright + coarse + middle + fine
        narrowing = 1 + self.narrowing * torch.exp(-1.5 * (1 + ellipsoid(brain, (0, -14, 12), (34, 52, 30)) / 30) ** 2)
        brain = torch.stack([brain[0] * narrowing, brain[1], brain[2]])
        hull, pia = load_atlas().distance_at(head)
        relief, strands, speckle = (self._fields[name].on(plane) for name in ("relief", "strands", "speckle"))
        folds = self._fields["folds"](_fanned(upright) + 1.6 * relief[[2, 0, 1]])
        return PlacedPlane(plane, upright, head, brain, hull, pia, relief, strands, speckle, folds)

    def _fold(self, place: PlacedPlane, average: Float[Tensor, "3 y x"]) -> Float[Tensor, "3 y x"]:
        """Return grey matter, white matter and fluid: the average, folded where it is undecided."""
        depth = torch.maximum(place.pia, (-place.hull).clamp(min=0).minimum(place.pia + 3))
        x, y, z = place.brain
        # in the average both medial walls and the fissure between them are one grey band
        above = torch.sigmoid((z - (0.35 * (y + 20)).abs() - 16) / 2)
        medial = (x + place.relief[0]).abs() + 60 * (1 - above)
        depth = torch.minimum(depth, medial)
        ventricles = ellipsoid(place.upright, (0, -10, 10), (38, 48, 26))
        cortical = torch.sigmoid((24 - depth) / 3) * torch.sigmoid(ventricles / 3)
        # the average is sure of the insula and of the base, and of little near the vault
        convex = 0.25 + 0.75 * torch.maximum(torch.sigmoid((28 + place.hull) / 4), torch.sigmoid((16 - medial) / 3))
        cerebellar = torch.sigmoid(ellipsoid(place.brain, (0, -62, -37), (56, 36, 26)) / -2)
        pattern = self._gyri(place, depth) * (1 - cerebellar) + self._folia(place, depth) * cerebellar
        belief = torch.log(average.clamp(min=0) + 0.03) + 0.3 * place.speckle
        # the average blurs ventricle and white matter to what looks like grey matter between them
        belief[Tissue.GREY] -= 1.5 * torch.sigmoid(-ventricles / 3) * torch.sigmoid(10 * (0.7 - average[Tissue.GREY]))
        return torch.softmax(self.sharpness * (belief + self.fold_gain * cortical * convex * pattern), 0)

    def _gyri(self, place: PlacedPlane, depth: Float[Tensor, "y x"]) -> Float[Tensor, "3 y x"]:
        """Return the pattern of the cerebral cortex.

        Sulci are the zero surfaces of a field that hardly changes along the direction from each hemisphere's
        core, so that they run inwards from the surface as real ones do, down to a varying depth. Cortex lines
        them and the surface.
        """
        width = self.sulcus_width * (1 + 0.35 * place.relief[1])
        sheets = _distances(place.folds[:2] + 0.1 * place.speckle[1], place.plane.spacing)
        bottoms = torch.tensor(self.sulcal_depths)[:, None, None] * (1 + 0.45 * place.relief[0])
        sulci = torch.hypot(sheets, (depth - bottoms).clamp(min=0))
        crown = self.crown * (1 + 0.4 * place.relief[2]).clamp(min=0)
        surface = torch.minimum(sulci.amin(0) - width, depth - crown)
        soft = 0.5 * place.plane.step + 0.25
        in_fluid, in_white = torch.sigmoid(-surface / soft), torch.sigmoid((surface - self.cortex) / soft)
        return torch.stack([(1 - in_fluid) * (1 - in_white), (1 - in_fluid) * in_white, 1.4 * in_fluid])

    def _folia(self, place: PlacedPlane, depth: Float[Tensor, "y x"]) -> Float[Tensor, "3 y x"]:
        """Return the pattern of the cerebellum: thin leaves that fan out from its core, white inside."""
        _, y, z = place.brain
        angle = torch.atan2(z + 34, -(y + 42)) + 0.16 * place.relief[1] + 0.03 * place.speckle[1]
        wave = torch.cos(angle * 34)
        inner = torch.sigmoid((depth - 5) / 1.5)
        in_fluid = torch.sigmoid((wave - 0.85) * 8) * torch.sigmoid((8 + 4 * place.relief[0] - depth) / 1.5)
        in_white = torch.sigmoid((-wave - 0.5) * 6) * inner
        return torch.stack([0.4 * (1 - in_fluid) * (1 - in_white), in_white, in_fluid])

    def _paint_head(self, canvas: HeadCanvas, place: PlacedPlane) -> None:
        """Paint skin, fat, muscle, neck and face, then the skull's layers over them."""
        variation = torch.tensor([0.35, 0.3, 0.6, 0.3, 0.35, 0.2])[:, None, None] * self._fields["thickness"].on(
            place.plane
        )
        x, y, z = place.head
        layers = self.layers[:, None, None] * (1 + variation).clamp(min=0.1)
        edges, fat, skin = layers[:4].cumsum(0), layers[4], layers[5]
        temple = self.temple * torch.exp(-(((y - 5) / 30) ** 2) - ((z + 15) / 22) ** 2)
        vault = place.hull - edges[3] - fat - skin - temple
        face = ellipsoid(place.head, (0, 34 + self.brow, -62), (64, 62, 80))
        neck = torch.maximum(torch.hypot(x, y + 28) - 58, z + 45)
        surface = -6 * torch.logsumexp(torch.stack([vault, face, neck]) / -6, 0)  # their smooth union
        canvas.paint(Tissue.SKIN, canvas.inside(surface))
        canvas.paint(Tissue.FAT, canvas.inside(surface + skin))
        cover = skin + torch.where(z < 0, 0.6, 1.0) * fat
        streaks = torch.sigmoid(3 * (place.strands[0] + self.muscle + torch.sigmoid((-40 - z) / 8)))
        muscle = canvas.inside(surface + cover) * canvas.inside(edges[3] + 0.8 - place.hull) * streaks
        canvas.paint(Tissue.MUSCLE, muscle)
        if bool((z < -45).any()):
            paint_neck(canvas, place, surface, self._fields["relief"])
        edges = edges * (1 + 0.4 * torch.sigmoid((-30 - z) / 4) * place.strands[0])  # its base is no smooth shell
        for tissue, edge in zip((Tissue.BONE, Tissue.MARROW, Tissue.BONE, Tissue.FLUID), edges.flip(0), strict=True):
            canvas.paint(tissue, canvas.inside(place.hull - edge))
        if bool(((z < 10) & (y > -50)).any()):
            paint_face(canvas, place, surface)
            paint_eyes(canvas, place, surface, self.brow)

    def _paint_brain(
        self, canvas: HeadCanvas, place: PlacedPlane, shares: Float[Tensor, "3 y x"], grey: Float[Tensor, "y x"]
    ) -> None:
        """Paint grey and white matter, fluid and, where the average is partly ``grey``, the deep nuclei."""
        inside = canvas.inside(place.hull)
        canvas.fractions *= 1 - inside
        canvas.fractions[: len(shares)] += shares * inside
        solid = inside * (1 - shares[Tissue.FLUID])
        if bool((place.brain[2] < -25).any()):
            self._paint_skull_base(canvas, place, inside * shares[Tissue.FLUID])
        partly = solid * (2.5 * grey).clamp(max=1)
        for tissue, shapes, share in (
            (Tissue.DEEP_GREY, DEEP_GREY, partly),
            (Tissue.PALLIDUM, IRON_RICH, solid),
        ):
            nucleus = torch.stack([ellipsoid(place.brain, *shape) for shape in shapes]).amin(0)
            canvas.paint(tissue, torch.sigmoid((0.8 * place.speckle[2] - nucleus) / 0.8) * share)

    def _paint_skull_base(self, canvas: HeadCanvas, place: PlacedPlane, room: Float[Tensor, "y x"]) -> None:
        """Paint clivus, sella and petrous bones with their air cells, where the average holds no brain."""
        points = place.head
        clivus = capsule(points, (0, 0, -36), (0, -18, -68)) - 7 + place.strands[0]
        petrous = capsule(points, (12, -14, -48), (56, -34, -42)) - 6 + 1.5 * place.strands[1]
        bone = torch.minimum(clivus, petrous)
        canvas.paint(Tissue.BONE, canvas.inside(bone) * room)
        canvas.paint(Tissue.MARROW, canvas.inside(clivus + 2) * room)
        canvas.paint(None, torch.sigmoid(6 * (place.speckle[0] - 0.4)) * canvas.inside(petrous + 2) * room)

    def _paint_vessels(self, canvas: HeadCanvas, place: PlacedPlane, shares: Float[Tensor, "3 y x"]) -> None:
        """Paint falx, sinuses, choroid plexus, the named vessels, and small ones where two random fields are 0."""
        (x, y, z), hull, fluid = place.brain, place.hull, shares[Tissue.FLUID]
        falx = (x.abs() - 0.4).maximum(hull + 1)
        above = torch.sigmoid((z - (0.35 * (y + 20)).abs() - 14) / 2)
        canvas.paint(Tissue.DURA, canvas.inside(falx) * fluid * above)
        sinus = torch.maximum(x.abs() - 3.2 - 0.5 * (hull + 2), (hull + 0.5).abs() - 3.5)
        canvas.paint(Tissue.VEIN, canvas.inside(sinus) * torch.sigmoid((z - 0.2 * y) / 3))
        plexus = canvas.inside(ellipsoid(place.brain, (20, -30, 8), (10, 18, 14))) * canvas.inside(hull + 8)
        canvas.paint(Tissue.MUCOSA, plexus * fluid * torch.sigmoid(5 * (place.speckle[0] - 0.9)))
        paint_vessels(canvas, place.brain + 1.5 * place.relief, canvas.inside(hull - 2), self.calibre)
        self._paint_small_vessels(canvas, place, shares)

    def _paint_small_vessels(self, canvas: HeadCanvas, place: PlacedPlane, shares: Float[Tensor, "3 y x"]) -> None:
        """Paint arteries and veins in the sulci, and the fine veins that drain white matter to the ventricles."""
        spacing, fluid = place.plane.spacing, shares[Tissue.FLUID]
        away = length(_distances(self._fields["vessels"].on(place.plane), spacing))
        tubes = canvas.inside(away - self.calibre * (0.25 + 0.6 * fluid)) * canvas.inside(place.hull + 0.5)
        venous = torch.sigmoid(6 * place.relief[2])
        canvas.paint(Tissue.BLOOD, tubes * (1 - venous))
        canvas.paint(Tissue.VEIN, tubes * venous)
        away = length(_distances(place.folds[2:], spacing))
        drains = canvas.inside(away - 0.25 * self.calibre) * canvas.inside(place.hull + 6) * shares[Tissue.WHITE]
        canvas.paint(Tissue.VEIN, 0.35 * drains * torch.sigmoid(3 * place.relief[0]))

    def _paint_lesions(self, canvas: HeadCanvas, place: PlacedPlane, shares: Float[Tensor, "3 y x"]) -> None:
        """Paint old spots in white matter, most of them near the ventricles, and the infarct."""
        solid = canvas.inside(place.hull) * (1 - shares[Tissue.FLUID])
        field = self._fields["spots"].on(place.plane)[0]
        spots = field + 0.35 * place.speckle[0]
        near = torch.exp(-((ellipsoid(place.brain, (0, -10, 12), (26, 46, 18)) / 14) ** 2))
        old = torch.sigmoid(7 * (spots - self.spot_threshold + 0.7 * near)) * solid * shares[Tissue.WHITE]
        canvas.paint(Tissue.GLIOSIS, old)
        if self.infarct is not None:
            struck = self.infarct.share(place.brain, place.relief[0], place.speckle[1], spots)
            canvas.paint(Tissue.LESION, struck * solid * (0.8 + 0.12 * place.speckle[2]).clamp(0, 1))


def _fanned(points: Float[Tensor, "3 y x"]) -> Float[Tensor, "3 y x"]:
    """Return coordinates that hardly change along the rays from each hemisphere's core to its surface."""
    x, y, z = points
    radial = torch.stack([x - torch.where(x > 0, 22.0, -22.0), 0.4 * (y + 18), 0.5 * (z - 8)])
    radius = length(radial)
    return points + radial * ((42 + 0.3 * radius) / radius.clamp(min=14) - 1)


def _distances(values: Float[Tensor, "channel y x"], spacing: tuple[float, float]) -> Float[Tensor, "channel y x"]:
    """Return about the distance in mm to where each field is 0: its value over its slope in the plane."""
    rows, columns = torch.gradient(values, spacing=list(spacing), dim=(1, 2))
    return values / (torch.hypot(rows, columns) + 0.03)
