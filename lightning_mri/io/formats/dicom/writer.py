"""DICOM: a derived series of MR images, one file a slice, in the study of the scan it came from."""

import hashlib
import math
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt16
from torch import Tensor

import lightning_mri
from lightning_mri.files import atomic_folder
from lightning_mri.io.formats.dicom.elements import STD
from lightning_mri.io.formats.dicom.files import MR_IMAGE, READOUTS
from lightning_mri.io.formats.dicom.study import DicomStudy, SourceFile
from lightning_mri.io.geometry import Place, as_shown, is_shown_transposed, lps_of, shear
from lightning_mri.lazy import lazy

pydicom = lazy("pydicom")

# highdicom 0.28 makes secondary captures, segmentations and parametric maps, but no MR images: pydicom writes these.
EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator", "PatientPosition", "ScanOptions"),
    *("MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength", "SliceThickness", "Laterality"),
)
"""What must be there, empty where it is not known."""
UNPAIRED = ("ABDOMEN", "BRAIN", "CHEST", "CSPINE", "HEAD", "HEART", "LIVER", "LSPINE", "NECK", "PELVIS", "TSPINE")
"""Parts of the body that have no side, not even an empty one."""
FIRST_SERIES, MAX_SERIES = 9000, 999_999
MAX_GREY = 2**16 - 1
LEAST_PEAK = 1000
WHITE_PERCENTILE = 99.7
NOTICE = "Research use only, not for diagnosis."


@dataclass(frozen=True, eq=False)
class Series:
    """Images that become one series.

    Args:
        name: Name of its folder.
        images: Magnitudes, zero or more; volume after volume.
        description: For lists of series.
        derivation: How the images were made.
        warnings: What a reader should know, one sentence each; that of a slice begins with ``slice 3:``.
        is_std: Whether they are standard deviations, which nobody is to take for a scan.
    """

    name: str
    images: Float[Tensor, "slice y x"]
    description: str
    derivation: str
    warnings: Sequence[str] = ()
    is_std: bool = False

    def comments(self, index: int) -> str:
        """Return what is said of one slice: its own warnings, without its number, before those of the whole scan."""
        of = [(re.match(r"slice (\d+): ", warning), warning) for warning in self.warnings]
        own = [f"this slice: {text[match.end() :]}" for match, text in of if match and int(match[1]) == index]
        return " ".join(f"{text[0].upper()}{text[1:]}." for text in (*own, *(text for match, text in of if not match)))


@dataclass(frozen=True)
class Greys:
    """How images become grey values."""

    unit: int  # power of ten by which they are multiplied
    peak: float | None = None  # greatest value of all series, where these share one slope
    white: float | None = None  # what all of them show as white, where they share a window

    def of(self, images: Float[np.ndarray, "slice y x"]) -> tuple[UInt16[np.ndarray, "slice y x"], float]:
        """Return 16-bit grey values and the slope, as DICOM can write it, that takes them back."""
        scaled = images * 10.0**self.unit
        peak = float(scaled.max()) if self.peak is None else self.peak * 10.0**self.unit
        slope = float(_decimal(peak / MAX_GREY * (1 + 1e-9))) if peak > 0 else 1.0
        return np.clip(np.rint(scaled / slope), 0, MAX_GREY).astype("<u2"), slope

    def white_of(self, stored: UInt16[np.ndarray, "slice y x"], slope: float) -> float:
        """Return what is shown as white, in grey values times the slope."""
        if self.white is None:
            return float(np.percentile(stored, WHITE_PERCENTILE)) * slope
        return self.white * 10.0**self.unit


def write_dicom(
    folder: str | Path,
    series: Sequence[Series],
    place: Place,
    study: DicomStudy,
    subject: str,
    n_volumes: int = 1,
    field_strength: float | None = None,
    white: float | None = None,
    readout: Literal["y", "x"] | None = None,
) -> None:
    """Write series of one study, ``<folder>/<series>/0001.dcm`` and on; all of them appear at once.

    Viewers show rows and columns as they are stored: both are reversed and exchanged as needed so that left is on the
    right, and the front or the head on top. Positions go with them: every voxel stays where it was.

    Grey values times the rescale slope, which like the window is one for a whole series, are the images times a
    power of ten, one for all series, that brings small images into the range that viewers show. With ``white`` slope
    and window are one for all series, too.

    The comments of each file hold its slice's warnings and those of the whole scan.

    Args:
        folder: Folder to write, replaced as a whole.
        series: Images of the same shape.
        place: Where they lie. The study's frame of reference is taken over only if the scan says where it lies.
        study: Patient and study; a new study for ``subject`` if it has none.
        subject: Who was scanned.
        n_volumes: How many volumes follow each other along the slices.
        field_strength: In tesla, if known.
        white: What is shown as white in all series, in units of the images; the 99.7th percentile of each if not given.
        readout: Axis of the images along which the readout ran, if known: the direction of the phase encoding,
            InPlanePhaseEncodingDirection, says so.

    Raises:
        ValueError: If images are complex, negative or not finite, or the rows and columns are not at right angles,
            which DICOM cannot say.
    """
    folder = Path(folder)
    for each in series:
        if each.images.is_complex() or not bool((each.images.isfinite() & (each.images >= 0)).all()):
            raise ValueError(f"{folder}: images of {each.name} must be real, finite and not negative to be DICOM")
    check_place(place)
    _, shown = as_shown(series[0].images, place)
    common = _common(study, subject, shown, n_volumes, field_strength)
    if readout is not None:
        common.InPlanePhaseEncodingDirection = _phase_encoding(readout, place)
    peak = None if white is None else max(float(each.images.max()) for each in series)
    greys = Greys(_unit(float(series[0].images.max()) if peak is None else peak), peak, white)
    # drawn, since a study may hold results of other scans and runs, which are not known here
    first = FIRST_SERIES + secrets.randbelow(MAX_SERIES - FIRST_SERIES - len(series))
    with atomic_folder(folder) as part:
        for number, images in enumerate(series, first):
            turned = replace(images, images=as_shown(images.images, place)[0])
            _write_series(part / images.name, turned, number, common, shown, n_volumes, greys, study)


def check_place(place: Place) -> None:
    """Refuse an affine that DICOM cannot express.

    Raises:
        ValueError: If rows and columns are not at right angles, or the library that writes DICOM is not installed.
    """
    _ = pydicom.Dataset  # before anything is computed
    if (cosine := shear(place.affine)) is not None:
        raise ValueError(f"affine must have rows and columns at right angles to be DICOM: got a cosine of {cosine:.3g}")


def _phase_encoding(readout: Literal["y", "x"], place: Place) -> str:
    """Return whether rows or columns of the stored image, turned as viewers show it, run along the phase encoding."""
    turned = {"y": "x", "x": "y"}[readout] if is_shown_transposed(place.affine) else readout
    return next(direction for direction, axis in READOUTS.items() if axis == turned)  # COL before COLUMN


def _common(
    study: DicomStudy, subject: str, place: Place, n_volumes: int, field_strength: float | None
) -> "pydicom.Dataset":
    """Return what is the same in all files."""
    now = datetime.now()
    dataset = pydicom.Dataset()
    for name in EMPTY:
        setattr(dataset, name, None)
    if study.attributes is None:  # else a study of one patient would have images of a second one
        dataset.PatientID, dataset.PatientName = _identity(subject), _name(subject)
    dataset.StudyInstanceUID, dataset.StudyID = pydicom.uid.generate_uid(None), "1"
    dataset.StudyDate, dataset.StudyTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    dataset.ScanningSequence, dataset.SequenceVariant = "RM", "NONE"
    if field_strength is not None:
        dataset.MagneticFieldStrength = _decimal(field_strength)
    for element in study.attributes or ():
        dataset[element.tag] = element
    if dataset.get("BodyPartExamined") in UNPAIRED and not dataset.Laterality:
        del dataset.Laterality
    if n_volumes > 1:
        dataset.EchoTime, dataset.NumberOfTemporalPositions = None, n_volumes
    known = study.frame_of_reference if place.is_known else None
    dataset.FrameOfReferenceUID = known or pydicom.uid.generate_uid(None)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.Modality = MR_IMAGE, "MR"
    dataset.Manufacturer, dataset.ManufacturerModelName = "lightning_mri", "lightning_mri"
    dataset.SoftwareVersions = lightning_mri.__version__
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    dataset.SeriesDate = dataset.ContentDate = dataset.InstanceCreationDate = f"{now:%Y%m%d}"
    dataset.SeriesTime = dataset.ContentTime = dataset.InstanceCreationTime = f"{now:%H%M%S}"
    _add_plane(dataset, place)
    return dataset


def _add_plane(dataset: "pydicom.Dataset", place: Place) -> None:
    lps = lps_of(place)
    spacing = np.linalg.norm(lps[:, :2], axis=0)
    axes = lps[:, :2] / spacing
    # at right angles to the last digit, as viewers check
    axes[:, 1] -= axes[:, 0] * (axes[:, 0] @ axes[:, 1])
    axes[:, 1] /= np.linalg.norm(axes[:, 1])
    gap = float(abs(np.cross(axes[:, 0], axes[:, 1]) @ lps[:, 2]))
    dataset.PixelSpacing = [_length(float(spacing[1])), _length(float(spacing[0]))]
    dataset.ImageOrientationPatient = [_decimal(float(v)) for v in axes.T.ravel()]
    dataset.SpacingBetweenSlices = _length(gap)
    dataset.PixelRepresentation, dataset.SamplesPerPixel = 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15


def _write_series(
    folder: Path,
    series: Series,
    number: int,
    common: "pydicom.Dataset",
    place: Place,
    n_volumes: int,
    greys: Greys,
    study: DicomStudy,
) -> None:
    folder.mkdir()
    stored, slope = greys.of(series.images.double().numpy(force=True))
    dataset = pydicom.Dataset()
    dataset.update(common)
    dataset.SeriesInstanceUID, dataset.SeriesNumber = pydicom.uid.generate_uid(None), number
    dataset.SeriesDescription = _text(series.description, 64)
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER", *((STD,) if series.is_std else ())]
    scaled = "" if greys.unit == 0 else f" Grey values are those of the input times 1e{greys.unit}."
    dataset.DerivationDescription = _text(f"{NOTICE} {series.derivation}{scaled}", 1024)
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = _decimal(slope), 0, "US"
    white = max(1.0, greys.white_of(stored, slope))
    dataset.WindowCenter, dataset.WindowWidth = _decimal(white / 2), _decimal(white)
    n_slices, dataset.Rows, dataset.Columns = stored.shape
    x, y, step, origin = lps_of(place).T
    normal = np.cross(x, y) / np.linalg.norm(np.cross(x, y))
    for index, pixels in enumerate(stored):
        volume, position = divmod(index, n_slices // n_volumes)
        dataset.SOPInstanceUID, dataset.InstanceNumber = pydicom.uid.generate_uid(None), index + 1
        if series.warnings:
            dataset.ImageComments = _text(series.comments(index), 10_240)
        if n_volumes > 1:
            dataset.TemporalPositionIdentifier = volume + 1
        at = origin + position * step
        dataset.ImagePositionPatient = [_decimal(float(v)) for v in at]
        sources = study.files_at(at, normal, abs(float(normal @ step))) if place.is_known else []
        dataset.pop("SourceImageSequence", None)
        if sources:
            dataset.SourceImageSequence = [_reference(file) for file in sources]
        dataset.PixelData = pixels.tobytes()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.save_as(folder / f"{index + 1:04d}.dcm", enforce_file_format=True)


def _reference(file: SourceFile) -> "pydicom.Dataset":
    """Return an image's link to one that it was made from."""
    item, purpose = pydicom.Dataset(), pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = file.sop_class, file.instance
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _unit(peak: float) -> int:
    """Return the power of ten that brings the peak to 1000 at least; 0 if it is there."""
    return 0 if peak <= 0 or peak >= LEAST_PEAK else math.ceil(math.log10(LEAST_PEAK / peak))


def _length(mm: float) -> str:
    """Return the shortest number that an affine in single precision cannot tell from a length: 2.4, not 2.39999997."""
    found = (float(f"{mm:.{digits}g}") for digits in range(1, 18))
    return _decimal(next(each for each in found if math.isclose(each, mm, rel_tol=2e-7)))


def _decimal(number: float) -> str:
    """Return a number as DICOM writes it, in 16 characters at most."""
    return str(pydicom.valuerep.format_number_as_ds(number))


def _identity(subject: str) -> str:
    """Return an identity that DICOM can hold; what has to be changed for it gets a hash: no two patients are one."""
    text = _text(subject, 64)
    return text if text == subject else f"{_text(subject, 55)}~{hashlib.sha256(subject.encode()).hexdigest()[:8]}"


def _name(subject: str) -> str:
    """Return a person's name, of which the identity is the family name: one without ``^`` has the form of ACR-NEMA."""
    return f"{_identity(subject).replace('^', ' ').replace('=', ' ')[:63]}^"


def _text(text: str, length: int) -> str:
    """Return text as DICOM holds it: printable, without its separator, not too long."""
    return "".join(c if c.isprintable() and c != "\\" else " " for c in text).strip()[:length].strip()
