"""Painting and solids, by hand."""

import pytest
import torch

from lightning_mri.phantoms.canvas import HeadCanvas, capsule, ellipsoid
from lightning_mri.phantoms.tissues import Tissue


def at(*points: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(points, dtype=torch.float32).T[:, :, None]


def test_a_layer_covers_what_was_painted_before() -> None:
    canvas = HeadCanvas((2, 3), softness=0.1)
    canvas.paint(Tissue.FAT, torch.full((2, 3), 0.8))
    canvas.paint(Tissue.BONE, torch.full((2, 3), 0.5))
    assert float(canvas.fractions[Tissue.FAT, 1, 2]) == pytest.approx(0.4)
    assert float(canvas.fractions[Tissue.BONE, 1, 2]) == pytest.approx(0.5)
    canvas.paint(None, torch.ones(2, 3))
    assert float(canvas.fractions.abs().max()) == 0


def test_a_surface_halves_a_point_and_is_soft_around_it() -> None:
    share = HeadCanvas((1, 3), softness=0.5).inside(torch.tensor([[-5.0, 0.0, 5.0]]))
    torch.testing.assert_close(share, torch.tensor([[1.0, 0.5, 0.0]]), atol=1e-4, rtol=0)


def test_a_sphere_is_at_its_distance_on_both_sides() -> None:
    distance = ellipsoid(at((13, 0, 0), (-13, 0, 0), (10, 0, 5)), (10, 0, 0), (2, 2, 2))
    assert distance[:, 0].tolist() == pytest.approx([1, 1, 3])


def test_a_capsule_measures_to_its_axis_and_beyond_its_ends_to_the_end() -> None:
    distance = capsule(at((3, 5, 4), (0, -3, 4), (0, 13, 4)), (0, 0, 0), (0, 10, 0))
    assert distance[:, 0].tolist() == pytest.approx([5, 5, 5])
