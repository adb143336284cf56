"""fastMRI's HDF5 files, laid out by hand as the published ones are."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from lightning_mri.io import read_scan
from tests.builders import draw_complex as kspace
from tests.io.files import KSPACE, Write, hdf5_external, hdf5_virtual

HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<subjectInformation><patientID>{patient}</patientID></subjectInformation>
<acquisitionSystemInformation><systemFieldStrength_T>2.8936</systemFieldStrength_T></acquisitionSystemInformation>
<encoding><encodedSpace><matrixSize><x>{size}</x><y>7</y><z>1</z></matrixSize>
<fieldOfView_mm><x>24</x><y>14</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{reconstructed}</x><y>5</y><z>1</z></matrixSize></reconSpace></encoding></ismrmrdHeader>"""


def write(path: Path, attributes: dict | None = None, **datasets: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            file[name] = value
        file.attrs.update(attributes or {})
    return path


def header(size: str = "12", reconstructed: str = "6", patient: str = "") -> str:
    return HEADER.format(size=size, reconstructed=reconstructed, patient=patient)


def test_what_a_training_file_says(tmp_path: Path) -> None:
    k = kspace(2, 3, 12, 7)
    path = write(
        tmp_path / "file_brain_AXFLAIR_200_1.h5",
        {"acquisition": "AXFLAIR", "patient_id": "4711"},
        kspace=k,
        ismrmrd_header=header(),
        reconstruction_rss=np.arange(60, dtype=np.float32).reshape(2, 6, 5),
    )
    scan = read_scan(path)
    assert scan.kspace[1].equal(torch.from_numpy(k[1]))
    assert scan.matrix == (12, 7)
    assert scan.reconstruction_size == (6, 5)
    assert (scan.pixel_size, scan.slice_spacing) == ((2.0, 2.0), 5.0)
    assert scan.field_strength == 2.8936
    assert (scan.contrast, scan.subject) == ("FLAIR", "4711")
    assert scan.reference[1][2, 3] == 43
    assert scan.mask.all()
    assert scan.warnings == ()


def test_one_coil_may_lack_the_axis(tmp_path: Path) -> None:
    k = kspace(2, 12, 7)
    image = np.arange(60, dtype=np.float32).reshape(2, 6, 5)
    datasets = {"kspace": k, "ismrmrd_header": header(), "reconstruction_esc": image}
    scan = read_scan(write(tmp_path / "knee.h5", {"acquisition": "CORPD_FBK"}, **datasets))
    assert scan.kspace.shape == (2, 1, 12, 7)
    assert scan.kspace[:][:, 0].equal(torch.from_numpy(k))
    assert scan.reference[1].equal(torch.from_numpy(image[1]))
    assert (scan.contrast, scan.warnings) == ("PD", ())


def test_the_mask_of_a_test_file_holds_though_zeros_were_acquired(tmp_path: Path) -> None:
    k = kspace(2, 3, 12, 7) * np.array([0, 0, 1, 1, 1, 0, 1])
    mask = np.array([0, 1, 1, 1, 1, 0, 1], np.float32)
    path = write(tmp_path / "scan.h5", kspace=k.astype(np.complex64), mask=mask)
    assert read_scan(path).mask[0, 0].tolist() == [False, True, True, True, True, False, True]
    with h5py.File(path, "a") as file:
        del file["mask"]
    assert read_scan(path).mask[0, 0].tolist() == [False, False, True, True, True, False, True]


@pytest.mark.parametrize(
    ("in_header", "attribute", "subject"),
    [("H1", "A1", "H1"), ("", np.bytes_("A1"), "A1"), ("anonymous", None, "scan"), ("Anonymous", "A1", "A1")],
)
def test_the_subject_is_whom_the_header_names(
    tmp_path: Path, in_header: str, attribute: str | bytes | None, subject: str
) -> None:
    attributes = {} if attribute is None else {"patient_id": attribute}
    k = kspace(1, 2, 12, 7)
    path = write(tmp_path / "scan.h5", attributes, kspace=k, ismrmrd_header=header(patient=in_header))
    assert read_scan(path).subject == subject


def test_a_file_without_header_is_read_with_warnings(tmp_path: Path) -> None:
    scan = read_scan(write(tmp_path / "scan.h5", kspace=kspace(3, 12, 7)))
    assert scan.reconstruction_size == (12, 7)
    assert scan.subject == "scan"
    assert (scan.pixel_size, scan.slice_spacing, scan.field_strength) == (None, None, None)
    assert scan.warnings == (
        "the file has no ISMRMRD header: the matrix of the image is taken to be that of k-space; the size of a pixel is"
        " not known; the three axes (3, 12, 7) of kspace were taken for [slice, y, x] of one coil; the contrast is not"
        " known, the acquisition being named ''",
    )


def test_four_axes_without_header_are_a_guess(tmp_path: Path) -> None:
    """As in NumPy and MATLAB, the coil is last where there would be too many, and the sentence says what was taken."""
    k = kspace(2, 3, 5, 70)
    for values, taken in ((k, "slice, coil, y, x"), (k.transpose(0, 3, 2, 1), "slice, y, x, coil")):
        scan = read_scan(write(tmp_path / "scan.h5", kspace=values))
        assert f"the axes {values.shape} were taken for [{taken}]" in scan.warnings[-1]
        expected = k if values is k else k.transpose(0, 1, 3, 2)
        assert scan.kspace[:].numpy().tobytes() == expected.tobytes()


def test_a_header_that_tells_little_is_one_warning(tmp_path: Path) -> None:
    """As in M4Raw, whose low-field scans have fastMRI's layout."""
    k = kspace(2, 4, 9, 7)
    xml = """<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><acquisitionSystemInformation>
    <systemFieldStrength_T>0.3</systemFieldStrength_T></acquisitionSystemInformation></ismrmrdHeader>"""
    rss = np.ones((2, 9, 7), np.float32)
    path = write(tmp_path / "m4.h5", {"acquisition": "AXT2"}, kspace=k, ismrmrd_header=xml, reconstruction_rss=rss)
    scan = read_scan(path)
    assert scan.kspace[1].equal(torch.from_numpy(k[1]))
    assert (scan.reconstruction_size, scan.contrast, scan.field_strength) == ((9, 7), "T2w", 0.3)
    assert scan.warnings == (
        "the ISMRMRD header does not tell all: the matrix of the image is taken to be that of k-space;"
        " the size of a pixel is not known",
    )
    assert read_scan(path, pixel_size=(1.5, 1.5)).warnings == (
        "the ISMRMRD header does not tell all: the matrix of the image is taken to be that of k-space",
    )


def test_pairs_of_real_and_imaginary_parts_are_complex(tmp_path: Path) -> None:
    k = kspace(2, 3, 12, 7)
    pairs = np.empty(k.shape, [("real", "f4"), ("imag", "f4")])
    pairs["real"], pairs["imag"] = k.real, k.imag
    assert read_scan(write(tmp_path / "scan.h5", kspace=pairs)).kspace[1].equal(torch.from_numpy(k[1]))


def test_a_slice_beyond_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_mri.io.arrays.MAX_SLICE_BYTES", 8 * 3 * 12 * 7 - 1)
    rule = r"kspace must take at most 2015 bytes a slice: got shape \(3, 12, 7\)"
    with pytest.raises(ValueError, match=f"scan.h5: {rule}"):
        read_scan(write(tmp_path / "scan.h5", kspace=kspace(2, 3, 12, 7)))


def test_a_matrix_beyond_kspace_is_a_warning(tmp_path: Path) -> None:
    k = kspace(1, 2, 12, 7)
    scan = read_scan(write(tmp_path / "scan.h5", kspace=k, ismrmrd_header=header(reconstructed="16")))
    assert scan.reconstruction_size == (12, 5)
    assert "exceeds that of k-space" in scan.warnings[-1]


def test_a_header_of_another_matrix_is_a_warning(tmp_path: Path) -> None:
    """Regression: the size of a pixel rests on it."""
    scan = read_scan(write(tmp_path / "scan.h5", kspace=kspace(1, 2, 12, 9), ismrmrd_header=header()))
    assert scan.pixel_size == (2, 2)
    assert "k-space has (12, 9) samples (y, x), its header (12, 7): the header's pixel of 2 by 2 mm" in scan.warnings[1]


K = kspace(1, 2, 12, 7)


@pytest.mark.parametrize(
    ("datasets", "rule"),
    [
        ({"image": np.ones(3)}, "the file must hold a dataset kspace: got image"),
        ({"kspace": np.ones((2, 3, 12, 7))}, "kspace must be complex: got float64"),
        ({"kspace": kspace(12, 7)}, r"kspace must be \[slice, coil, y, x\]"),
        ({"kspace": kspace(1, 1, 1, 12, 7)}, r"kspace must be \[slice, coil, y, x\]"),
        ({"kspace": kspace(0, 2, 12, 7)}, "kspace must not be empty"),
        ({"kspace": K, "mask": np.ones(8)}, r"mask and kspace must agree on \(y, x\)"),
        ({"kspace": K, "mask": "all"}, "mask must hold numbers"),
        ({"kspace/real": np.ones(3)}, "the file must hold a dataset kspace: got a group of real"),
        ({"kspace": K, "ismrmrd_header": "<a"}, "ismrmrd_header must be XML"),
        ({"kspace": K, "ismrmrd_header": header("-1")}, "ismrmrd_header .* from 0 to 100000"),
        ({"kspace": K, "ismrmrd_header": header("wide")}, "ismrmrd_header .* must be a number .*: got 'wide'"),
        ({"kspace": K, "ismrmrd_header": np.ones(3)}, "ismrmrd_header must be XML"),
        ({"kspace": K, "reconstruction_rss": np.ones((2, 6, 5))}, "reconstruction_rss must be real .* with 1 slices"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_file_and_field(
    tmp_path: Path, datasets: dict[str, object], rule: str
) -> None:
    with pytest.raises(ValueError, match=f"scan.h5: {rule}"):
        read_scan(write(tmp_path / "scan.h5", **datasets))


def test_a_huge_dataset_that_was_never_written_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("kspace", (1_000_000, 16, 640, 320), np.complex64, chunks=(1, 1, 640, 320))
    with pytest.raises(ValueError, match=r"kspace must hold numbers: .* never written"):
        read_scan(tmp_path / "scan.h5")


def link(folder: Path) -> Path:
    with h5py.File(folder / "scan.h5", "w") as file:
        file["kspace"] = h5py.ExternalLink("other.h5", "kspace")
    return folder / "scan.h5"


def soft_link(folder: Path) -> Path:
    with h5py.File(folder / "scan.h5", "w") as file:
        file["away"] = h5py.ExternalLink("other.h5", "/")
        file["kspace"] = h5py.SoftLink("/away/kspace")
    return folder / "scan.h5"


def virtual(folder: Path) -> Path:
    return hdf5_virtual(folder, "other.h5")


@pytest.mark.parametrize("make", [link, soft_link, virtual, hdf5_virtual, hdf5_external])
def test_what_lies_outside_the_file_is_refused(tmp_path: Path, make: Write) -> None:
    """It could be any file of the machine, shown as k-space."""
    write(tmp_path / "other.h5", kspace=KSPACE)
    with pytest.raises(ValueError, match=r"scan.h5: (kspace|away) must lie in the file itself"):
        read_scan(make(tmp_path))


def test_no_file_stays_open(tmp_path: Path) -> None:
    scan = read_scan(write(tmp_path / "scan.h5", kspace=kspace(2, 4, 6, 7)))
    assert scan.kspace[0].shape == (4, 6, 7)
    with h5py.File(scan.source, "a") as file:  # HDF5 refuses this while a reader holds the file
        file.attrs["changed"] = 1


def test_a_noise_covariance_is_read(tmp_path: Path) -> None:
    covariance = np.array([[2, 1j], [-1j, 3]], np.complex64)
    scan = read_scan(write(tmp_path / "a.h5", kspace=kspace(1, 2, 12, 7), noise_covariance=covariance))
    assert np.array_equal(scan.noise_covariance.numpy(), covariance)
    assert read_scan(write(tmp_path / "b.h5", kspace=kspace(1, 2, 12, 7))).noise_covariance is None
    dead = np.diag([1, 0]).astype(np.complex64)
    scan = read_scan(write(tmp_path / "c.h5", kspace=kspace(1, 2, 12, 7), noise_covariance=dead))
    assert np.array_equal(scan.noise_covariance.numpy(), dead)


@pytest.mark.parametrize(
    ("covariance", "rule"),
    [
        (np.eye(3), r"\[coil, coil\] for 2 coils: got float64 \(3, 3\)"),
        (np.eye(2, dtype=int), "for 2 coils: got int64"),
        (np.diag([1.0, -1.0]), "Hermitian and positive definite"),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), "Hermitian and positive definite"),
        (np.diag([1.0, np.nan]), "Hermitian and positive definite"),
    ],
)
def test_a_noise_covariance_that_is_none_is_refused(tmp_path: Path, covariance: np.ndarray, rule: str) -> None:
    path = write(tmp_path / "a.h5", kspace=kspace(1, 2, 12, 7), noise_covariance=covariance)
    with pytest.raises(ValueError, match=f"a.h5: noise_covariance must be .*{rule}"):
        read_scan(path)
