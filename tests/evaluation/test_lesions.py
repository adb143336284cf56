"""Lesions of a synthetic disc in grey: what is kept, missed and invented is known by construction."""

import pytest
import torch
from torch import Tensor

from lightning_mri.evaluation import LesionScores, lesion_scores

Y, X = torch.meshgrid(torch.arange(41), torch.arange(37), indexing="ij")


def disc(y: int, x: int, radius: float) -> Tensor:
    return ((Y - y) ** 2 + (X - x) ** 2 <= radius**2)[None]


SMALL, LARGE = disc(9, 10, 3), disc(28, 24, 5)
LESIONS = SMALL | LARGE
REFERENCE = 1.0 + LESIONS + 0.01 * ((Y + X) % 2)


def scored(image: Tensor) -> LesionScores:
    found = lesion_scores(image, REFERENCE, LESIONS)
    assert found is not None
    return found


def test_the_reference_itself_keeps_all_and_invents_nothing() -> None:
    found = scored(REFERENCE)
    assert (found.n_lesions, found.n_missed, found.n_invented, found.dice) == (2, 0, 0, 1)
    assert found.contrast_to_noise == pytest.approx(1 / 0.005, rel=0.03)  # the pattern's deviation is half its height


def test_a_lesion_that_is_gone_is_missed_and_dice_is_what_is_left() -> None:
    found = scored(torch.where(SMALL, 1.0, REFERENCE))
    n_small, n_large = int(SMALL.sum()), int(LARGE.sum())
    assert (found.n_lesions, found.n_missed) == (2, 1)
    assert found.dice == pytest.approx(2 * n_large / (2 * n_large + n_small))


def test_a_spot_far_from_lesions_is_invented_and_a_wider_lesion_is_not() -> None:
    invented = scored(REFERENCE + disc(32, 7, 2))
    assert (invented.n_invented, invented.dice) == (1, 1)
    assert scored(REFERENCE + disc(32, 7, 0)).n_invented == 0  # one pixel is noise
    wider = scored(torch.where(disc(28, 24, 6), 2.0, REFERENCE))
    assert (wider.n_invented, wider.n_missed) == (0, 0)
    assert wider.dice < 1


def test_a_lesion_that_lies_two_pixels_off_is_not_invented() -> None:
    """Two of its three rows lie outside of where it is known, whose neighbours are known alike."""
    square, moved = torch.zeros(2, 1, 41, 37, dtype=torch.bool)
    square[0, 5:8, 5:8] = moved[0, 8:10, 5:8] = True
    assert lesion_scores(1.0 + moved, 1.0 + square, square).n_invented == 0


def test_a_lesion_goes_on_across_corners_and_slices() -> None:
    mask = torch.zeros(2, 41, 37, dtype=torch.bool)
    mask[0, 5:8, 5:8] = mask[0, 8:10, 8:10] = mask[1, 10:12, 10:12] = True
    assert lesion_scores(1.0 + mask, 1.0 + mask, mask).n_lesions == 1


@pytest.mark.parametrize(("n_rows", "n_missed"), [(2, 1), (3, 0)])
def test_a_lesion_is_found_where_half_of_it_is_shown(n_rows: int, n_missed: int) -> None:
    mask = torch.zeros(1, 41, 37, dtype=torch.bool)
    mask[0, 5:10, 5:7] = True
    shown = mask.clone()
    shown[0, 5 + n_rows :] = False
    assert lesion_scores(1.0 + shown, 1.0 + mask, mask).n_missed == n_missed


def test_dark_lesions_count_alike_and_phase_does_not() -> None:
    dark = 3 - REFERENCE
    turned = torch.polar(dark.double(), 0.1 * X[None].double())
    found = lesion_scores(turned, dark, LESIONS)
    assert found.contrast_to_noise < 0
    assert (found.n_missed, found.n_invented, found.dice) == (0, 0, 1)


def test_without_a_lesion_there_is_no_score_and_shapes_must_agree() -> None:
    assert lesion_scores(REFERENCE, REFERENCE, LESIONS & False) is None
    with pytest.raises(ValueError, match=r"same shape: got \[\(1, 41, 37\), \(1, 41, 37\), \(1, 40, 37\)\]"):
        lesion_scores(REFERENCE, REFERENCE, LESIONS[:, 1:])
