"""Images get the identity of a series only if they are of the same scan: the worst fault is another patient's."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from torch import Tensor

from lightning_mri.io import Scan
from lightning_mri.io.formats.dicom.study import DicomStudy
from lightning_mri.io.formats.nifti.writer import write_nifti
from lightning_mri.io.geometry import Place
from tests.io.formats.dicom.series import IMAGES, OBLIQUE, write


def scan_of(affine: Tensor | None = OBLIQUE, shape: tuple[int, ...] = (4, 5, 7), **known: Any) -> Scan:
    """Return a scan like the source, which names no patient."""
    kspace = np.ones((shape[0], 1, *shape[1:]), np.complex64)
    scan = Scan.from_array(kspace, name="P-8", **{"pixel_size": (2.0, 1.5), **known})
    return replace(scan, affine=affine, source=Path("a.h5"))


def shifted(x: float = 0.0, slices: float = 0.0) -> Tensor:
    moved = OBLIQUE.clone()
    moved[:, 3] += slices * moved[:, 2]
    moved[0, 3] += x
    return moved


@pytest.fixture
def slice_alone(source: Path, tmp_path: Path) -> Path:
    """The third slice of the source, without the others."""
    (tmp_path / "alone").mkdir()
    return Path(shutil.copy(source / "0003.dcm", tmp_path / "alone"))


def change(folder: Path, name: str, of: Callable[[int], Any]) -> None:
    for index, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        setattr(dataset, name, of(index))
        dataset.save_as(path)


def test_patient_study_and_frame_of_reference_are_taken_over(tmp_path: Path, source: Path) -> None:
    for given in (source, source / "0002.dcm"):
        f = write(tmp_path / "out", study=DicomStudy.of(given))[0]
        assert (str(f.PatientName), f.PatientID, f.PatientBirthDate) == ("Müller^Ann", "P-7", "19700101")
        assert (f.FrameOfReferenceUID, f.StudyInstanceUID, f.AccessionNumber) == ("1.2.3", "1.2.4", "A1")
        assert f.EchoTime == 90
        assert f.SeriesInstanceUID != pydicom.dcmread(source / "0002.dcm").SeriesInstanceUID


def test_a_patient_without_identity_does_not_get_that_of_the_scan(tmp_path: Path, source: Path) -> None:
    """Regression: one study then had images of two patients, the nameless one and one named after the scan's file."""
    for path in source.iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.PatientID, dataset.PatientName
        dataset.save_as(path)
    f = write(tmp_path / "out", study=DicomStudy.of(source))[0]
    assert (f.StudyInstanceUID, f.PatientID or "", f.PatientName or "") == ("1.2.4", "", "")


def test_an_assumed_place_is_not_in_the_source_s_frame_of_reference(tmp_path: Path, source: Path) -> None:
    f = write(tmp_path / "out", place=Place(OBLIQUE, is_known=False), study=DicomStudy.of(source))[0]
    assert f.StudyInstanceUID == "1.2.4"
    assert f.FrameOfReferenceUID != "1.2.3"
    assert "SourceImageSequence" not in f


def test_each_image_names_the_one_of_its_place_as_its_source(tmp_path: Path, source: Path, slice_alone: Path) -> None:
    down = OBLIQUE @ torch.diag(torch.tensor([1.0, 1, -1, 1]))
    down[:, 3] += 3 * OBLIQUE[:, 2]
    instances = [pydicom.dcmread(path).SOPInstanceUID for path in sorted(source.iterdir())]
    for given, place, expected in (
        (source, OBLIQUE, instances),
        (source, down, instances[::-1]),
        (slice_alone, OBLIQUE, [None, None, instances[2], None]),
    ):
        written = write(tmp_path / "out", place=Place(place), study=DicomStudy.of(given))
        found = [f.get("SourceImageSequence") for f in written]
        assert [each and [item.ReferencedSOPInstanceUID for item in each] for each in found] == [
            each and [each] for each in expected
        ]


def test_a_source_whose_axes_run_otherwise_is_the_same_volume(source: Path) -> None:
    """Readout along the columns and slices from the head down, where the scanner's own series counts otherwise."""
    flip = torch.tensor([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1]])
    study = DicomStudy.of(source)
    study.check(scan_of(OBLIQUE @ flip, (4, 7, 5), pixel_size=(1.5, 2.0)))
    with pytest.raises(ValueError, match=r"a.h5: source_dicom must have the matrix \(7, 5\): got \(5, 7\)"):
        study.check(scan_of(OBLIQUE @ flip, pixel_size=(1.5, 2.0)))
    with pytest.raises(ValueError, match=r"a.h5: source_dicom must have pixels of 1.5 x 2 mm: got 2 x 1.5 mm"):
        study.check(scan_of(OBLIQUE @ flip, (4, 7, 5)))


@pytest.mark.parametrize(
    ("scan", "rule"),
    [
        (scan_of(shifted(0.7)), None),
        (scan_of(shape=(4, 7, 5)), r"matrix \(7, 5\): got \(5, 7\)"),
        (scan_of(shape=(3, 5, 7)), "have 3 slices: got 4"),
        (scan_of(n_volumes=2), "have 2 volumes: got 1"),
        (scan_of(shifted(1.6)), "lie where the scan does: got 1.6 mm apart"),
        (scan_of(OBLIQUE[[0, 2, 1, 3]]), "lie where the scan does"),  # coronal slices
        (scan_of(OBLIQUE @ torch.diag(torch.tensor([1, 1, 1.25, 1]))), "got 3 mm apart"),  # of 5 mm instead of 4 mm
        (scan_of(None), None),
        (scan_of(None, pixel_size=None), None),
        (scan_of(None, slice_spacing=3.0), None),  # fastMRI's is the thickness of the slices, without their gap
        (scan_of(None, pixel_size=(2.04, 1.46)), None),
        (scan_of(None, pixel_size=(1.5, 2.0)), "have pixels of 1.5 x 2 mm: got 2 x 1.5 mm"),
        (scan_of(None, pixel_size=(2.0, 1.4)), "have pixels of 2 x 1.4 mm: got 2 x 1.5 mm"),
        (scan_of(None, (3, 5, 7)), "have 3 slices: got 4"),
    ],
)
def test_a_source_of_something_else_is_refused(source: Path, scan: Scan, rule: str | None) -> None:
    study = DicomStudy.of(source)
    if rule is None:
        study.check(scan)
        return
    with pytest.raises(ValueError, match=f"a.h5: source_dicom must .*({rule})"):
        study.check(scan)


@pytest.mark.parametrize(
    ("scan", "rule"),
    [
        (scan_of(), None),
        (scan_of(shifted(slices=2), (1, 5, 7)), None),
        (scan_of(shifted(slices=1), (1, 5, 7)), "lie where the scan does: got 4 mm apart"),
        (scan_of(shifted(1.6)), "lie where the scan does: got 1.6 mm apart"),
        (scan_of(shifted(slices=0.5)), "lie where the scan does: got 2 mm apart"),
        (scan_of(OBLIQUE[[0, 2, 1, 3]]), "lie where the scan does"),
        (scan_of(None, pixel_size=(1.5, 1.0)), "have pixels of 1.5 x 1 mm: got 2 x 1.5 mm"),
    ],
)
def test_a_single_slice_must_be_one_of_the_scan(slice_alone: Path, scan: Scan, rule: str | None) -> None:
    """Regression: one slice lent its patient to any scan of its matrix, whatever its pixels and wherever it lay."""
    test_a_source_of_something_else_is_refused(slice_alone, scan, rule)


@pytest.mark.parametrize("name", ["PatientID", "PatientName", "StudyInstanceUID"])
def test_files_of_two_patients_in_one_series_are_refused(source: Path, name: str) -> None:
    """Anonymisers give all images one SeriesInstanceUID."""
    change(source, name, lambda index: f"1.2.{index // 2}")
    with pytest.raises(ValueError, match=f"source_dicom must have one {name}: got 1.2.0, 1.2.1"):
        DicomStudy.of(source)


def test_a_folder_of_two_series_is_refused(source: Path, tmp_path: Path) -> None:
    write(tmp_path / "other")
    for path in (tmp_path / "other" / "reconstruction").iterdir():
        shutil.copy(path, source / f"other-{path.name}")
    with pytest.raises(ValueError, match="must hold one: got 2"):
        DicomStudy.of(source)


def test_a_source_that_is_no_dicom_is_refused(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", IMAGES, Place(OBLIQUE))
    with pytest.raises(ValueError, match="source_dicom must be a DICOM file or a folder of one series"):
        DicomStudy.of(tmp_path / "a.nii.gz")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        DicomStudy.of(tmp_path / "nowhere")


def test_a_scan_of_another_patient_than_the_source_is_a_warning(source: Path) -> None:
    study, scan = DicomStudy.of(source), scan_of()
    assert study.warnings(scan) == ()  # it names none
    assert study.warnings(replace(scan, subject="P-7", subject_known=True)) == ()
    (warning,) = study.warnings(replace(scan, subject_known=True))
    assert "P-7" in warning
    assert "P-8" in warning


def test_what_could_not_be_compared_is_a_warning(source: Path, slice_alone: Path) -> None:
    for given, scan, compared in (
        (source, scan_of(None), "matrix and pixels and number of slices"),
        (source, scan_of(None, pixel_size=None), "matrix and number of slices"),
        (slice_alone, scan_of(None), "matrix and pixels"),
    ):
        (warning,) = DicomStudy.of(given).warnings(scan)
        assert f"only {compared} of source_dicom were compared" in warning
    change(source, "ImagePositionPatient", lambda _: None)
    (warning,) = DicomStudy.of(source).warnings(scan_of())
    assert "source_dicom does not say" in warning
