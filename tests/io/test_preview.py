"""The preview shows slices side by side, the uncertainty below."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_mri.io import write_preview
from lightning_mri.io.preview import GAP, spread


def test_slices_stand_side_by_side_in_one_window(tmp_path: Path) -> None:
    images = torch.zeros(3, 20, 30)
    images[:, 10:] = torch.tensor([0.5, 1.0, 1.0])[:, None, None]
    write_preview(tmp_path / "scan.png", images, std=images / 20)
    picture = np.asarray(Image.open(tmp_path / "scan.png"))
    assert picture.shape == (2 * 20 + GAP, 3 * 30 + 2 * GAP)
    assert picture[15, 0] == 127
    assert picture[15, 40] == 255
    assert picture[5, 0] == 0
    assert picture[20 + GAP + 15, 40] == 127


@pytest.mark.parametrize(("std", "gain"), [(0.01, 10), (0.05, 10), (0.15, 5), (0.3, 2), (0.9, 1), (3.0, 1)])
def test_a_large_uncertainty_is_not_drawn_all_white(tmp_path: Path, std: float, gain: int) -> None:
    """A low-field scan has a std of a quarter of its signal: ten times that would be a white square."""
    images = torch.ones(1, 20, 30)
    write_preview(tmp_path / "scan.png", images, std=std * images)
    picture = Image.open(tmp_path / "scan.png")
    assert picture.text["Description"] == f"below: standard deviation x {gain}"
    assert np.asarray(picture)[30, 10] == int(255 * min(gain * std, 1))


def test_an_empty_image_is_black(tmp_path: Path) -> None:
    write_preview(tmp_path / "scan.png", torch.zeros(1, 5, 7))
    assert not np.asarray(Image.open(tmp_path / "scan.png")).any()


@pytest.mark.parametrize(("n", "wanted", "slices"), [(1, 4, [0]), (9, 1, [4]), (8, 4, [1, 3, 5, 7])])
def test_slices_are_spread_over_the_scan(n: int, wanted: int, slices: list[int]) -> None:
    assert spread(n, wanted) == slices
