import re

import pytest
import torch

from lightning_mri.physics import (
    Acs,
    Equispaced,
    Gaussian1D,
    PoissonDisc,
    RandomUniform,
    achieved_acceleration,
    find_acs,
)

SHAPE = (38, 101)
LINES = [Equispaced, RandomUniform, Gaussian1D]


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("acceleration", [1, 2.5, 4, 8])
def test_lines_are_exactly_as_many_as_asked_for(kind, acceleration):
    # drawing with replacement once gave 11.5 for a nominal 8
    mask = kind(acceleration, 9).draw(SHAPE, 3)
    assert mask.shape == (1, *SHAPE)
    assert (mask == mask[:, :1]).all()
    assert int(mask[0, 0].sum()) == round(101 / acceleration)
    assert achieved_acceleration(mask) == pytest.approx(101 / round(101 / acceleration))


@pytest.mark.parametrize("kind", LINES)
def test_all_lines_may_be_central(kind):
    assert kind(1, 101).draw(SHAPE, 3).all()


@pytest.mark.parametrize("acceleration", [3, 6, 10])
def test_poisson_points_are_exactly_as_many_as_asked_for(acceleration):
    mask = PoissonDisc(acceleration, 12).draw((61, 70), 1)
    assert int(mask.sum()) == round(61 * 70 / acceleration)


@pytest.mark.parametrize("kind", [*LINES, PoissonDisc])
def test_centre_is_acquired_and_found(kind):
    mask = kind(5, 8).draw((60, 81), 4)
    acs = find_acs(mask)
    assert acs.crop(mask).all()
    assert mask[0, 30 - 4 : 30 + 4, 40 - 4 : 40 + 4].all()
    assert acs.shape[1] >= 8
    assert acs.shape[0] == 60 if kind is not PoissonDisc else acs.shape[0] >= 8


@pytest.mark.parametrize("kind", [*LINES, PoissonDisc])
def test_a_seed_gives_one_mask_and_another_seed_another(kind):
    first, same, other = (kind(4, 6).draw((40, 97), seed) for seed in (1, 1, 2))
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(first, same)
    assert torch.equal(first, kind(4, 6).draw((40, 97), generator))
    assert not torch.equal(first, other)


def test_equispaced_lines_are_equally_far_apart():
    lines = torch.nonzero(Equispaced(4, 0).draw((1, 100), 7)[0, 0]).flatten()
    assert (lines.diff() == 4).all()
    outer = torch.nonzero(Equispaced(4, 11).draw((1, 101), 7)[0, 0]).flatten()
    gaps = outer[outer < 45].diff()
    assert gaps.max() - gaps.min() <= 1


def test_gaussian_lines_are_denser_in_the_centre():
    lines = torch.stack([Gaussian1D(4, 0, width=0.15).draw((1, 101), seed)[0, 0] for seed in range(40)]).float().mean(0)
    assert lines[40:61].mean() > 3 * torch.cat([lines[:15], lines[-15:]]).mean()


def test_poisson_points_keep_their_distance():
    mask = PoissonDisc(8, 0, falloff=0, elliptical=False).draw((64, 64), 0)
    points = torch.nonzero(mask[0]).float()
    nearest = torch.cdist(points, points).fill_diagonal_(99).min(1).values
    random = torch.nonzero(torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) < 1 / 8).float()
    nearest_random = torch.cdist(random, random).fill_diagonal_(99).min(1).values
    assert nearest.min() >= 2 > nearest_random.min()


def test_poisson_leaves_the_corners_empty():
    assert not PoissonDisc(6, 4).draw((40, 60), 0)[0, :4, :4].any()


def test_acs_of_a_block_by_hand():
    mask = torch.zeros(1, 20, 15, dtype=torch.bool)
    mask[0, 5:16, 3:13] = True  # reaches 5 before and after the centre 10, and 4 before and 5 after the centre 7
    assert find_acs(mask) == Acs(slice(5, 16), slice(3, 12))


def test_acs_is_common_to_all_slices():
    masks = torch.stack([Equispaced(4, n).draw((10, 64), 1) for n in (10, 6)])
    assert find_acs(masks).shape == find_acs(masks[1]).shape


def test_limited_acs_is_a_long_readout():
    full = Acs(slice(0, 256), slice(100, 112))
    assert full.limited() == Acs(slice(104, 152), slice(100, 112))
    assert Acs(slice(0, 300), slice(0, 200)).limited().shape == (128, 32)
    assert Acs(slice(3, 27), slice(3, 27)).limited() == Acs(slice(3, 27), slice(3, 27))


@pytest.mark.parametrize(
    ("columns", "centre", "block"),
    [
        ([*range(0, 14, 3)], [3, 7], []),
        ([7], [], []),
        ([7, 9, 10, 11, 12], [], [4, 9, 12, 7]),
        ([*range(2, 7)], [3, 7], [5, 2, 6, 7]),
    ],
)
def test_what_a_mask_has_instead_of_a_block_is_said(columns, centre, block) -> None:
    """Regression: that the centre was not acquired, or a block lies elsewhere, was left to find out."""
    mask = torch.zeros(1, 7, 14, dtype=torch.bool)
    mask[..., columns] = True
    with pytest.raises(ValueError, match="for calibration") as refusal:
        find_acs(mask, 2)
    told = str(refusal.value).partition("got")[2]
    assert [int(number) for number in re.findall(r"\d+", told)] == [7, 14, *centre, *block]
    assert ("centre (3, 7) was not acquired" in told) == bool(centre)
