"""What is written of a finished scan belongs to whom it should."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.datasets import Scans
from lightning_mri.io import Scan
from lightning_mri.io.formats.dicom.study import DicomStudy
from lightning_mri.io.formats.dicom.writer import Series, write_dicom
from lightning_mri.io.geometry import Place
from lightning_mri.training.finished import MAX_STEM_BYTES, all_planned, place_in, short_name, study_of


def test_an_image_that_was_cut_lies_where_its_voxels_do() -> None:
    """Pixel (y, x) = (20, 30) of 64 x 48 is (4, 36) of 32 x 61: the middles are (32, 24) and (16, 30)."""
    affine = torch.tensor([[0, -2.0, 0.5, 10], [1.5, 0, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]])
    scan = replace(Scan.from_array(np.ones((2, 1, 64, 48), np.complex64)), affine=affine)
    voxel, cut = torch.tensor([30.0, 20, 1, 1]), torch.tensor([36.0, 4, 1, 1])
    torch.testing.assert_close(place_in(scan, (32, 61)).affine @ cut, affine @ voxel)
    assert torch.equal(place_in(scan, (64, 48)).affine, affine)


def test_the_distance_of_slices_that_the_user_gives_is_written(tmp_path: Path) -> None:
    """Regression: NumPy and MATLAB files were written with 1 mm, whatever their slices were apart."""
    np.save(tmp_path / "a.npy", np.ones((4, 1, 5, 7), np.complex64))
    data = Scans(tmp_path, pixel_size=(2.0, 1.5), slice_spacing=6.5)
    data.setup()
    place = place_in(data.scans[0], (5, 7))
    assert place.affine[:3, :3].norm(dim=0).tolist() == [1.5, 2.0, 6.5]
    assert len(place.warnings) == 1  # of the orientation alone


def test_one_series_lends_its_identity_to_one_subject_alone(tmp_path: Path) -> None:
    """Regression: of a folder with two patients both got that of the first."""
    write_dicom(
        tmp_path / "in", [Series("head", torch.rand(1, 5, 7), "FLAIR", "")], Place(torch.eye(4)), DicomStudy(), "Ann"
    )
    source, kspace = tmp_path / "in" / "head", np.ones((5, 7), np.complex64)
    one, other = (
        replace(Scan.from_array(kspace, name=name, subject=name, subject_known=True), source=Path(f"{name}.h5"))
        for name in ("Ann", "Bob")
    )
    with pytest.raises(ValueError, match=r"in/head: source_dicom must be of the one subject .*: Ann, Bob"):
        study_of(source, [one, other])
    assert study_of(source, [one, replace(other, subject="Ann")]).attributes.PatientID == "Ann"
    unnamed = [replace(scan, subject_known=False, source=Path("P1") / scan.source) for scan in (one, other)]
    with pytest.raises(ValueError, match="2 subjects"):
        study_of(source, unnamed)
    assert study_of(None, [one, other]).attributes is None


def test_results_of_scans_whose_names_look_alike_lie_apart() -> None:
    """Regression: ``a_std`` and ``a_std~`` shared one file."""
    roots = ("a", "a~", "P1/a", "ä" * MAX_STEM_BYTES)
    names = [f"{root}{ending}" for root in roots for ending in ("", "_std", "_std~", "_dicom", "_view", "_std/b")]
    files = all_planned(Path(), names, ("hdf5", "nifti", "dicom"))
    assert len(set(files)) == len(files)
    assert not {*files} & {folder for path in files for folder in path.parents}
    assert max(len(part.encode()) for path in files for part in path.parts) < 255


def test_two_scans_whose_results_would_be_one_are_named() -> None:
    taken = short_name("a_std")
    with pytest.raises(ValueError, match=f"{taken}: .*got 'a_std' and '{taken}'"):
        all_planned(Path(), ["a_std", "b", taken], ("hdf5",))
