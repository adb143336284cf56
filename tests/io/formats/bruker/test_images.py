"""ParaVision's reconstructed images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.io import read_scan
from lightning_mri.io.scan import MAGNITUDE_ONLY
from tests.builders import RNG, images_of
from tests.io.formats.bruker.studies import ORIENTATION, Value, write_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "s" / "1" / "pdata" / "1"


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", "|u1"])
def test_images_are_slope_times_number_plus_offset(folder: Path, dtype: str) -> None:
    frames = RNG.integers(0, 200, (4, 3, 5)).astype(dtype)
    slopes, offsets = np.array([0.5, 2, 3, 4]), np.array([0, 10, 20, 30])
    path = write_images(folder, frames, VisuCoreDataSlope=slopes, VisuCoreDataOffs=offsets)
    expected = (frames * slopes[:, None, None] + offsets[:, None, None]).transpose(0, 2, 1)
    assert images_of(path) == pytest.approx(expected, rel=1e-4, abs=1e-3)
    scan = read_scan(path)
    assert scan.magnitude_only
    assert scan.warnings[0] == MAGNITUDE_ONLY
    assert scan.name == "s_1_1"
    assert scan.pixel_size == (2, 2)


def test_a_pixel_of_an_image_lies_where_visu_pars_says(folder: Path) -> None:
    path = write_images(folder, np.ones((3, 3, 5), "<i2"), VisuCoreExtent=[10.0, 9.0])
    scan = read_scan(path)
    # first pixel: L 3, P -5, S 4; frame x goes to P by 2 mm, frame y to the feet by 3 mm, slices to R by 0.8 mm
    lps = {(0, 0, 0): (3, -5, 4), (0, 4, 0): (3, 3, 4), (2, 0, 0): (3, -5, -2), (0, 0, 2): (1.4, -5, 4)}
    for (x, y, slice_), (left, back, up) in lps.items():
        found = scan.affine @ torch.tensor([x, y, slice_, 1.0])
        assert found[:3].tolist() == pytest.approx([-left, -back, up], abs=1e-5)
    assert scan.pixel_size == (2, 3)
    assert scan.slice_spacing == pytest.approx(0.8)
    assert any("Head_Prone" in warning for warning in scan.warnings)


def test_frames_that_are_read_along_y_are_not_turned(folder: Path) -> None:
    frames = RNG.integers(0, 200, (2, 3, 5)).astype("<i2")
    changes = {"VisuAcqGradEncoding": ["phase_enc", "read_enc"], "VisuCoreExtent": [10.0, 9.0]}
    path = write_images(folder, frames, **changes)
    assert images_of(path) == pytest.approx(frames, abs=1e-3)
    scan = read_scan(path)
    assert scan.pixel_size == (3, 2)
    assert (scan.affine @ torch.tensor([4.0, 0, 0, 1]))[:3].tolist() == pytest.approx([-3, -3, 4])


def test_echoes_before_slices_become_volumes_and_parts_become_complex(folder: Path) -> None:
    frames = RNG.integers(-99, 99, (2, 4, 3, 5, 7)).astype("<i2")  # part, slice, echo, y, x
    path = write_images(
        folder,
        frames.reshape(24, 5, 7),
        VisuFGOrderDesc="(3, <FG_ECHO>, <>, 0, 1) (4, <FG_SLICE>, <>, 1, 2) (2, <FG_COMPLEX>, <>, 3, 1)",
        VisuCoreFrameType=["REAL_IMAGE", "IMAGINARY_IMAGE"],
        VisuCorePosition=np.array([[0.5 * i, 0, 0] for i in range(4)]),
        VisuCoreOrientation=np.array([ORIENTATION] * 4),
    )
    scan = read_scan(path)
    assert scan.n_volumes == 3
    assert not scan.magnitude_only
    expected = (frames[0] + 1j * frames[1]).transpose(1, 0, 3, 2).reshape(12, 7, 5)
    assert images_of(path) == pytest.approx(expected, abs=1e-3)


def test_a_3d_frame_is_a_stack_of_slices(folder: Path) -> None:
    frames = RNG.integers(0, 200, (4, 3, 5)).astype("<i2")  # z, y, x
    path = write_images(
        folder,
        frames,
        VisuCoreDim=3,
        VisuCoreDimDesc=["spatial"] * 3,
        VisuCoreSize=[5, 3, 4],
        VisuCoreExtent=[10.0, 6.0, 2.0],
        VisuFGOrderDesc="(1, <FG_CYCLE>, <>, 0, 0)",
        VisuCoreOrientation=np.array([ORIENTATION]),
        VisuCorePosition=np.array([[3.0, -5.0, 4.0]]),
    )
    scan = read_scan(path)
    assert images_of(path) == pytest.approx(frames.transpose(0, 2, 1), abs=1e-3)
    assert (scan.n_volumes, scan.slice_spacing) == (1, 0.5)
    assert (scan.affine @ torch.tensor([0.0, 0, 3, 1]))[:3].tolist() == pytest.approx([-1.5, 5, 4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"VisuCoreDimDesc": ["spectroscopic", "spatial"]}, "VisuCoreDimDesc must be spatial"),
        ({"VisuCoreFrameType": "PHASE_IMAGE"}, "VisuCoreFrameType must be magnitude"),
        ({"VisuFGOrderDesc": "(2, <FG_ISA>, <fit>, 0, 2)"}, "VisuFGOrderDesc must hold images, no maps"),
        ({"VisuCoreSize": [500000, 500000]}, "2dseq: images must hold"),
        ({"VisuCoreDataSlope": [1.0, 2.0, 3.0]}, "VisuCoreDataSlope must hold 1 or 2 numbers"),
        ({"VisuCoreTransposition": [1, 1]}, "VisuCoreTransposition must be 0"),
        ({"VisuCoreWordType": "_64BIT"}, "VisuCoreWordType must be one of"),
    ],
)
def test_what_is_no_image_is_refused(folder: Path, changes: dict[str, Value], message: str) -> None:
    path = write_images(folder, np.ones((2, 3, 5), "<i2"), **changes)
    with pytest.raises((ValueError, OSError), match=message):
        read_scan(path)
