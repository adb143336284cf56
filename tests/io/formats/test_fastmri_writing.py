"""What is written in fastMRI's layout, fastMRI's own loader and `read_scan` read."""

from pathlib import Path

import fastmri.data
import fastmri.data.transforms
import numpy as np
import pytest
import torch

from lightning_mri.io import read_scan, write_fastmri
from lightning_mri.tensors import complex_noise


def test_a_training_scan_is_read_back(tmp_path: Path) -> None:
    kspace = complex_noise((2, 3, 12, 7))
    write_fastmri(
        tmp_path / "scan.h5",
        kspace,
        contrast="T1w-post",
        subject="Ann & <Bob>",
        pixel_size=(0.5, 0.75),
        reconstruction_size=(6, 5),
        field_strength=1.5,
    )
    scan = read_scan(tmp_path / "scan.h5")
    assert scan.kspace[:].equal(kspace)
    assert (scan.contrast, scan.subject, scan.field_strength) == ("T1w-post", "Ann & <Bob>", 1.5)
    assert (scan.reconstruction_size, scan.pixel_size) == ((6, 5), (0.5, 0.75))
    assert scan.warnings == ()
    assert scan.stored_mask is None


def test_the_reference_is_fastmri_s_own_root_sum_of_squares(tmp_path: Path) -> None:
    kspace = complex_noise((2, 3, 12, 8))
    write_fastmri(tmp_path / "scan.h5", kspace, contrast="PD", subject="s", reconstruction_size=(6, 4))
    theirs = fastmri.rss(fastmri.complex_abs(fastmri.ifft2c(torch.view_as_real(kspace))), dim=1)
    reference = read_scan(tmp_path / "scan.h5").reference
    torch.testing.assert_close(reference[:], fastmri.data.transforms.center_crop(theirs, (6, 4)))


@pytest.mark.parametrize("masked", [False, True])
def test_slice_dataset_accepts_it(tmp_path: Path, masked: bool) -> None:
    kspace = complex_noise((2, 3, 12, 8))
    mask = torch.tensor([0, 1, 0, 1, 1, 1, 0, 0], dtype=torch.bool).expand(1, 12, 8) if masked else None
    measured = kspace if mask is None else kspace * mask
    write_fastmri(tmp_path / "scan.h5", measured, contrast="T2w", subject="s", mask=mask)
    dataset = fastmri.data.SliceDataset(tmp_path, challenge="multicoil")
    assert len(dataset) == 2
    k, stored, target, attributes, name, index = dataset[1]
    assert np.array_equal(k, measured[1].numpy())
    assert attributes["acquisition"] == "AXT2"
    assert (attributes["padding_left"], attributes["padding_right"]) == (0, 8)
    assert (name, index) == ("scan.h5", 1)
    if masked:
        assert target is None
        assert stored.tolist() == [0, 1, 0, 1, 1, 1, 0, 0]
    else:
        assert stored is None
        assert attributes["max"] >= target.max()


@pytest.mark.parametrize("shape", [(1, 12, 7), (2, 12, 7), (1, 1, 7), (2, 1, 7)])
def test_masks_are_read_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    mask = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5).expand(-1, 12, 7)
    k = complex_noise((2, 2, 12, 7)) * mask[:, None]
    write_fastmri(tmp_path / "scan.h5", k, contrast="PD", subject="s", mask=mask)
    assert read_scan(tmp_path / "scan.h5").mask.equal(mask)


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        ({"reconstruction_size": (12, 8)}, "reconstruction_size must not exceed the matrix of k-space"),
        ({"mask": torch.ones(3, 12, 7, dtype=torch.bool)}, r"scan.h5: mask must have the shape \[1, 12, 7\] or \[2, 1"),
        ({"noise_covariance": torch.eye(3) + 0j}, r"scan.h5: noise_covariance must have the shape \[2, 2\]"),
        ({"pixel_size": (0.0, 1.0)}, "scan.h5: the header encodedSpace/fieldOfView_mm must hold two numbers above 0"),
        ({"subject": "a\x01b"}, "scan.h5: the header must be XML"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, said: dict, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        write_fastmri(tmp_path / "scan.h5", complex_noise((2, 2, 12, 7)), **{"contrast": "PD", "subject": "s", **said})
    assert list(tmp_path.iterdir()) == []
