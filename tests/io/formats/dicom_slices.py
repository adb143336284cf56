"""Slices in DICOM, written by pydicom as scanners write them."""

import struct
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

ROWS, COLUMNS = 5, 7
SPACING = [2.0, 1.5]
ROW, COLUMN = np.array([0.8, 0.6, 0.0]), np.array([0.0, 0.0, -1.0])
NORMAL = np.cross(ROW, COLUMN)
ORIGIN = np.array([10.0, -20.0, 30.0])
GAP = 4.0
PIXELS = np.random.default_rng(0).integers(0, 4096, (4, ROWS, COLUMNS))


def image(position: int, pixels: np.ndarray, series: str, **values: object) -> Dataset:
    """Return one slice, at ``position`` along the normal."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, generate_uid(None)
    dataset.SeriesInstanceUID, dataset.SeriesNumber = series, 5
    dataset.PatientID, dataset.SeriesDescription, dataset.MagneticFieldStrength = "P-1", "t2_flair_tra", "1.5"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.ImagePositionPatient = [float(v) for v in ORIGIN + position * GAP * NORMAL]
    dataset.ImageOrientationPatient = [*map(float, ROW), *map(float, COLUMN)]
    dataset.PixelSpacing, dataset.SliceThickness = SPACING, "3"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def enhanced(pixels: np.ndarray) -> Dataset:
    """Return slices as frames of one dataset, the last one first, each with a slope of its own."""
    dataset = image(0, pixels, generate_uid(None))
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "ImageType"):
        delattr(dataset, name)
    dataset.SOPClassUID, dataset.NumberOfFrames = EnhancedMRImageStorage, len(pixels)
    groups = []
    for position in reversed(range(len(pixels))):
        group, plane, value = Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient = [float(v) for v in ORIGIN + position * GAP * NORMAL]
        value.RescaleSlope, value.RescaleIntercept = position + 1, 0
        group.PlanePositionSequence, group.PixelValueTransformationSequence = Sequence([plane]), Sequence([value])
        groups.append(group)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [*map(float, ROW), *map(float, COLUMN)]
    measures.PixelSpacing, measures.SliceThickness = SPACING, 3
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return dataset


def mosaic(pixels: np.ndarray, series: str, **values: object) -> Dataset:
    """Return slices side by side in one image, as Siemens stores volumes, with what its private header says of them."""
    n, rows, columns = pixels.shape
    edge = int(np.ceil(np.sqrt(n)))
    sheet = np.zeros((edge, edge, rows, columns))
    sheet.reshape(-1, rows, columns)[:n] = pixels
    dataset = image(0, sheet.transpose(0, 2, 1, 3).reshape(edge * rows, edge * columns), series)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    # Siemens gives the position that a single slice of the sheet's size would have
    shift = (edge - 1) / 2 * (columns * SPACING[1] * ROW + rows * SPACING[0] * COLUMN)
    dataset.ImagePositionPatient = [float(v) for v in ORIGIN - shift]
    dataset.SpacingBetweenSlices = GAP
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", _csa(NumberOfImagesInMosaic=("US", [n]), SliceNormalVector=("FD", NORMAL)))
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def _csa(**tags: tuple[str, np.ndarray | list[int]]) -> bytes:
    """Return a private header of Siemens, of the second kind."""
    header = b"SV10" + bytes(4) + struct.pack("<2I", len(tags), 77)
    for name, (vr, values) in tags.items():
        header += struct.pack("<64si4s3i", name.encode(), len(values), vr.encode(), 0, len(values), 77)
        for value in values:
            text = str(value).encode() + bytes(1)
            header += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + bytes(-len(text) % 4)
    return header
