"""Named vessels lie where anatomists put them."""

import torch

from lightning_mri.phantoms.canvas import HeadCanvas
from lightning_mri.phantoms.tissues import Tissue
from lightning_mri.phantoms.vessels import VESSELS, paint_vessels


def sagittal(x: float, step: float = 0.5) -> torch.Tensor:
    """Points of a sagittal plane; rows run down from z = 40, columns to the back from y = 60."""
    z, y = torch.meshgrid(40 - step * torch.arange(260.0), 60 - step * torch.arange(330.0), indexing="ij")
    return torch.stack([torch.full_like(z, x), y, z])


def painted(points: torch.Tensor, calibre: float = 1.0) -> torch.Tensor:
    canvas = HeadCanvas((points.shape[1], points.shape[2]), softness=0.1)
    paint_vessels(canvas, points, torch.ones(points.shape[1:]), calibre)
    return canvas.fractions


def test_the_midline_shows_the_basilar_artery_and_the_straight_sinus() -> None:
    points = sagittal(0.0)
    fractions = painted(points)
    for place, tissue in (((-18, -38), Tissue.BLOOD), ((-64, 1), Tissue.VEIN)):
        nearest = (points[1:] - torch.tensor(place)[:, None, None]).square().sum(0).argmin()
        assert fractions[tissue].flatten()[nearest] > 0.9


def test_a_tube_cut_across_has_the_area_of_its_radius() -> None:
    vessel = VESSELS[0]  # vertebral arteries join to the basilar, which runs up
    y, x = torch.meshgrid(torch.arange(-30.0, 0, 0.25), torch.arange(-9.0, 9, 0.25), indexing="ij")
    points = torch.stack([x, y, torch.full_like(x, -38.0)])
    area = float(painted(points)[Tissue.BLOOD][x.abs() < 5].sum()) * 0.25**2
    slant = (28**2 + 8**2) ** 0.5 / 28
    assert abs(area / (3.1416 * vessel.radius**2 * slant) - 1) < 0.05


def test_a_wider_calibre_holds_more_blood_and_no_vessel_leaves_its_bounds() -> None:
    points = sagittal(1.0)
    narrow, wide = (painted(points, calibre)[Tissue.BLOOD].sum() for calibre in (0.8, 1.4))
    assert wide > 1.5 * narrow
    assert painted(sagittal(80.0)).sum() == 0
