"""DICOM series, written by pydicom as scanners write them."""

import gzip
import warnings
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, RawDataStorage, generate_uid

from lightning_mri.io import find_scans, read_scan
from lightning_mri.io.formats.dicom import reader as dicom
from lightning_mri.io.scan import MAGNITUDE_ONLY, REAL_ONLY
from tests.builders import images_of
from tests.io.formats.dicom_slices import (
    COLUMN,
    COLUMNS,
    GAP,
    NORMAL,
    ORIGIN,
    PIXELS,
    ROW,
    ROWS,
    SPACING,
    enhanced,
    image,
    save,
)

RNG = np.random.default_rng(1)


def save_series(folder: Path, pixels: np.ndarray, **values: object) -> str:
    """Write slices under names in another order than where they lie."""
    series = generate_uid(None)
    for position, slice_pixels in enumerate(pixels):
        save(image(position, slice_pixels, series, **values), folder / f"IM{(position * 7 + 3) % 10}")
    return series


def test_slices_are_sorted_by_where_they_lie_and_voxels_lie_where_dicom_says(tmp_path: Path) -> None:
    save_series(tmp_path / "head", PIXELS, RescaleSlope="0.5", RescaleIntercept="-3")
    first = tmp_path / "head" / "IM0"
    assert find_scans(tmp_path) == [first]
    scan = read_scan(tmp_path / "head" / "IM4")
    assert scan.source == first
    np.testing.assert_allclose(images_of(first), 0.5 * PIXELS - 3)
    assert (scan.name, scan.subject, scan.contrast, scan.field_strength) == ("head", "P-1", "FLAIR", 1.5)
    assert (scan.pixel_size, scan.n_volumes) == ((2.0, 1.5), 1)
    assert scan.slice_spacing == pytest.approx(GAP)
    assert (scan.magnitude_only, scan.warnings) == (True, (MAGNITUDE_ONLY,))
    x, y, s = 6, 4, 3
    lps = ORIGIN + ROW * SPACING[1] * x + COLUMN * SPACING[0] * y + NORMAL * GAP * s
    np.testing.assert_allclose(scan.affine.numpy() @ [x, y, s, 1], [-lps[0], -lps[1], lps[2], 1], rtol=1e-5)


def test_a_folder_of_two_series_holds_two_scans(tmp_path: Path) -> None:
    for number in (3, 8):
        series = generate_uid(None)
        for position in range(2):
            save(image(position, PIXELS[position], series, SeriesNumber=number), tmp_path / f"a{number}{position}.dcm")
    found = find_scans(tmp_path)
    assert [path.name for path in found] == ["a30.dcm", "a80.dcm"]
    assert [read_scan(path).name for path in found] == [f"{tmp_path.name}_series3", f"{tmp_path.name}_series8"]
    with pytest.raises(ValueError, match="must hold one: got 2"):
        read_scan(tmp_path)


def test_headers_are_read_once_for_a_whole_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_series(tmp_path, PIXELS)
    read: list[Path] = []
    read_header = dicom.read_header
    monkeypatch.setattr(dicom, "read_header", lambda path: read.append(path) or read_header(path))
    read_scan(tmp_path)
    assert len(read) == len(PIXELS)


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    series = generate_uid(None)
    save(image(0, PIXELS[0], series, PatientID="old"), tmp_path / "a")
    assert read_scan(tmp_path / "a").subject == "old"
    save(image(0, PIXELS[0], series, PatientID="newer"), tmp_path / "a")
    assert read_scan(tmp_path / "a").subject == "newer"


@pytest.mark.parametrize("attribute", ["EchoTime", "TemporalPositionIdentifier"])
def test_echoes_and_times_are_volumes(tmp_path: Path, attribute: str) -> None:
    series = generate_uid(None)
    for i, (position, volume) in enumerate((p, v) for p in range(4) for v in (1, 0)):
        save(image(position, PIXELS[position] + volume, series, **{attribute: 10 + volume}), tmp_path / f"{i}")
    assert read_scan(tmp_path).n_volumes == 2
    np.testing.assert_array_equal(images_of(tmp_path), np.concatenate([PIXELS, PIXELS + 1]))


@pytest.mark.parametrize(("encoded", "axis"), [("ROW", "y"), ("COL", "x"), ("", None)])
def test_the_readout_runs_across_the_phase_encoding(tmp_path: Path, encoded: str, axis: str | None) -> None:
    save_series(tmp_path / "classic", PIXELS, InPlanePhaseEncodingDirection=encoded)
    dataset, own = enhanced(PIXELS), Dataset()
    own.InPlanePhaseEncodingDirection = encoded.replace("COL", "COLUMN")
    dataset.SharedFunctionalGroupsSequence[0].MRFOVGeometrySequence = Sequence([own])
    save(dataset, tmp_path / "enhanced/a.dcm")
    assert [read_scan(path).readout for path in find_scans(tmp_path)] == [axis, axis]


def test_enhanced_frames_are_sorted_too(tmp_path: Path) -> None:
    path = save(enhanced(PIXELS), tmp_path / "head.dcm")
    np.testing.assert_allclose(images_of(path), PIXELS[::-1] * np.arange(1, 5)[:, None, None])
    scan = read_scan(path)
    assert (scan.name, scan.slice_spacing, scan.pixel_size) == ("head", pytest.approx(GAP), (2.0, 1.5))
    np.testing.assert_allclose(scan.affine.numpy()[:3, 3] * [-1, -1, 1], ORIGIN, rtol=1e-6)


def test_private_groups_of_enhanced_frames_are_not_taken_for_public_ones(tmp_path: Path) -> None:
    """Philips repeats ImagePositionPatient in a group of its own, for the corner of the pixel."""
    dataset = enhanced(PIXELS)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        corner = Dataset()
        corner.ImagePositionPatient = [-129, -121, 0]
        group.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", Sequence([corner]))
    affine = read_scan(save(dataset, tmp_path / "head.dcm")).affine
    np.testing.assert_allclose(affine.numpy()[:3, 3] * [-1, -1, 1], ORIGIN, rtol=1e-6)


REAL = Path(nibabel.__file__).parent / "nicom/tests/data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="nibabel came without its test data")


def unpack(name: str, path: Path) -> Path:
    """Write a real file, whose pixels were all made zero, with noise in their place."""
    dataset = pydicom.dcmread(BytesIO(gzip.decompress((REAL / f"{name}.dcm.gz").read_bytes())))
    dataset.PixelData = RNG.integers(0, 4096, len(dataset.PixelData) // 2).astype("<u2").tobytes()
    dataset.save_as(path)
    return path


@needs_real
@pytest.mark.parametrize("name", ["siemens_dwi_1000", "philips_mprage"])
def test_a_real_mosaic_and_a_real_enhanced_image_agree_with_nibabel_in_every_voxel(tmp_path: Path, name: str) -> None:
    path = unpack(name, tmp_path / "a.dcm")
    with warnings.catch_warnings(action="ignore"):
        from nibabel.nicom.dicomwrappers import wrapper_from_file

        theirs = wrapper_from_file(path)
        data, to_lps = np.asarray(theirs.get_data()), theirs.affine
    affine, images = read_scan(path).affine, images_of(path)
    slices, y, x = (RNG.integers(0, n, 500) for n in images.shape)
    lps = np.diag([-1, -1, 1, 1]) @ affine.numpy().astype(float) @ [x, y, slices, np.ones(500)]
    found = np.rint(np.linalg.inv(to_lps) @ lps)[:3].astype(int)
    ours, stored = images[slices, y, x], data[tuple(found)]
    assert np.corrcoef(ours, stored)[0, 1] == pytest.approx(1)  # nibabel leaves Philips' slope and intercept out


@needs_real
def test_mosaics_of_a_series_are_its_volumes(tmp_path: Path) -> None:
    for name in ("siemens_dwi_0", "siemens_dwi_1000"):
        unpack(name, tmp_path / name)
    scan = read_scan(tmp_path)
    assert (scan.n_volumes, scan.n_slices, scan.reconstruction_size) == (2, 96, (128, 128))


@needs_real
def test_a_mosaic_without_its_private_header_is_refused(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(unpack("siemens_dwi_0", tmp_path / "a.dcm"))
    dataset.remove_private_tags()
    with pytest.raises(ValueError, match=r"a.dcm: ImageType must not be MOSAIC unless the private header"):
        read_scan(save(dataset, tmp_path / "a.dcm"))


def test_raw_data_in_a_series_are_left_out(tmp_path: Path) -> None:
    series = save_series(tmp_path / "head", PIXELS)
    raw = image(0, PIXELS[0], series, SOPClassUID=RawDataStorage)
    for name in ("PixelData", "Rows", "Columns"):
        delattr(raw, name)
    raw_path = save(raw, tmp_path / "head" / "A_first_by_name")
    assert find_scans(tmp_path) == [tmp_path / "head" / "IM0"]
    assert read_scan(tmp_path / "head").n_slices == 4
    with pytest.raises(ValueError, match="SOPClassUID must be that of MR images: got Raw Data Storage"):
        read_scan(raw_path)


def test_copies_are_left_out_and_equal_identities_of_other_images_are_not(tmp_path: Path) -> None:
    save_series(tmp_path / "a", PIXELS)
    for path in list((tmp_path / "a").iterdir()):
        (tmp_path / "a" / f"{path.name} (copy)").write_bytes(path.read_bytes())
    scan = read_scan(tmp_path / "a")
    assert (scan.n_slices, scan.n_volumes) == (4, 1)
    assert "4 files are copies of others: they were left out" in scan.warnings
    save_series(tmp_path / "b", PIXELS, SOPInstanceUID="1.2.3")
    np.testing.assert_array_equal(images_of(tmp_path / "b"), PIXELS)


def test_slices_of_a_series_each_are_one_stack_and_repetitions_are_not(tmp_path: Path) -> None:
    study = generate_uid(None)
    for position in range(4):
        values = {"StudyInstanceUID": study, "InstanceNumber": "1"}
        save(image(position, PIXELS[position], generate_uid(None), **values), tmp_path / "a" / f"{position}")
        save(image(0, PIXELS[position], generate_uid(None), **values), tmp_path / "b" / f"{position}")
    assert find_scans(tmp_path / "a") == [tmp_path / "a" / "0"]
    np.testing.assert_array_equal(images_of(tmp_path / "a"), PIXELS)
    assert "4 series of one slice each were taken for one stack" in read_scan(tmp_path / "a").warnings
    assert len(find_scans(tmp_path / "b")) == 4


def test_spacings_may_differ_by_rounding(tmp_path: Path) -> None:
    series = generate_uid(None)
    for position, spacing in enumerate((1.8, 1.80001)):
        save(image(position, PIXELS[position], series, PixelSpacing=[spacing, 1.5]), tmp_path / f"{position}")
    assert read_scan(tmp_path).pixel_size == (1.8, 1.5)


X = RNG.random((2, ROWS, COLUMNS)) * np.exp(2j * np.pi * RNG.random((2, ROWS, COLUMNS)))


@pytest.mark.parametrize("pair", ["MP", "RI"])
def test_both_parts_of_a_series_make_a_complex_image(tmp_path: Path, pair: str) -> None:
    series = generate_uid(None)
    phase = (np.angle(X) / np.pi + 1) * 2048
    parts = {"M": np.abs(X) * 4000, "P": phase, "R": (X.real + 1) * 2000, "I": (X.imag + 1) * 2000}
    for part in pair:
        rescale = {"RescaleSlope": 2, "RescaleIntercept": -4096} if part == "P" else {}
        if pair == "RI":
            rescale = {"RescaleSlope": 2, "RescaleIntercept": -4000}
        for position in range(2):
            values = {"ImageType": ["ORIGINAL", "PRIMARY", part], **rescale}
            save(image(position, np.rint(parts[part][position]), series, **values), tmp_path / f"{part}{position}")
    scan = read_scan(tmp_path)
    assert not scan.magnitude_only
    np.testing.assert_allclose(images_of(tmp_path), X * 4000, atol=12)
    assert any("-4096 ... 4095" in warning for warning in scan.warnings) is (pair == "MP")


def test_what_is_no_scan_is_left_out_of_a_folder_and_refused_by_name(tmp_path: Path) -> None:
    save_series(tmp_path / "good", PIXELS)
    ct = save(image(0, PIXELS[0], generate_uid(None), SOPClassUID=CTImageStorage), tmp_path / "ct.dcm")
    phase = save(image(0, PIXELS[0], generate_uid(None), ImageType=["ORIGINAL", "PRIMARY", "P"]), tmp_path / "p.dcm")
    scout = generate_uid(None)
    save(image(0, PIXELS[0], scout), tmp_path / "scout1.dcm")
    save(image(0, PIXELS[0], scout, ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), tmp_path / "scout2.dcm")
    assert find_scans(tmp_path) == [tmp_path / "good" / "IM0"]
    with pytest.raises(ValueError, match=r"ct.dcm: SOPClassUID must be that of MR images: got CT Image Storage"):
        read_scan(ct)
    with pytest.raises(ValueError, match=r"p.dcm: the series must hold magnitude images: got P only"):
        read_scan(phase)
    with pytest.raises(ValueError, match=r"scout1.dcm: ImageOrientationPatient must be .* got 2 orientations"):
        read_scan(tmp_path / "scout2.dcm")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, "PhotometricInterpretation must be MONOCHROME2"),
        ({"Rows": 0}, "Rows and Columns must be"),
        ({"Rows": 60000, "Columns": 60000}, "Rows and Columns must be"),
        ({"Rows": 4}, r"Rows and Columns must be the same in a whole series: got \[\(4, 7\), \(5, 7"),
        ({"Rows": 900}, "PixelData must hold 12600 bytes: the file is truncated"),
        ({"PixelSpacing": [1.0, 1.5]}, "PixelSpacing must be the same"),
        ({"ImagePositionPatient": [float(v) for v in ORIGIN]}, "same number of images at each place: got 1 to 2"),
    ],
)
def test_one_file_that_does_not_fit_its_series_is_told(tmp_path: Path, change: dict[str, object], rule: str) -> None:
    series = generate_uid(None)
    for position in range(3):
        save(image(position, PIXELS[position], series, **(change if position == 1 else {})), tmp_path / f"{position}")
    with pytest.raises((ValueError, OSError), match=rule):
        read_scan(tmp_path / "0")


def test_a_missing_slice_causes_a_warning(tmp_path: Path) -> None:
    series = generate_uid(None)
    for position in (0, 1, 3):
        save(image(position, PIXELS[position], series), tmp_path / f"{position}")
    scan = read_scan(tmp_path)
    assert (scan.affine, scan.slice_spacing) == (None, None)
    assert "slices are not equally spaced (4 ... 8 mm): orientation is not known" in scan.warnings


def test_maps_are_left_out_of_a_folder_and_told_of_by_name(tmp_path: Path) -> None:
    """Regression: a map of T2 was a T2w scan to train on."""
    save_series(tmp_path / "measured", PIXELS, ImageType=["ORIGINAL", "PRIMARY", "M", "ND"])
    save_series(tmp_path / "computed", PIXELS, ImageType=["DERIVED", "PRIMARY", "T2 MAP", "ND"])
    assert find_scans(tmp_path) == [tmp_path / "measured" / "IM0"]
    assert "derived images: T2 MAP" in read_scan(tmp_path / "computed" / "IM0").warnings


def test_a_map_among_the_frames_of_a_scan_is_no_volume_of_it(tmp_path: Path) -> None:
    """Philips puts the ADC beside what it was computed from, and calls the phase of complex images a map."""
    dataset = enhanced(np.concatenate([PIXELS, PIXELS]))
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.PlanePositionSequence[0].ImagePositionPatient = [float(v) for v in ORIGIN + number % 4 * GAP * NORMAL]
        group.PixelValueTransformationSequence[0].RescaleSlope = 1
        kind = Dataset()
        kind.FrameType = ["ORIGINAL", "PRIMARY", "ADC" if number >= 4 else "PHASE MAP", "NONE"]
        group.MRImageFrameTypeSequence = Sequence([kind])
    scan = read_scan(save(dataset, tmp_path / "a.dcm"))
    assert (scan.n_slices, scan.n_volumes) == (4, 1)
    assert "4 derived images (ADC) were left out" in scan.warnings
    np.testing.assert_array_equal(images_of(tmp_path), PIXELS)


def test_real_parts_alone_are_not_called_magnitudes(tmp_path: Path) -> None:
    save_series(tmp_path / "real", PIXELS, ImageType=["ORIGINAL", "PRIMARY", "R"])
    save_series(tmp_path / "imaginary", PIXELS, ImageType=["ORIGINAL", "PRIMARY", "I"])
    assert find_scans(tmp_path) == [tmp_path / "real" / "IM0"]
    assert read_scan(tmp_path / "real").warnings == (REAL_ONLY,)
