"""What lies below and before the brain of a head: neck, face and eyes."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.phantoms.canvas import HeadCanvas, PlacedPlane, capsule, ellipsoid
from lightning_mri.phantoms.fields import SmoothField
from lightning_mri.phantoms.tissues import Tissue

# nose, sphenoid, maxillary and frontal sinus, mastoid cells
CAVITIES = (
    ((0, 52, -52), (12, 30, 26)),
    ((8, 22, -36), (8, 11, 9)),
    ((30, 52, -64), (14, 15, 15)),
    ((12, 70, -6), (13, 5, 9)),
    ((52, -28, -38), (10, 14, 12)),
)


def paint_neck(canvas: HeadCanvas, place: PlacedPlane, surface: Float[Tensor, "y x"], bundles: SmoothField) -> None:
    """Paint fat between muscles, vertebrae with their discs, spinal cord, airway and jaw."""
    x, y, z = place.head
    inside = canvas.inside(surface + 5)
    below = torch.sigmoid((-62 - z) / 2)
    # bundles of muscle run down the neck, with thin sheets of fat between them
    muscles = bundles(place.head * torch.tensor([1.0, 1.0, 0.3])[:, None, None])[:2]
    sheets = torch.sigmoid(10 * (0.1 - (muscles + 0.12 * place.strands).abs())).amax(0)
    neck = inside * torch.sigmoid((-50 - z) / 4)
    canvas.paint(Tissue.MUSCLE, 0.85 * neck)
    canvas.paint(Tissue.FAT, 0.8 * sheets * neck)
    canvas.paint(Tissue.MUSCLE, canvas.inside(ellipsoid(place.head, (0, 36, -86), (20, 30, 17))) * inside)  # tongue
    along = (z / 17 + 0.2).remainder(1.0)
    bodies = torch.hypot(x, y + 20 + 0.1 * (z + 70)) - 9
    canvas.paint(Tissue.BONE, canvas.inside(bodies - 1) * below * inside)
    canvas.paint(Tissue.MARROW, canvas.inside(bodies) * below * inside)
    canvas.paint(Tissue.MUSCLE, canvas.inside(bodies) * below * torch.sigmoid(30 * ((along - 0.5).abs() - 0.36)))
    canal = capsule(place.head, (0, -36, -62), (0, -44, -160))
    for tissue, radius in ((Tissue.BONE, 11), (Tissue.FLUID, 8.5), (Tissue.WHITE, 5.5)):
        canvas.paint(tissue, canvas.inside(canal - radius) * inside)
    airway = capsule(place.head, (0, 6, -62), (0, 0, -160)) - 7 + 1.5 * place.strands[0]
    canvas.paint(Tissue.MUCOSA, canvas.inside(airway - 1.5) * inside)
    canvas.paint(None, canvas.inside(airway) * inside)
    jaw = capsule(place.head, (42, 18, -75), (8, 72, -100)) - 6
    for tissue, inset in ((Tissue.BONE, 0.0), (Tissue.MARROW, 2.0)):
        canvas.paint(tissue, canvas.inside(jaw + inset) * inside)


def paint_face(canvas: HeadCanvas, place: PlacedPlane, surface: Float[Tensor, "y x"]) -> None:
    """Paint the bone of the face, and the nose and sinuses with their lining."""
    points, strands = place.head, place.strands
    outside = canvas.inside(1.5 - place.hull) * canvas.inside(surface + 3)
    middle = ellipsoid(points, (0, 44, -58), (34, 34, 40)) + 3 * strands[1]
    canvas.paint(Tissue.BONE, canvas.inside(middle) * outside * 0.7)
    for centre, radii in CAVITIES:
        cavity = ellipsoid(points, centre, radii) + 2 * strands[0]
        canvas.paint(Tissue.MUCOSA, canvas.inside(cavity - 1.5) * outside)
        canvas.paint(None, canvas.inside(cavity) * outside)
    septa = torch.sigmoid(4 * (0.35 - strands[1].abs()))
    canvas.paint(Tissue.MUCOSA, canvas.inside(ellipsoid(points, (0, 48, -48), (11, 26, 20))) * septa * outside)


def paint_eyes(canvas: HeadCanvas, place: PlacedPlane, surface: Float[Tensor, "y x"], brow: float) -> None:
    """Paint the orbits' fat, the eyes' muscles, the optic nerves and the globes with their lenses."""
    points, y = place.head, 58 + 0.5 * brow
    outside = canvas.inside(1.5 - place.hull) * canvas.inside(surface + 3)
    cone = capsule(points, (31, y - 8, -36), (18, 28, -32)) - 10
    orbit = torch.minimum(ellipsoid(points, (31, y - 4, -36), (17, 17, 16)), cone)
    canvas.paint(Tissue.FAT, canvas.inside(orbit) * outside)
    for start in ((40, y - 4, -36), (21, y - 4, -36), (31, y - 6, -26), (31, y - 6, -47)):
        canvas.paint(Tissue.MUSCLE, canvas.inside(capsule(points, start, (19, 30, -33)) - 1.8) * outside)
    nerve = capsule(points, (31, y - 11, -36), (9, 14, -24)) - 1.8
    canvas.paint(Tissue.WHITE, canvas.inside(nerve) * outside)
    globe = capsule(points, (31, y, -36), (31, y + 0.1, -36))
    canvas.paint(Tissue.MUSCLE, canvas.inside(globe - 12.5))
    canvas.paint(Tissue.VITREOUS, canvas.inside(globe - 11.5))
    canvas.paint(Tissue.MUSCLE, canvas.inside(ellipsoid(points, (31, y + 8, -36), (4.5, 2.2, 4.5))))
