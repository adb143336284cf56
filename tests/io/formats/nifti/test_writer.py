"""What is written is what nibabel and this package's reader read, at the place it came from."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from lightning_mri.io import read_scan
from lightning_mri.io.formats.nifti.writer import write_nifti
from lightning_mri.io.geometry import Place
from lightning_mri.io.scan import ImageArray

OBLIQUE = torch.tensor([[1.2, -1.2, 0.0, 10.0], [0.9, 1.6, 0.0, -20.0], [0.0, 0.0, 4.0, 30.0], [0, 0, 0, 1]])
"""Pixels of 2 mm (y) and 1.5 mm (x), turned in the plane by atan(3/4); slices 4 mm apart."""


def test_a_voxel_lies_where_it_did(tmp_path: Path) -> None:
    images = torch.rand(4, 5, 7)
    write_nifti(tmp_path / "scan.nii.gz", images, Place(OBLIQUE), description="é" * 90)
    read = nibabel.load(tmp_path / "scan.nii.gz")
    assert read.get_fdata(dtype=np.float32)[6, 3, 2] == images[2, 3, 6]
    # 10 + 6 * 1.2 - 3 * 1.2, -20 + 6 * 0.9 + 3 * 1.6, 30 + 2 * 4
    np.testing.assert_allclose((read.affine @ [6, 3, 2, 1])[:3], [13.6, -9.8, 38], rtol=1e-6)
    np.testing.assert_allclose(read.get_qform(), read.affine, atol=1e-5)
    np.testing.assert_allclose(read.header.get_zooms(), [1.5, 2, 4], rtol=1e-6)
    assert (int(read.header["sform_code"]), read.header.get_xyzt_units()[0]) == (1, "mm")
    scan = read_scan(tmp_path / "scan.nii.gz")
    assert isinstance(scan.kspace, ImageArray)
    assert scan.kspace.images[:].equal(images)
    torch.testing.assert_close(scan.affine, OBLIQUE)


def test_volumes_become_the_fourth_axis(tmp_path: Path) -> None:
    images = torch.rand(6, 5, 7)
    write_nifti(tmp_path / "scan.nii.gz", images, Place(OBLIQUE, False), n_volumes=3)
    read = nibabel.load(tmp_path / "scan.nii.gz")
    assert read.shape == (7, 5, 2, 3)
    assert read.get_fdata(dtype=np.float32)[4, 1, 1, 2] == images[5, 1, 4]
    assert int(read.header["sform_code"]) == 2


def test_equal_images_give_equal_files(tmp_path: Path) -> None:
    images = torch.rand(2, 5, 7)
    for name in "ab":
        write_nifti(tmp_path / f"{name}.nii.gz", images, Place(OBLIQUE))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_volumes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n_volumes must divide the number of slices: got 2 and 3"):
        write_nifti(tmp_path / "scan.nii.gz", torch.rand(3, 5, 7), Place(OBLIQUE), n_volumes=2)
    assert not list(tmp_path.iterdir())
