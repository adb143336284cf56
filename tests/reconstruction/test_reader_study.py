"""A reader study from results on disk to the verdict; no name, date, path or method leaves with the package."""

import os
import re
import signal
from datetime import datetime

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from lightning_mri.evaluation.reader_study import Design, Key
from lightning_mri.evaluation.reader_study.design import SIDES
from lightning_mri.io import read_scan, write_result
from lightning_mri.io.formats.dicom.study import DicomStudy
from lightning_mri.io.formats.dicom.writer import Series, write_dicom
from lightning_mri.io.geometry import Place
from lightning_mri.reconstruction.reader_study import analyze_reader_study, create_reader_study

SUBJECTS = ("Curie^Marie", "Meitner^Lise", "Noether^Emmy")
METHODS = Design("slow-scan", "quick-scan", n_repeats=1, items=("image quality",), primary=("image quality",), seed=4)
ONE = Design(n_readers=1, seed=0)


def create(folder, design=ONE, dicom=False):
    """Create the study of two folders, ``slow`` and ``quick``; return its key."""
    files = [folder / name for name in ("slow", "quick", "package", "key.json")]
    told = create_reader_study(*files, design, dicom=dicom)
    key = Key.load(folder / "key.json")
    assert f"sha256 {key.sha256}" in told
    return key


@pytest.fixture
def folders(tmp_path):
    """Results of two methods, in folders by patient, the second with less contrast: its dark pixels are brighter."""
    for method, power in (("slow", 1.0), ("quick", 0.5)):
        for number, subject in enumerate(SUBJECTS):
            image = torch.rand(2, 18, 15, generator=torch.Generator().manual_seed(number)) ** power
            attributes = {"subject": subject, "affine": None, "pixel_size": (1.5, 1.2), "slice_spacing": 5.0}
            path = tmp_path / method / f"study-{number}" / "flair.h5"
            write_result(path, image, image.to(torch.complex64), attributes=attributes)
    return tmp_path / "slow", tmp_path / "quick"


@pytest.mark.usefixtures("folders")
def test_a_study_goes_from_results_to_its_verdict(tmp_path):
    key = create(tmp_path, METHODS, dicom=True)
    sheets = []
    for reader in (1, 2):
        folder = tmp_path / "package" / f"reader-{reader}"
        assert (folder / "study.js").read_text().count('"aspect": 0.66666') == 4  # 18 x 15 pixels of 1.5 x 1.2 mm
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
    assert "Note: images of quick-scan were multiplied to be as bright as those of slow-scan: study-0/flair by" in table


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

    def mean(side):
        files = [pydicom.dcmread(path) for path in side.iterdir()]
        return np.mean([file.pixel_array * float(file.RescaleSlope) for file in files])

    return max(folder.iterdir(), key=mean).name


@pytest.mark.usefixtures("folders")
def test_no_byte_of_the_package_tells(tmp_path):
    key, now = create(tmp_path, METHODS, dicom=True), datetime.now()
    files = [path for path in (tmp_path / "package").rglob("*") if path.is_file()]
    assert len(list((tmp_path / "package").rglob("*.dcm"))) == 2 * 4 * 2 * 2
    names = " ".join(str(path.relative_to(tmp_path)) for path in files)
    everything = b"\n".join([names.encode(), *(path.read_bytes() for path in files)]).lower()
    words = ("curie", "flair", "study-", "slow", "quick")
    told = [*SUBJECTS, *words, str(tmp_path), key.salt, f"{now:%Y%m%d}", f"{now:%Y-%m-%d}"]
    assert [word for word in told if word.lower().encode() in everything] == []


@pytest.mark.usefixtures("folders")
def test_both_images_of_a_pair_are_described_alike_in_dicom(tmp_path):
    create(tmp_path, METHODS, dicom=True)
    own = {"PixelData", "SeriesDescription", "SeriesInstanceUID", "SOPInstanceUID", "SeriesNumber"}
    for folder in (tmp_path / "package" / "reader-1" / "dicom").iterdir():
        left, right = (pydicom.dcmread(folder / side / "0001.dcm") for side in ("left", "right"))
        differ = {element.keyword for element in left if element.value != right.get(element.keyword)}
        assert differ <= own
        assert (left.PatientID, left.PatientName) == (folder.name, f"{folder.name}^")
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
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, OSError), match="empty"):
        create_reader_study(folders[0], tmp_path / "empty", tmp_path / "package", tmp_path / "key.json", METHODS)
    with h5py.File(folders[0] / "study-0" / "flair.h5", "a") as file:
        del file["reconstruction"]
        file["reconstruction"] = np.ones((2, 18, 14), np.float32)
    with pytest.raises(ValueError, match="one shape"):
        create(tmp_path, METHODS)
    assert not (tmp_path / "package").exists()
    assert not (tmp_path / "key.json").exists()


VOXELS = np.random.default_rng(0).random((9, 7, 3)).astype(np.float32)


def _nifti(path, affine=(1, 1, 2), voxels=VOXELS):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*affine, 1]) if len(affine) == 3 else affine), path)


def _result(path, subject, known=True, voxels=VOXELS):
    image = torch.from_numpy(voxels.T.copy())
    attributes = {"subject": subject, "subject_known": known, "affine": None, "pixel_size": None, "slice_spacing": None}
    write_result(path, image, image.to(torch.complex64), attributes=attributes)


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["P0/flair", "P1/flair", "P2/flair"], ["P0", "P1", "P2"]),
        (["P1_T1w", "P1_FLAIR", "P2_T1w", "P2_FLAIR"], ["P1", "P1", "P2", "P2"]),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_patients_are_told_by_folders_and_names_where_files_name_none(tmp_path, names, patients, finished):
    for method in ("slow", "quick"):
        for name in names:
            if finished:  # which stores the scan's own name, as `predict` does
                _result(tmp_path / method / f"{name}.h5", name, known=False)
            else:
                _nifti(tmp_path / method / f"{name}.nii.gz")
    assert create(tmp_path).patients == dict(zip(names, patients, strict=True))


@pytest.mark.parametrize(("folder", "n_patients"), [("", 10), ("site-{}/", 2)])
def test_too_few_patients_are_told_before_anyone_reads(tmp_path, caplog, folder, n_patients):
    for method in ("slow", "quick"):
        for k in range(10):
            _nifti(tmp_path / method / f"{folder.format(k % 2)}P{k}_FLAIR.nii")
    create(tmp_path)
    assert (f"got {n_patients} (subjects: 2 named by their folders)" in caplog.text) == (n_patients < 10)
    assert ("can show nothing" in caplog.text) == (n_patients < 10)


def test_a_subject_that_a_result_names_counts_more_than_its_folder(tmp_path):
    for method in ("slow", "quick"):
        for folder, subject in (("a", "Ann"), ("b", "Ann"), ("c", "scan")):
            _result(tmp_path / method / folder / "scan.h5", subject, known=subject == "Ann")
    assert create(tmp_path).patients == {"a/scan": "Ann", "b/scan": "Ann", "c/scan": "c"}


@pytest.mark.parametrize(("factor", "told"), [(1e-4, True), (0.5, True), (1.3, True), (0.9, False)])
def test_the_brightness_of_a_file_is_no_difference_between_methods(tmp_path, caplog, factor, told):
    """Regression: one side was black, or half as bright, and told which it was."""
    _nifti(tmp_path / "slow" / "p.nii")
    _nifti(tmp_path / "quick" / "p.nii", voxels=VOXELS * np.float32(factor))
    key = create(tmp_path, dicom=True)
    shown = (_shown(tmp_path / "package/reader-1", key.readings[0].code, side, "002") for side in SIDES)
    assert all(np.abs(a - b).max() < 0.01 and a.max() > 0.9 for a, b in zip(*shown, strict=True))
    assert key.scales == {"p": pytest.approx(1 / factor, rel=1e-5)}
    assert (f"p by {1 / factor:.3g}" in caplog.text) == (f"p by {1 / factor:.3g}" in (key.scaling or "")) == told


@pytest.mark.parametrize("method", ["slow", "quick"])
def test_a_method_without_an_image_is_refused(tmp_path, method):
    for folder in ("slow", "quick"):
        _result(tmp_path / folder / "p.h5", "p", voxels=VOXELS * (folder != method))
    with pytest.raises(ValueError, match=r"^p: images of both methods must be finite and not dark"):
        create(tmp_path)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_stored_the_other_way_round_is_shown_the_same_way(tmp_path, axis):
    """Regression: in DICOM left and right were exchanged; the pages showed slices in the opposite order."""
    turned = np.diag([1.0, 1, 2, 1])
    turned[axis, 3] = turned[axis, axis] * (VOXELS.shape[axis] - 1)
    turned[axis, axis] *= -1
    _nifti(tmp_path / "slow" / "p.nii")
    _nifti(tmp_path / "quick" / "p.nii", turned, np.flip(VOXELS, axis).copy())
    code = create(tmp_path, dicom=True).readings[0].code
    for number in ("001", "002", "003"):
        left, right = (_shown(tmp_path / "package/reader-1", code, side, number) for side in ("left", "right"))
        for a, b in zip(left, right, strict=True):
            assert np.abs(a - b).max() < 0.01
        assert np.abs(left[0] - np.clip(left[1], 0, 1)).max() < 0.01  # DICOM and page


def _shown(folder, code, side, number):
    """Return a slice as the page and as DICOM show it, white being 1."""
    with Image.open(folder / "images" / f"{code}-{side}-{number}.png") as png:
        page = np.asarray(png) / 255
    file = pydicom.dcmread(folder / "dicom" / code / side / f"0{number}.dcm")
    return page, file.pixel_array * float(file.RescaleSlope) / float(file.WindowWidth)


def test_images_that_lie_elsewhere_are_told(tmp_path, caplog):
    apart = np.diag([1.0, 1, 2, 1])
    apart[2, 3] = 6
    _nifti(tmp_path / "slow" / "p.nii")
    _nifti(tmp_path / "quick" / "p.nii", apart)
    create(tmp_path)
    assert "quick/p.nii" in caplog.text
    assert "6 mm" in caplog.text


@pytest.mark.usefixtures("folders")
def test_a_run_that_is_killed_leaves_no_key_and_the_next_one_no_images(tmp_path, monkeypatch):
    """Regression: the key without its study stopped the next run, and the readers' images stayed in a hidden folder."""
    with monkeypatch.context() as patch:
        patch.setattr(
            "lightning_mri.reconstruction.reader_study._write_dicom", lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        )
        if (child := os.fork()) == 0:
            create(tmp_path, dicom=True)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not (tmp_path / "key.json").exists()
    assert len(list(tmp_path.glob(".package.*.part"))) == 1
    create(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"slow", "quick", "package", "key.json"}
    with pytest.raises(FileExistsError, match=r"key\.json: key must be a new file"):
        create_reader_study(*(tmp_path / name for name in ("slow", "quick", "another", "key.json")), ONE)
    assert not (tmp_path / "another").exists()


def test_what_dicom_cannot_say_leaves_neither_package_nor_key(tmp_path):
    oblique = np.eye(4)
    oblique[0, 1] = 0.5
    for method in ("slow", "quick"):
        _nifti(tmp_path / method / "p.nii", oblique)
    with pytest.raises(ValueError, match=r"^p: .*right angles"):
        create(tmp_path, dicom=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quick", "slow"]
    create(tmp_path)


def _series(folder, names="{:04d}.dcm"):
    series = Series("image", torch.from_numpy(VOXELS.T.copy()), "", "")
    write_dicom(folder, [series], Place(torch.eye(4), True), DicomStudy(), "")
    for number, path in enumerate(sorted((folder / "image").iterdir())):
        path.rename(folder / names.format(number))
    (folder / "image").rmdir()


def test_dicom_is_paired_with_what_predict_made_of_it(tmp_path):
    """Regression: a series had its first file's name, its result has that of its folder."""
    for name in ("a", "b"):
        _series(tmp_path / "slow" / name, "IM{}")
        _result(tmp_path / "quick" / name / f"{name}.h5", name, known=False)
    assert set(create(tmp_path).patients) == {"a/a", "b/b"}


def test_series_in_two_folders_of_their_own_are_paired_by_their_files(tmp_path):
    for method in ("slow", "quick"):
        _series(tmp_path / method)
    assert set(create(tmp_path).patients) == {"0000"}


def test_folders_without_a_common_scan_are_refused_with_what_they_hold(tmp_path):
    _series(tmp_path / "slow" / "a")
    for name in "uvwxyz":
        _nifti(tmp_path / "quick" / f"{name}.nii")
    with pytest.raises(ValueError, match=r"quick: test must .*slow, a/a: got u, v, w and 3 more"):
        create(tmp_path)


def test_a_file_that_is_no_scan_stops_no_other(tmp_path, caplog):
    for method in ("slow", "quick"):
        _nifti(tmp_path / method / "p.nii")
    (tmp_path / "slow" / "broken.npy").write_bytes(b"x")
    assert set(create(tmp_path).patients) == {"p"}
    assert "slow: left out, since the other folder has no broken" in caplog.text


def test_two_files_of_one_name_in_a_folder_are_refused(tmp_path):
    for method in ("slow", "quick"):
        for name in ("a.nii", "a.nii.gz"):
            _nifti(tmp_path / method / name)
    with pytest.raises(ValueError, match=r"slow: .*a\.nii and a\.nii\.gz"):
        create(tmp_path)


def test_an_image_that_does_not_tell_how_it_lies_is_told(tmp_path, caplog):
    _nifti(tmp_path / "slow" / "p.nii")
    _result(tmp_path / "quick" / "p.h5", "p")
    create(tmp_path, Design())
    assert caplog.text.count("quick/p.h5") == 1  # not once a reader


def test_frames_are_volumes_in_dicom_too(tmp_path):
    """Regression: they were further slices of a volume that was longer than the scan."""
    voxels = np.random.default_rng(0).random((9, 7, 2, 3)).astype(np.float32)
    for method in ("slow", "quick"):
        _nifti(tmp_path / method / "p.nii", voxels=voxels)
    create(tmp_path, dicom=True)
    found = read_scan(next((tmp_path / "package/reader-1/dicom").glob("*/left")))
    assert (found.n_volumes, found.n_slices, found.slice_spacing) == (3, 6, 2)
    assert '"n_volumes": 3' in (tmp_path / "package/reader-1/study.js").read_text()
