"""A reader study from results on disk to the verdict; no name, date, path or method leaves with the package."""

import re
from datetime import datetime

import h5py
import numpy as np
import pydicom
import pytest
import torch

from lightning_mri.evaluation.reader_study import Design, Key
from lightning_mri.io import read_scan, write_result
from lightning_mri.reconstruction.reader_study import analyze_reader_study, create_reader_study

SUBJECTS = ("Curie^Marie", "Meitner^Lise", "Noether^Emmy")
METHODS = Design("slow-scan", "quick-scan", n_repeats=1, items=("image quality",), primary=("image quality",), seed=4)


@pytest.fixture
def folders(tmp_path):
    """Results of two methods, in folders by patient, the second a tenth brighter."""
    for method, factor in (("slow", 1.0), ("quick", 1.1)):
        for number, subject in enumerate(SUBJECTS):
            image = factor * torch.rand(2, 18, 15, generator=torch.Generator().manual_seed(number))
            attributes = {"subject": subject, "affine": None, "pixel_size": (1.5, 1.2), "slice_spacing": 5.0}
            path = tmp_path / method / f"study-{number}" / "flair.h5"
            write_result(path, image, image.to(torch.complex64), attributes=attributes)
    return tmp_path / "slow", tmp_path / "quick"


def test_a_study_goes_from_results_to_its_verdict(folders, tmp_path):
    told = create_reader_study(*folders, tmp_path / "package", tmp_path / "key.json", METHODS, dicom=True)
    key = Key.load(tmp_path / "key.json")
    assert key.sha256 in told
    sheets = []
    for reader in (1, 2):
        folder = tmp_path / "package" / f"reader-{reader}"
        rows = (folder / "scores.csv").read_text().splitlines()
        brighter = {r.code: _brighter(folder / "dicom" / r.code) for r in key.of_reader(reader)}
        # these readers like bright images: 5 against 3
        filled = [
            row.replace(",,,,", f",{5 if brighter[code] == side else 3},,,")
            for row in rows[1:]
            for _, _, code, side, *_ in [row.split(",")]
        ]
        sheets.append(tmp_path / f"{reader}.csv")
        sheets[-1].write_text("\n".join([rows[0], *filled]))
    table = analyze_reader_study(tmp_path / "key.json", sheets, tmp_path / "found")
    assert "| **image quality** | 3.00 +- 0.00 | 5.00 +- 0.00 | +2.00 | +2.00 to +2.00 |" in table


def test_fully_sampled_scans_may_be_the_reference(tmp_path, write_scan):
    """Regression: those in HDF5 were taken for results."""
    for name in "ab":
        scan = read_scan(write_scan(tmp_path / "full" / f"{name}.h5", name))
        image = torch.rand(scan.n_slices, *scan.reconstruction_size)
        attributes = {"subject": name, "affine": None, "pixel_size": scan.pixel_size, "slice_spacing": None}
        write_result(tmp_path / "quick" / f"{name}.h5", image, image.to(torch.complex64), attributes=attributes)
    told = create_reader_study(tmp_path / "full", tmp_path / "quick", tmp_path / "package", tmp_path / "key.json")
    assert "2 scans of 2 patients" in told


def _brighter(folder):
    """Return the side with the higher mean of stored value times slope."""
    means = {
        side.name: np.mean(
            [d.pixel_array * float(d.RescaleSlope) for path in side.iterdir() for d in [pydicom.dcmread(path)]]
        )
        for side in folder.iterdir()
    }
    return max(means, key=means.__getitem__)


def test_no_byte_of_the_package_tells(folders, tmp_path):
    create_reader_study(*folders, tmp_path / "package", tmp_path / "key.json", METHODS, dicom=True)
    key, now = Key.load(tmp_path / "key.json"), datetime.now()
    files = [path for path in (tmp_path / "package").rglob("*") if path.is_file()]
    assert len(list((tmp_path / "package").rglob("*.dcm"))) == 2 * 4 * 2 * 2
    names = " ".join(str(path.relative_to(tmp_path)) for path in files)
    everything = b"\n".join([names.encode(), *(path.read_bytes() for path in files)]).lower()
    told = [
        *SUBJECTS,
        "curie",
        "flair",
        "study-",
        "slow",
        "quick",
        str(tmp_path),
        key.salt,
        f"{now:%Y%m%d}",
        f"{now:%Y-%m-%d}",
    ]
    assert [word for word in told if word.lower().encode() in everything] == []


def test_both_images_of_a_pair_are_described_alike_in_dicom(folders, tmp_path):
    create_reader_study(*folders, tmp_path / "package", tmp_path / "key.json", METHODS, dicom=True)
    own = {"PixelData", "RescaleSlope", "SeriesDescription", "SeriesInstanceUID", "SOPInstanceUID", "SeriesNumber"}
    own |= {"WindowCenter", "WindowWidth", "DerivationDescription"}
    for folder in (tmp_path / "package" / "reader-1" / "dicom").iterdir():
        left, right = (pydicom.dcmread(folder / side / "0001.dcm") for side in ("left", "right"))
        differ = {element.keyword for element in left if element.value != right.get(element.keyword)}
        assert differ <= own
        assert left.PatientID == left.PatientName == folder.name
        assert re.sub("left", "right", left.SeriesDescription) == right.SeriesDescription
        assert left.DerivationDescription == right.DerivationDescription


def test_nothing_is_overwritten_and_the_key_stays_out_of_the_package(folders, tmp_path):
    with pytest.raises(ValueError, match="key must not lie in the package"):
        create_reader_study(*folders, tmp_path / "package", tmp_path / "package" / "key.json", METHODS)
    create_reader_study(*folders, tmp_path / "package", tmp_path / "key.json", METHODS)
    before = (tmp_path / "key.json").read_bytes()
    for package, key in (("package", "other.json"), ("other", "key.json")):
        with pytest.raises(FileExistsError, match="must be a new"):
            create_reader_study(*folders, tmp_path / package, tmp_path / key, METHODS)
    with pytest.raises(ValueError, match="test must be another folder than reference"):
        create_reader_study(folders[0], folders[0], tmp_path / "other", tmp_path / "other.json", METHODS)
    assert (tmp_path / "key.json").read_bytes() == before
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "other.json").exists()


def test_two_scans_of_a_subject_are_of_one_patient_in_the_key(folders, tmp_path):
    with h5py.File(folders[0] / "study-0" / "flair.h5", "a") as file:
        file.attrs["subject"] = SUBJECTS[1]
    told = create_reader_study(*folders, tmp_path / "package", tmp_path / "key.json", METHODS)
    assert "of 3 scans of 2 patients" in told
    patients = Key.load(tmp_path / "key.json").patients
    assert [patients[f"study-{number}/flair"] for number in range(3)] == [SUBJECTS[1], *SUBJECTS[1:]]


def test_folders_that_do_not_fit_are_refused_and_leave_nothing(folders, tmp_path):
    slow, quick = folders
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, OSError), match="empty"):
        create_reader_study(slow, tmp_path / "empty", tmp_path / "package", tmp_path / "key.json", METHODS)
    with h5py.File(slow / "study-0" / "flair.h5", "a") as file:
        del file["reconstruction"]
        file["reconstruction"] = np.ones((2, 18, 14), np.float32)
    with pytest.raises(ValueError, match="one shape"):
        create_reader_study(slow, quick, tmp_path / "package", tmp_path / "key.json", METHODS)
    assert not (tmp_path / "package").exists()
    assert not (tmp_path / "key.json").exists()
