"""What is painted covers what was painted before, pixel by pixel."""

import math

import pytest
import torch

from lightning_mri.phantoms.mouse_atlas import Body, Levels, MouseTissue
from lightning_mri.phantoms.mouse_canvas import MouseCanvas

SPACING = 0.05


def canvas(z: float = 0.0) -> MouseCanvas:
    y, x = torch.meshgrid(torch.arange(-40, 41) * SPACING, torch.arange(-60, 61) * SPACING, indexing="ij")
    return MouseCanvas(torch.stack([x, y, torch.full_like(x, z)]), SPACING)


def body(tissue: MouseTissue | None, x: float, strength: float = 1.0) -> Body:
    return Body("ball", tissue, Levels(((-1.0, x, 0.2, 0.8, 0.5, 0.0), (1.0, x, 0.2, 0.8, 0.5, 0.0))), strength)


@pytest.mark.parametrize(("x", "n_bodies"), [(0.0, 1), (1.5, 2)])
def test_a_body_has_the_area_of_its_ellipses(x: float, n_bodies: int) -> None:
    part = canvas()
    part.paint_body(body(MouseTissue.CORTEX, x))
    area = float(part.fractions[MouseTissue.CORTEX].sum()) * SPACING**2
    assert area == pytest.approx(n_bodies * math.pi * 0.8 * 0.5, rel=0.01)


def test_a_body_beyond_its_ends_is_not_painted() -> None:
    part = canvas(z=1.5)
    part.paint_body(body(MouseTissue.CORTEX, 0))
    assert not part.fractions.any()


def test_a_vessel_takes_its_share_of_what_was_there() -> None:
    part = canvas()
    part.paint(MouseTissue.CORTEX, torch.ones_like(part.x))
    part.paint_body(body(None, 0, strength=0.75))
    assert part.fractions[MouseTissue.CORTEX, 44, 60] == pytest.approx(0.25)
    assert part.fractions[MouseTissue.CORTEX, 0, 0] == 1


def test_depth_is_the_distance_from_the_edge_in_mm() -> None:
    part = canvas()
    depth = part.depth((part.x.abs() < 1.025).float())
    assert float(depth[40, 60]) == pytest.approx(1.05, abs=0.05)
    assert float(depth[40, 100]) == pytest.approx(-1.0, abs=0.05)
