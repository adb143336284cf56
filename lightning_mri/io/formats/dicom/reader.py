"""DICOM: the MR images of one series in one folder, a file each slice or enhanced multi-frame."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.io.complex_images import CartesianArray, PolarArray, phase_scale
from lightning_mri.io.contrasts import contrast_of
from lightning_mri.io.formats.dicom.files import Frame, FrameArray, Header, is_dicom, read_header
from lightning_mri.io.header import subject_of
from lightning_mri.io.scan import MAGNITUDE_ONLY, ImageArray, Scan, StoredArray

FORMAT = "DICOM"
GAP_TOLERANCE = 0.02
"""Share of the spacing by which slices may be off."""


def locate(path: Path, head: bytes) -> Path | None:
    """Return the first file, by name, of the series that a DICOM file belongs to."""
    return _members(path)[0][0] if is_dicom(head) else None


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
    volumes, warnings = _sorted(path, chosen)
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
        warnings=(
            MAGNITUDE_ONLY if magnitude_only else "k-space was computed from complex images, its coils combined",
            *warnings,
            *pair_doubts,
            *place_doubts,
            *(() if contrast else (f"the contrast is not known: the series is named {header.description!r}",)),
        ),
    )


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
        header = read_header(path)
        if header is not None:
            headers[path] = ((stat.st_size, stat.st_mtime_ns), header)
    return headers


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
        warning = "the series does not tell where its slices lie: they are in the order of their numbers"
        return [sorted(frames, key=lambda frame: frame.order[-1])], (warning,)
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
            warning = (
                f"slices are not equally spaced ({gaps.min():.3g} ... {gaps.max():.3g} mm): orientation is not known"
            )
            return Place(None, None), (warning,)
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
