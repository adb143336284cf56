"""DICOM: the MR images of one series in one folder, a file each slice or enhanced multi-frame."""

import math
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from jaxtyping import Float
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder, pixel_array
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)
from torch import Tensor

from lightning_mri.data.contrasts import contrast_of
from lightning_mri.data.formats.complex_images import CartesianArray, PolarArray, phase_scale
from lightning_mri.data.formats.header import subject_of
from lightning_mri.data.scan import MAGNITUDE_ONLY, ImageArray, Scan, StoredArray

FORMAT = "DICOM"
MULTIFRAME = (EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
CLASSES = (MRImageStorage, *MULTIFRAME)
HEAD_BYTES = 1024
MAX_PIXELS = 2**26
"""Of one slice."""
GE_COMPONENT = Tag(0x0043, 0x102F)
COMPONENTS = {"M": "M", "P": "P", "R": "R", "I": "I", "MAGNITUDE": "M", "PHASE": "P", "REAL": "R", "IMAGINARY": "I"}
TAGS = (
    *("SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "ImageType", "Manufacturer"),
    *("SeriesDescription", "ProtocolName", "PatientID", "MagneticFieldStrength", "Rows", "Columns"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("RescaleSlope", "RescaleIntercept", "PhotometricInterpretation", "SamplesPerPixel", "BitsAllocated"),
    *("EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "AcquisitionNumber", "NumberOfFrames"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ComplexImageComponent"),
)
GAP_TOLERANCE = 0.02
"""Share of the spacing by which slices may be off."""


class RefusalError(ValueError):
    """A rule of ours that a header breaks, told apart from what pydicom raises."""


@dataclass(frozen=True)
class Frame:
    """One image: where its pixels are, and what its header says.

    Args:
        path: File.
        index: Frame of the file, None where it holds one.
        matrix: Rows and columns.
        component: ``M``, ``P``, ``R`` or ``I``: magnitude, phase, real or imaginary part.
        order: What tells images at one place apart, in order: echo, time, number.
        slope: Pixel values are slope * stored + intercept.
        intercept: See ``slope``.
        position: Centre of the first pixel, LPS, mm.
        orientation: Directions in which columns and rows count up, LPS.
        spacing: Distance (y, x) of pixels in mm.
        thickness: Distance of slices, else their thickness, in mm, as the header has it.
    """

    path: Path
    index: int | None
    matrix: tuple[int, int]
    component: str
    order: tuple[float, ...]
    slope: float
    intercept: float
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    thickness: float | None


@dataclass(frozen=True)
class Header:
    """What a file says of its series, and its frames; or why it holds none.

    Args:
        series: Identity of the series.
        number: Number of the series.
        description: Of the series, else the protocol's name.
        patient: Identity of the patient.
        field_strength: In tesla.
        frames: Images of the file.
        refusal: Why the file cannot be read, if so.
        is_image: Whether it holds MR images at all, and no report or the like.
    """

    series: str
    number: int | None = None
    description: str = ""
    patient: str = ""
    field_strength: float | None = None
    frames: tuple[Frame, ...] = ()
    refusal: str = ""
    is_image: bool = True


def locate(path: Path, head: bytes) -> Path | None:
    """Return the first file, by name, of the series that a DICOM file belongs to."""
    return _members(path)[0][0] if head[128:132] == b"DICM" else None


def is_scan(path: Path) -> bool:
    """Return whether a series holds MR images in one orientation: no report, no scout, no phase on its own."""
    headers = [header for _, header in _members(path)]
    if any(header.refusal for header in headers):
        return headers[0].is_image  # let the reader say what is wrong with it
    frames = [frame for header in headers for frame in header.frames]
    return any(frame.component in "MR" for frame in frames) and _n_orientations(frames) == 1


def read(path: Path) -> Scan:
    """Open the series that a file belongs to, its slices sorted by where they lie.

    Files of the series are those in the same folder with the same SeriesInstanceUID. Several images at one
    place, echoes or times, are volumes. Where a series has real and imaginary parts, or magnitude and phase, the
    images are complex.

    Raises:
        ValueError: If the series holds no MR images, several sizes or orientations, or volumes of unequal size.
        OSError: If a file is truncated or cannot be read.
    """
    members = _members(path)
    frames = _frames(path, members)
    header = members[0][1]
    components = _by_component(path, frames)
    chosen = components[min(components, key="RMIP".index)]
    volumes, doubts = _sorted(path, chosen)
    images, pair_doubts = _images(path, components)
    n_slices = len(volumes[0])
    place, place_doubts = _place(volumes[0])
    contrast = contrast_of(header.description)
    magnitude_only = isinstance(images, FrameArray)
    name = _name(path, members)
    return Scan(
        source=path,
        format=FORMAT,
        name=name,
        subject=subject_of(header.patient) or name,
        kspace=ImageArray(images),
        reconstruction_size=frames[0].matrix,
        contrast=contrast,
        stored_mask=torch.ones(1, *frames[0].matrix, dtype=torch.bool),
        pixel_size=frames[0].spacing,
        slice_spacing=place.spacing,
        affine=place.affine,
        field_strength=header.field_strength,
        n_volumes=len(images) // n_slices,
        magnitude_only=magnitude_only,
        doubts=(
            MAGNITUDE_ONLY if magnitude_only else "k-space was computed from complex images, its coils combined",
            *doubts,
            *pair_doubts,
            *place_doubts,
            *(() if contrast else (f"the contrast is not known: the series is named {header.description!r}",)),
        ),
    )


class FrameArray(StoredArray):
    """Images of a series, each decoded when it is asked for."""

    def __init__(self, path: Path, frames: Sequence[Frame]) -> None:
        super().__init__(path, "image", (len(frames), *frames[0].matrix))
        self.frames = tuple(frames)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return images ``start`` to ``stop``."""
        images = np.zeros((stop - start, *self.shape[1:]), np.float32)
        for image, frame in zip(images, self.frames[start:stop], strict=True):
            with _told(frame.path, "image"):
                stored = pixel_array(frame.path, index=frame.index or 0, raw=True)
            if stored.shape != frame.matrix:
                raise ValueError(f"{frame.path}: image must have {frame.matrix} pixels: got {stored.shape}")
            image[:] = stored * frame.slope + frame.intercept
        return images


@dataclass(frozen=True)
class Place:
    """Where a volume lies: distance of its slices in mm, and affine to RAS+ mm, if known."""

    spacing: float | None
    affine: Float[Tensor, "4 4"] | None


def _members(path: Path) -> list[tuple[Path, Header]]:
    """Return the files of a file's series, sorted by name, and their headers; the file alone if it tells none."""
    stat = path.stat()
    headers = _headers(path.parent, path.parent.stat().st_mtime_ns)
    if path not in headers or headers[path][0] != (stat.st_size, stat.st_mtime_ns):
        _headers.cache_clear()
        headers = _headers(path.parent, path.parent.stat().st_mtime_ns)
    own = headers[path][1] if path in headers else Header("", refusal="the file must be DICOM and not hidden")
    if not own.series:
        return [(path, own)]
    return [(file, header) for file, (_, header) in headers.items() if header.series == own.series]


@lru_cache(maxsize=2)
def _headers(folder: Path, changed: int) -> dict[Path, tuple[tuple[int, int], Header]]:
    """Read the headers of a folder's DICOM files, sorted by name, with the size and time at which they were read."""
    headers = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        stat = path.stat()
        header = _header(path)
        if header is not None:
            headers[path] = ((stat.st_size, stat.st_mtime_ns), header)
    return headers


def _header(path: Path) -> Header | None:
    """Return a file's header, without pixels; None if it is not DICOM."""
    series = ""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if head[128:132] != b"DICM":
                return None
            if str(DeflatedExplicitVRLittleEndian).encode() in head:
                raise RefusalError("the transfer syntax must not be deflated: what it unpacks to has no bound")
            file.seek(0)
            with _told(path, "header"):
                dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*map(Tag, TAGS), GE_COMPONENT])
                series = str(dataset.get("SeriesInstanceUID") or "")
                kind = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
                if kind not in CLASSES:
                    told = f"SOPClassUID must be that of MR images: got {_short(getattr(kind, 'name', kind))}"
                    return Header(series, refusal=told, is_image=kind is None)
                return _parsed(path, dataset, series)
    except (OSError, ValueError) as error:
        return Header(series, refusal=str(error).removeprefix(f"{path}: "))


def _parsed(path: Path, dataset: Dataset, series: str) -> Header:
    """Return what the header of an MR image says."""
    _check_pixels(path, dataset)
    if not series:
        raise RefusalError("SeriesInstanceUID must be there: got none")
    description = str(dataset.get("SeriesDescription") or "")
    protocol = str(dataset.get("ProtocolName") or "")
    multiframe = dataset.get("SOPClassUID") in MULTIFRAME
    return Header(
        series=series,
        number=_number(dataset, "SeriesNumber", int),
        description=description if contrast_of(description) or not contrast_of(protocol) else protocol,
        patient=str(dataset.get("PatientID") or "").strip(),
        field_strength=_positive(_number(dataset, "MagneticFieldStrength")),
        frames=tuple(_enhanced(path, dataset) if multiframe else [_classic(path, dataset)]),
    )


def _check_pixels(path: Path, dataset: Dataset) -> None:
    """Refuse pixels that are not grey, more than the file can hold, or packed in a way that cannot be unpacked."""
    photometric = dataset.get("PhotometricInterpretation")
    if photometric != "MONOCHROME2" or dataset.get("SamplesPerPixel", 1) != 1:
        raise RefusalError(f"PhotometricInterpretation must be MONOCHROME2: got {_short(photometric)}")
    rows, columns, bits = (int(dataset.get(name) or 0) for name in ("Rows", "Columns", "BitsAllocated"))
    if not 0 < rows * columns <= MAX_PIXELS or bits not in (8, 16, 32):
        raise RefusalError(
            f"Rows and Columns must be 1 ... {MAX_PIXELS} pixels in all of 8, 16 or 32 bits:"
            f" got {rows}, {columns} and {bits}"
        )
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        needed = rows * columns * bits // 8 * int(dataset.get("NumberOfFrames") or 1)
        if needed > path.stat().st_size:
            raise RefusalError(f"PixelData must hold {needed} bytes: the file is truncated")
    elif not get_decoder(syntax).is_available:
        raise RefusalError(f"the transfer syntax must be one that pydicom decodes here: got {syntax.name}")


def _classic(path: Path, dataset: Dataset) -> Frame:
    """Return the one frame of a file."""
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise RefusalError(f"NumberOfFrames must be 1 in an MR image: got {dataset.NumberOfFrames}")
    order = ("EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "AcquisitionNumber", "InstanceNumber")
    return _frame(path, None, dataset, dataset, _component(dataset), [_number(dataset, name) for name in order])


def _enhanced(path: Path, dataset: Dataset) -> Iterator[Frame]:
    """Yield the frames of a multi-frame file, whose number its size bounds."""
    n_frames = int(dataset.get("NumberOfFrames") or 0)
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if n_frames < 1 or len(groups) != n_frames:
        raise RefusalError(f"NumberOfFrames must agree with the functional groups: got {n_frames} and {len(groups)}")
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    for index, group in enumerate(groups):
        merged = Dataset()
        for source in (shared, group):
            for element in source:
                if element.VR == "SQ" and len(element.value) > 0:
                    merged.update(element.value[0])
        order = ("EffectiveEchoTime", "TemporalPositionIndex")
        component = _component(merged, _component(dataset))
        yield _frame(path, index, dataset, merged, component, [*(_number(merged, name) for name in order), index])


def _frame(
    path: Path, index: int | None, dataset: Dataset, own: Dataset, component: str, order: Sequence[float | None]
) -> Frame:
    spacing = _numbers(own, "PixelSpacing", 2)
    return Frame(
        path=path,
        index=index,
        matrix=(int(dataset.Rows), int(dataset.Columns)),
        component=component,
        order=tuple(0.0 if value is None else value for value in order),
        slope=_number(own, "RescaleSlope") or 1.0,
        intercept=_number(own, "RescaleIntercept") or 0.0,
        position=_numbers(own, "ImagePositionPatient", 3),
        orientation=_numbers(own, "ImageOrientationPatient", 6),
        spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        thickness=_positive(_number(own, "SpacingBetweenSlices")) or _positive(_number(own, "SliceThickness")),
    )


def _component(dataset: Dataset, default: str = "M") -> str:
    """Return which part of a complex image a header makes the image."""
    private = dataset.get(GE_COMPONENT)
    if private is not None and str(dataset.get("Manufacturer") or "").upper().startswith("GE"):
        value = private.value
        first = int.from_bytes(value[:2], "little") if isinstance(value, bytes) else np.atleast_1d(value)[0]
        return "MPRI"[int(first)] if 0 <= int(first) < 4 else default
    image_type = dataset.get("ImageType")
    words = [] if image_type is None or isinstance(image_type, str) else list(image_type)[2:]
    words = [dataset.get("ComplexImageComponent"), *words]
    return next((COMPONENTS[str(word)] for word in words if str(word) in COMPONENTS), default)


def _frames(path: Path, members: list[tuple[Path, Header]]) -> list[Frame]:
    """Return the frames of a series, which must form one stack."""
    for file, header in members:
        if header.refusal:
            raise ValueError(f"{file}: {header.refusal}")
    frames = [frame for _, header in members for frame in header.frames]
    matrices = sorted({frame.matrix for frame in frames})
    if len(matrices) > 1:
        raise ValueError(f"{path}: Rows and Columns must be the same in a whole series: got {matrices}")
    if (n := _n_orientations(frames)) > 1:
        raise ValueError(f"{path}: ImageOrientationPatient must be the same in a whole series: got {n} orientations")
    if len({frame.spacing for frame in frames}) > 1:
        raise ValueError(f"{path}: PixelSpacing must be the same in a whole series: got several")
    return frames


def _n_orientations(frames: Sequence[Frame]) -> int:
    """Return in how many directions slices lie, up to rounding."""
    seen: list[tuple[float, ...]] = []
    for frame in frames:
        own = frame.orientation or ()
        if not any(len(own) == len(other) and np.allclose(own, other, atol=0.01) for other in seen):
            seen.append(own)
    return len(seen)


def _by_component(path: Path, frames: list[Frame]) -> dict[str, list[Frame]]:
    """Return the frames of one image each: real and imaginary, or magnitude and phase, or magnitude alone."""
    found = defaultdict(list)
    for frame in frames:
        found[frame.component].append(frame)
    for pair in ("RI", "MP"):
        if all(component in found for component in pair):
            return {component: found[component] for component in pair}
    if "M" in found or "R" in found:
        component = "M" if "M" in found else "R"
        return {component: found[component]}
    raise ValueError(f"{path}: the series must hold magnitude images: got {', '.join(sorted(found))} only")


def _images(path: Path, components: dict[str, list[Frame]]) -> tuple[StoredArray, tuple[str, ...]]:
    """Return the images of a series, complex where it has both parts."""
    arrays = {}
    for component, frames in components.items():
        volumes, _ = _sorted(path, frames)
        arrays[component] = FrameArray(path, [frame for volume in volumes for frame in volume])
    first, *second = arrays.values()
    if not second:
        return first, ()
    if [frame.position for frame in first.frames] != [frame.position for frame in second[0].frames]:
        raise ValueError(f"{path}: both parts of complex images must lie at the same places: got others")
    if "R" in arrays:
        return CartesianArray(arrays["R"], arrays["I"]), ()
    scale = phase_scale(arrays["P"])
    return PolarArray(arrays["M"], arrays["P"], scale), (f"phase images were taken for {scale.name}",)


def _sorted(path: Path, frames: list[Frame]) -> tuple[list[list[Frame]], tuple[str, ...]]:
    """Return volumes of frames, each sorted along the normal of its slices."""
    if not _has_place(frames):
        doubt = "the series does not tell where its slices lie: they are in the order of their numbers"
        return [sorted(frames, key=lambda frame: frame.order[-1])], (doubt,)
    at = defaultdict(list)
    places = sorted(frames, key=_distance)
    start = _distance(places[0])
    for frame in places:
        if _distance(frame) - start > 1e-3:
            start = _distance(frame)
        at[start].append(frame)
    counts = sorted({len(images) for images in at.values()})
    if len(counts) > 1:
        raise ValueError(
            f"{path}: the series must have the same number of images at each place: got {counts[0]} to {counts[-1]}"
        )
    columns = [sorted(images, key=lambda frame: frame.order) for images in at.values()]
    return [list(volume) for volume in zip(*columns, strict=True)], ()


def _has_place(frames: Sequence[Frame]) -> bool:
    return all(frame.position is not None and frame.orientation is not None for frame in frames)


def _distance(frame: Frame) -> float:
    """Return how far along the normal of the slices a frame lies, in mm."""
    assert frame.position is not None
    return float(np.dot(frame.position, _normal(frame)))


def _normal(frame: Frame) -> np.ndarray:
    assert frame.orientation is not None
    return np.cross(frame.orientation[:3], frame.orientation[3:])


def _place(volume: Sequence[Frame]) -> tuple[Place, tuple[str, ...]]:
    """Return where a sorted volume lies, and what is doubtful about it."""
    first, last, thickness = volume[0], volume[-1], volume[0].thickness
    if not _has_place(volume):
        return Place(thickness, None), ()
    assert first.position is not None
    assert first.orientation is not None
    assert last.position is not None
    if len(volume) > 1:
        step = np.subtract(last.position, first.position) / (len(volume) - 1)
        gaps = np.diff([_distance(frame) for frame in volume])
        if np.ptp(gaps) > GAP_TOLERANCE * gaps.mean():
            doubt = (
                f"slices are not equally spaced ({gaps.min():.3g} ... {gaps.max():.3g} mm): orientation is not known"
            )
            return Place(None, None), (doubt,)
    else:
        step = _normal(first) * (thickness or math.nan)
    spacing = float(np.linalg.norm(step)) if np.isfinite(step).all() else None
    if first.spacing is None or spacing is None:
        return Place(spacing, None), ("the distance of pixels or slices is not known: nor is orientation",)
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.orientation[:3]) * first.spacing[1]
    affine[:3, 1] = np.array(first.orientation[3:]) * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, first.position
    affine[:2] *= -1  # LPS to RAS
    return Place(spacing, torch.tensor(affine, dtype=torch.float32)), ()


def _name(path: Path, members: list[tuple[Path, Header]]) -> str:
    """Return the file's stem if it is the whole series, else the folder's name, and the series' number."""
    if len(members) == 1 and members[0][1].frames[0].index is not None:
        return path.stem
    folder = path.resolve().parent
    headers = (header for _, header in _headers(path.parent, path.parent.stat().st_mtime_ns).values())
    others = {header.series: header.number for header in headers if header.frames}
    own = members[0][1]
    if len(others) == 1:
        return folder.name
    if own.number is None or list(others.values()).count(own.number) > 1:
        return f"{folder.name}_{path.stem}"
    return f"{folder.name}_series{own.number}"


def _number(dataset: Dataset, name: str, kind: type = float) -> Any:
    """Return a finite number of a header, the first of several, None if there is none."""
    value = dataset.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) and isinstance(value, Sequence):
        value = value[0] if len(value) else None
    number = None if value is None else float(value)
    return kind(number) if number is not None and math.isfinite(number) else None


def _numbers(dataset: Dataset, name: str, n: int) -> tuple[float, ...] | None:
    """Return ``n`` finite numbers of a header, None if they are not there."""
    value = dataset.get(name)
    if value is None or isinstance(value, str | float) or len(value) != n:
        return None
    numbers = tuple(float(v) for v in value)
    return numbers if all(abs(v) < 1e6 for v in numbers) else None


def _short(value: Any) -> str:
    """Return what a file says so that it fits into a sentence."""
    text = str(value)
    return text if text.isprintable() and len(text) <= 60 else repr(text[:60])


def _positive(value: float | None) -> float | None:
    return value if value is not None and 0 < value < 1e6 else None


@contextmanager
def _told(path: Path, field: str) -> Iterator[None]:
    """Tell what pydicom finds wrong in one sentence: its parsers raise whatever they stumble on."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except RefusalError:
        raise
    except Exception as error:
        first_line = re.split(r"[\r\n]", str(error) or type(error).__name__)[0]
        raise OSError(f"{path}: {field} must be readable DICOM: {first_line.removeprefix(f'{path}: ')}") from error
