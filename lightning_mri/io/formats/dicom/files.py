"""DICOM files: what the header of one says, and its images, frame by frame."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from lightning_mri.io.arrays import MAX_PIXELS, StoredArray
from lightning_mri.io.contrasts import contrast_of
from lightning_mri.io.formats.dicom.elements import PRIVATE, component_of, derived, diffusion, number, numbers, positive
from lightning_mri.lazy import lazy
from lightning_mri.messages import error_context, printable, sentence

logging.getLogger("pydicom").setLevel(logging.ERROR)  # it warns of each text in an odd character set

pydicom = lazy("pydicom")

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
MULTIFRAME = (f"{MR_IMAGE}.1", f"{MR_IMAGE}.4")
"""SOP classes of enhanced images, measured as such or converted."""
DEFLATED = "1.2.840.10008.1.2.1.99"
HEAD_BYTES = 1024
MAX_SLICES = 2**14
"""Of one mosaic."""
GROUPS = (
    "PlanePositionSequence PlaneOrientationSequence PixelMeasuresSequence PixelValueTransformationSequence"
    " MRImageFrameTypeSequence MREchoSequence FrameContentSequence TemporalPositionSequence MRFOVGeometrySequence"
    " MRDiffusionSequence MRModifierSequence CardiacSynchronizationSequence MRTimingAndRelatedParametersSequence"
)
"""Functional groups of enhanced images that are read."""
READOUTS = {"ROW": "y", "COL": "x", "COLUMN": "x"}
"""Axis of the readout by the direction of the phase encoding, in which a row or a column counts up."""
TAGS = (
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber InstanceNumber"
    " ImageType Manufacturer SeriesDescription ProtocolName PatientID MagneticFieldStrength Rows Columns"
    " ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness SpacingBetweenSlices"
    " RescaleSlope RescaleIntercept PhotometricInterpretation SamplesPerPixel BitsAllocated"
    " EchoTime EchoNumbers TemporalPositionIdentifier AcquisitionNumber NumberOfFrames"
    " SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence ComplexImageComponent"
    " InPlanePhaseEncodingDirection DiffusionBValue DiffusionGradientOrientation InversionTime TriggerTime FlipAngle"
)


@dataclass(frozen=True)
class Frame:
    """One image: where its pixels are, and what its header says; lengths in mm, directions in LPS."""

    path: Path
    index: int | None  # frame of the file, None where it holds one
    matrix: tuple[int, int]  # rows and columns
    corner: tuple[int, int] | None  # first row and column within the stored image, None where it is all of it
    component: str  # M, P, R or I: magnitude, phase, real or imaginary part
    order: tuple[float, ...]  # echo, time and number, in which images at one place are counted
    slope: float  # values are slope * stored + intercept
    intercept: float
    position: tuple[float, ...] | None  # centre of the first pixel
    orientation: tuple[float, ...] | None  # directions in which columns and rows count up
    spacing: tuple[float, float] | None  # of pixels (y, x)
    thickness: float | None  # distance of slices, else their thickness
    derived: str = ""  # what was computed of measured images, such as a map: the word of the image type
    readout: str | None = None  # axis along which it ran, y or x
    diffusion: tuple[float, ...] = ()  # b-value in s/mm^2 and direction of the gradient, 0 where there is none
    inversion_ms: float = 0.0  # inversion time
    flip_angle: float = 0.0  # in degrees
    trigger_ms: float = 0.0  # time since the heartbeat
    dimensions: tuple[float, ...] = ()  # indices by which a multi-frame file counts its frames, some of them by place

    @property
    def is_placed(self) -> bool:
        """Whether the header says where the image lies."""
        return self.position is not None and self.orientation is not None

    @property
    def normal(self) -> np.ndarray:
        """Normal of the image, LPS."""
        assert self.orientation is not None
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def distance(self) -> float:
        """Distance along the normal in mm."""
        assert self.position is not None
        return float(np.dot(self.position, self.normal))


@dataclass(frozen=True)
class SeriesFile:
    """What a file says of its series, and its frames; or why it holds none."""

    series: str
    instance: str = ""  # identity of the file's images
    study: str = ""
    number: int | None = None
    description: str = ""  # of the series, else the protocol's name
    patient: str = ""
    field_strength: float | None = None  # in tesla
    frames: tuple[Frame, ...] = ()
    refusal: str = ""  # why the file cannot be read, if so
    is_image: bool = True  # whether it holds MR images at all, and no report, raw data or the like


class FrameArray(StoredArray):
    """Frames of one size, each decoded when it is asked for."""

    def __init__(self, path: Path, frames: Sequence[Frame]) -> None:
        super().__init__(path, "image", (len(frames), *frames[0].matrix))
        self.frames = tuple(frames)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return images ``start`` to ``stop``."""
        images = np.zeros((stop - start, *self.shape[1:]), np.float32)
        wanted = zip(images, self.frames[start:stop], strict=True)
        for path, group in groupby(wanted, key=lambda pair: pair[1].path):
            pairs = list(group)
            stored = _decoded(path, [frame.index or 0 for _, frame in pairs])
            for image, frame in pairs:
                (rows, columns), (row, column) = frame.matrix, frame.corner or (0, 0)
                pixels = stored[frame.index or 0]
                if frame.corner is not None:
                    pixels = pixels[row : row + rows, column : column + columns]
                if pixels.shape != frame.matrix:
                    raise ValueError(f"{path}: image must have {frame.matrix} pixels: got {pixels.shape}")
                image[:] = pixels * frame.slope + frame.intercept
        return images


def _decoded(path: Path, indices: list[int]) -> dict[int, np.ndarray]:
    """Return frames of a file, whose header is parsed once: that of an enhanced image takes half a second."""
    distinct = list(dict.fromkeys(indices))  # slices of a mosaic share one
    quiet = warnings.catch_warnings(action="ignore")
    with error_context(path, "image must be readable DICOM"), quiet:
        return dict(zip(distinct, pydicom.pixels.iter_pixels(path, indices=distinct, raw=True), strict=True))


def is_dicom(head: bytes) -> bool:
    """Return whether a file with these first bytes is DICOM."""
    return head[128:132] == b"DICM"


def read_header(path: Path) -> SeriesFile | None:
    """Return a file's header, without pixels; None if it is not DICOM.

    What is wrong with a file becomes the header's refusal, so that it stops no other.
    """
    series = ""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if not is_dicom(head):
                return None
            if DEFLATED.encode() in head:
                raise ValueError(f"{path}: the transfer syntax must not be deflated: what it unpacks to has no bound")
            file.seek(0)
            quiet = warnings.catch_warnings(action="ignore")
            with error_context(path, "header must be readable DICOM"), quiet:
                dataset = pydicom.dcmread(
                    file, stop_before_pixels=True, specific_tags=[*map(pydicom.tag.Tag, (*TAGS.split(), *PRIVATE))]
                )
                series = str(dataset.get("SeriesInstanceUID") or "")
                kind = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
                if kind not in (MR_IMAGE, *MULTIFRAME):
                    other = f"SOPClassUID must be that of MR images: got {_short(getattr(kind, 'name', kind))}"
                    return SeriesFile(series, refusal=other, is_image=kind is None)
                return _parsed(path, dataset, series)
    except (OSError, ValueError) as error:
        return SeriesFile(series, refusal=str(error).removeprefix(f"{path}: "))


def _parsed(path: Path, dataset: "pydicom.Dataset", series: str) -> SeriesFile:
    """Return what the header of an MR image says."""
    _check_pixels(path, dataset)
    if not series:
        raise ValueError(f"{path}: SeriesInstanceUID must be there: got none")
    description = str(dataset.get("SeriesDescription") or "")
    protocol = str(dataset.get("ProtocolName") or "")
    multiframe = dataset.get("SOPClassUID") in MULTIFRAME
    return SeriesFile(
        series=series,
        instance=str(dataset.get("SOPInstanceUID") or ""),
        study=str(dataset.get("StudyInstanceUID") or ""),
        number=number(dataset, "SeriesNumber", int),
        description=description if contrast_of(description) or not contrast_of(protocol) else protocol,
        patient=str(dataset.get("PatientID") or "").strip(),
        field_strength=positive(number(dataset, "MagneticFieldStrength")),
        frames=tuple(_enhanced(path, dataset) if multiframe else _classic(path, dataset)),
    )


def _check_pixels(path: Path, dataset: "pydicom.Dataset") -> None:
    """Refuse pixels that are not grey, more than the file can hold, or packed in a way that cannot be unpacked."""
    photometric = dataset.get("PhotometricInterpretation")
    if photometric != "MONOCHROME2" or dataset.get("SamplesPerPixel", 1) != 1:
        raise ValueError(f"{path}: PhotometricInterpretation must be MONOCHROME2: got {_short(photometric)}")
    rows, columns, bits = (int(dataset.get(name) or 0) for name in ("Rows", "Columns", "BitsAllocated"))
    if not 0 < rows * columns <= MAX_PIXELS or bits not in (8, 16, 32):
        rule = f"Rows and Columns must be 1 ... {MAX_PIXELS} pixels in all of 8, 16 or 32 bits"
        raise ValueError(f"{path}: {rule}: got {rows}, {columns} and {bits}")
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        needed = rows * columns * bits // 8 * int(dataset.get("NumberOfFrames") or 1)
        if needed > path.stat().st_size:
            raise ValueError(f"{path}: PixelData must hold {needed} bytes: the file is truncated")
    elif not pydicom.pixels.get_decoder(syntax).is_available:
        raise ValueError(f"{path}: the transfer syntax must be one that pydicom decodes here: got {syntax.name}")


def _classic(path: Path, dataset: "pydicom.Dataset") -> list[Frame]:
    """Return the one frame of a file, or the slices of a Siemens mosaic."""
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise ValueError(f"{path}: NumberOfFrames must be 1 in an MR image: got {dataset.NumberOfFrames}")
    names = ("EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "AcquisitionNumber", "InstanceNumber")
    order = [number(dataset, name) for name in names]
    frame = _frame(path, None, dataset, dataset, component_of(dataset), order)
    return _tiles(frame, dataset) if "MOSAIC" in (dataset.get("ImageType") or ()) else [frame]


def _tiles(mosaic: Frame, dataset: "pydicom.Dataset") -> list[Frame]:
    """Return the slices that a Siemens mosaic shows side by side, where nibabel finds them."""
    try:
        with warnings.catch_warnings(action="ignore"):  # nibabel warns of its readers when they are imported
            from nibabel.nicom.dicomwrappers import MosaicWrapper
        wrapper = MosaicWrapper(dataset)
        rows, columns, n_slices = wrapper.image_shape
        step = np.asarray(wrapper.slice_normal) * wrapper.voxel_sizes[2]
        first = np.asarray(wrapper.image_position)
    except Exception as error:  # nibabel's own, and what its parsers stumble on
        rule = "ImageType must not be MOSAIC unless the private header, which says where its slices lie, was kept"
        raise ValueError(f"{mosaic.path}: {rule}: {sentence(error)}") from error
    if not 0 < n_slices <= MAX_SLICES or min(rows, columns) < 1:
        raise ValueError(f"{mosaic.path}: the mosaic must hold its slices: got {n_slices} of {rows} x {columns}")
    return [
        replace(
            mosaic,
            matrix=(rows, columns),
            corner=(i // wrapper.mosaic_size * rows, i % wrapper.mosaic_size * columns),
            position=tuple((first + i * step).tolist()),
        )
        for i in range(n_slices)
    ]


def _enhanced(path: Path, dataset: "pydicom.Dataset") -> Iterator[Frame]:
    """Yield the frames of a multi-frame file, whose number its size bounds."""
    n_frames = int(dataset.get("NumberOfFrames") or 0)
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if n_frames < 1 or len(groups) != n_frames:
        rule = "NumberOfFrames must agree with the functional groups"
        raise ValueError(f"{path}: {rule}: got {n_frames} and {len(groups)}")
    shared = _item(dataset, "SharedFunctionalGroupsSequence")
    for index, group in enumerate(groups):
        merged = pydicom.Dataset()
        for source in (shared, group):
            for name in GROUPS.split():  # private groups repeat the names of these with values of another meaning
                merged.update(_item(source, name))
        merged.update(_item(merged, "DiffusionGradientDirectionSequence"))
        names = ("EffectiveEchoTime", "EchoNumbers", "TemporalPositionIndex")  # as in `_classic`
        order = [*(number(merged, name) for name in names), number(dataset, "InstanceNumber"), index]
        yield _frame(path, index, dataset, merged, component_of(merged, component_of(dataset)), order)


def _item(dataset: "pydicom.Dataset", name: str) -> "pydicom.Dataset":
    """Return the first item of a sequence, an empty one if there is none."""
    return (dataset.get(name) or [pydicom.Dataset()])[0]


def _frame(
    path: Path,
    index: int | None,
    dataset: "pydicom.Dataset",
    own: "pydicom.Dataset",
    component: str,
    order: Sequence[float | None],
) -> Frame:
    spacing = numbers(own, "PixelSpacing", 2)
    return Frame(
        path=path,
        index=index,
        matrix=(int(dataset.Rows), int(dataset.Columns)),
        corner=None,
        component=component,
        order=tuple(0.0 if value is None else value for value in order),
        slope=number(own, "RescaleSlope") or 1.0,
        intercept=number(own, "RescaleIntercept") or 0.0,
        position=numbers(own, "ImagePositionPatient", 3),
        orientation=numbers(own, "ImageOrientationPatient", 6),
        spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        thickness=positive(number(own, "SpacingBetweenSlices")) or positive(number(own, "SliceThickness")),
        derived=derived(own.get("FrameType") or dataset.get("ImageType")),
        readout=READOUTS.get(str(own.get("InPlanePhaseEncodingDirection"))),
        diffusion=diffusion(own),
        inversion_ms=number(own, "InversionTimes") or number(own, "InversionTime") or 0.0,
        flip_angle=number(own, "FlipAngle") or 0.0,
        trigger_ms=number(own, "NominalCardiacTriggerDelayTime") or number(own, "TriggerTime") or 0.0,
        dimensions=numbers(own, "DimensionIndexValues") or (),
    )


def _short(value: Any) -> str:
    """Return what a file says so that it fits into a sentence."""
    return printable(str(value))[:60]
