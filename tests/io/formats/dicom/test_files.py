"""Headers and frames of single DICOM files: what is told of them, and what is refused before pixels are read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLosslessSV1, RLELossless, generate_uid

from lightning_mri.io.formats.dicom.files import FrameArray, SeriesFile, read_header
from tests.io.formats.dicom_slices import PIXELS, enhanced, image, save

SERIES = generate_uid(None)


def header_of(path: Path) -> SeriesFile:
    header = read_header(path)
    assert header is not None
    return header


def test_what_is_not_dicom_has_no_header(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(200))
    assert read_header(tmp_path / "a") is None


def test_packed_pixels_are_unpacked(tmp_path: Path) -> None:
    dataset = image(0, PIXELS[0], SERIES)
    dataset.compress(RLELossless)
    path = save(dataset, tmp_path / "a.dcm")
    np.testing.assert_array_equal(FrameArray(path, header_of(path).frames).read(0, 1)[0], PIXELS[0])


def a_million_frames(_: Dataset) -> Dataset:
    dataset = enhanced(PIXELS)
    dataset.NumberOfFrames = 1_000_000
    return dataset


def packed_as_jpeg(dataset: Dataset) -> Dataset:
    dataset.PixelData = encapsulate([bytes(dataset.PixelData)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    return dataset


def deflated(dataset: Dataset) -> Dataset:
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return dataset


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        (a_million_frames, "PixelData must hold 70000000 bytes: the file is truncated"),
        (packed_as_jpeg, "the transfer syntax must be one that pydicom decodes here: got JPEG Lossless"),
        (deflated, "the transfer syntax must not be deflated"),
    ],
)
def test_pixels_that_cannot_be_read_are_refused_before(
    tmp_path: Path, changed: Callable[[Dataset], Dataset], refusal: str
) -> None:
    path = save(changed(image(0, PIXELS[0], SERIES)), tmp_path / "a.dcm")
    assert header_of(path).refusal.startswith(refusal)
