"""Slices in DICOM, written by pydicom as scanners write them."""

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
