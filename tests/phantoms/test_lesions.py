"""Infarcts keep to their territory, their side and their size."""

import math

import numpy as np
import pytest
import torch

from lightning_mri.phantoms.lesions import TERRITORIES, Infarct

FAR = 200.0


def axial(z: float = 10.0) -> torch.Tensor:
    """Points 1 mm apart."""
    y, x = torch.meshgrid(torch.arange(-110.0, 80), torch.arange(-75.0, 76), indexing="ij")
    return torch.stack([x, y, torch.full_like(x, z)])


def struck(infarct: Infarct, points: torch.Tensor, peaks: float = 5.0) -> torch.Tensor:
    calm = torch.zeros(points.shape[1:])
    return infarct.share(points, calm, calm, calm + peaks)


def test_a_wedge_of_30_degrees_covers_its_angle_and_nothing_near_its_stem() -> None:
    infarct = Infarct(1, (20.0, -10.0, 10.0), (1.0, 0.0, 0.0), math.radians(30), near=15, far=40)
    share = struck(infarct, axial())
    sector = math.radians(60) / 2 * (40**2 - 15**2)
    assert float(share.sum()) == pytest.approx(sector, rel=0.06)
    assert share[100, 75 + 50] > 0.99  # (50, -10): 30 mm along the axis
    assert share[100, 75 + 25] < 0.01  # within 15 mm of the stem
    assert share[100 + 25, 75 + 45] < 0.01  # 45 degrees off


@pytest.mark.parametrize("side", [1, -1])
def test_an_infarct_stays_on_its_side(side: int) -> None:
    infarct = Infarct(side, (5.0, 6.0, 16.0), (0.1, 1.0, 0.3), math.radians(55), near=0, far=FAR)
    points = axial(20.0)
    share = struck(infarct, points)
    assert share[side * points[0] > 3].sum() > 100
    assert share[side * points[0] < -6].max() < 1e-3


def test_a_lacune_is_a_ball() -> None:
    infarct = Infarct(-1, (20.0, 0.0, 10.0), (1.0, 0.0, 0.0), math.pi, near=-1, far=6)
    share = struck(infarct, axial())
    assert float(share.sum()) == pytest.approx(math.pi * 6**2, rel=0.05)


def test_a_broken_clot_strikes_only_peaks() -> None:
    whole = Infarct(1, (20.0, -10.0, 10.0), (1.0, 0.0, 0.0), 0.5, near=5, far=FAR)
    scattered = Infarct(1, (20.0, -10.0, 10.0), (1.0, 0.0, 0.0), 0.5, near=5, far=FAR, scattered=True)
    assert struck(scattered, axial(), peaks=0.0).sum() < 0.01 * struck(whole, axial()).sum()
    torch.testing.assert_close(struck(scattered, axial(), peaks=5.0), struck(whole, axial()))


def test_drawn_infarcts_are_of_all_kinds_and_most_lie_in_the_middle_cerebral_territory() -> None:
    drawn = [Infarct.draw(np.random.default_rng(seed)) for seed in range(300)]
    wedges = [one for one in drawn if one.half_angle < math.pi]
    assert 0.17 < 1 - len(wedges) / 300 < 0.33
    assert 0.4 < np.mean([one.apex == TERRITORIES[0].apex for one in wedges]) < 0.7
    assert {one.side for one in drawn} == {-1, 1}
    assert all(math.hypot(*one.direction) == pytest.approx(1) for one in wedges)
