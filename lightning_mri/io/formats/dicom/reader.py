"""DICOM: the MR images of one series in one folder, a file each slice, Siemens mosaics or enhanced multi-frame."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from lightning_mri.io.arrays import StoredArray
from lightning_mri.io.complex_images import ComplexArray, image_scan, polar
from lightning_mri.io.contrasts import named_contrast
from lightning_mri.io.formats.dicom.files import Frame, FrameArray, SeriesFile, is_dicom, read_header
from lightning_mri.io.formats.dicom.volumes import displacement, places_of, volumes_of
from lightning_mri.io.geometry import Geometry, stack_geometry
from lightning_mri.io.header import subject_of
from lightning_mri.io.scan import Scan

FORMAT = "DICOM"
SPACING_TOLERANCE = 1e-3
"""Share by which the pixels of a series may differ in size: headers round."""
MIXED = "a volume holds images of several b-values or gradient directions"

Members = dict[Path, SeriesFile]


def locate(path: Path, head: bytes) -> Path | None:
    """Return the first file, by name, of the series that a DICOM file belongs to."""
    return next(iter(_members(path))) if is_dicom(head) else None


def files(path: Path) -> list[Path]:
    """Return the files of a series."""
    return list(_members(path))


def is_scan(path: Path) -> bool:
    """Return whether a series holds MR images in one orientation: no report, localizer, map or phase alone."""
    files = list(_members(path).values())
    if any(file.refusal for file in files):
        return files[0].is_image  # let the reader say what is wrong with it
    frames = [frame for file in files for frame in file.frames if not frame.derived]
    return any(frame.component in "MR" for frame in frames) and _n_orientations(frames) == 1


def read(path: Path) -> Scan:
    """Open the series that a file belongs to, its slices sorted by where they lie.

    Files of the series are those in the same folder with the same SeriesInstanceUID; slices of one stack that have
    a series each are joined. Several images at one place, echoes, times, b-values or the like, are volumes. Where a
    series has real and imaginary parts, or magnitude and phase, the images are complex.
    """
    members = _members(path)
    file = next(iter(members.values()))
    frames, warnings = _frames(path, members)
    components = volumes_of({component: places_of(path, own) for component, own in _by_component(path, frames).items()})
    images, phase_warnings = _images(path, components)
    volumes = components[min(components, key="RMIP".index)]
    volume = volumes[0]
    contrast, unknown = named_contrast("series", file.description)
    return image_scan(
        path,
        images,
        _geometry(volume),
        not isinstance(images, FrameArray),
        (*warnings, *phase_warnings, *_volume_warnings(volumes), *unknown),
        is_real="R" in components,
        format=FORMAT,
        name=_name(path, members),
        subject=subject_of(file.patient),
        contrast=contrast,
        field_strength=file.field_strength,
        n_volumes=len(images) // len(volume),
        readout=volume[0].readout,
    )


def _members(path: Path) -> Members:
    """Return the files of a file's series, sorted by name; the file alone if it tells none."""
    files = _folder(path)
    own = files.get(path, SeriesFile("", refusal="the file must be DICOM and not hidden"))
    if not own.series or not own.is_image:
        return {path: own}
    stack = _stack(own)
    apart = stack is not None and not any(file.series == own.series for other, file in files.items() if other != path)
    same = {
        other: file
        for other, file in files.items()
        if file.is_image and (file.series == own.series or (apart and _stack(file) == stack))
    }
    return same if not apart or _is_stack(list(same.values())) else {path: own}


def _stack(file: SeriesFile) -> tuple[object, ...] | None:
    """Return what slices of one stack have in common, where a vendor gives each a series of its own."""
    if len(file.frames) != 1 or not file.frames[0].is_placed:
        return None
    frame = file.frames[0]
    return file.study, file.number, file.description, file.patient, frame.matrix, *np.round(frame.normal, 3)


def _is_stack(files: Sequence[SeriesFile]) -> bool:
    """Return whether files with a series each lie in several places, as many in each; repetitions of a slice do not."""
    places = Counter(round(file.frames[0].distance, 2) for file in files)
    return len({file.series for file in files}) == len(files) and len(places) > 1 and len(set(places.values())) == 1


def _folder(path: Path) -> Members:
    """Return the headers of the DICOM files beside a file, read anew where the file has changed."""
    stat = path.stat()
    headers = _headers(path.parent, path.parent.stat().st_mtime_ns)
    if path not in headers or headers[path][0] != (stat.st_size, stat.st_mtime_ns):
        _headers.cache_clear()
        headers = _headers(path.parent, path.parent.stat().st_mtime_ns)
    return {file: header for file, (_, header) in headers.items()}


@lru_cache(maxsize=2)
def _headers(folder: Path, changed: int) -> dict[Path, tuple[tuple[int, int], SeriesFile]]:
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


def _frames(path: Path, members: Members) -> tuple[list[Frame], tuple[str, ...]]:
    """Return the frames of a series, which must form one stack, without copies, and what was found."""
    for other, file in members.items():
        if file.refusal:
            raise ValueError(f"{other}: {file.refusal}")
    distinct = {
        # anonymisers give all images one identity: a copy lies in the same place, too
        (file.instance or other, *(replace(frame, path=Path()) for frame in file.frames)): file
        for other, file in reversed(members.items())
    }
    frames, derived = _measured([frame for file in reversed(distinct.values()) for frame in file.frames])
    matrices = sorted({frame.matrix for frame in frames})
    if len(matrices) > 1:
        raise ValueError(f"{path}: Rows and Columns must be the same in a whole series: got {matrices}")
    if (n := _n_orientations(frames)) > 1:
        rule = "ImageOrientationPatient must be the same in a whole series"
        raise ValueError(f"{path}: {rule}: got {n} orientations, as a localizer has them")
    spacings = [frame.spacing or (0.0, 0.0) for frame in frames]
    if not np.allclose(spacings, spacings[0], rtol=SPACING_TOLERANCE):
        raise ValueError(f"{path}: PixelSpacing must be the same in a whole series: got {sorted(set(spacings))}")
    copies, n_series = len(members) - len(distinct), len({file.series for file in members.values()})
    return frames, (
        *((f"{copies} files are copies of others: they were left out",) if copies else ()),
        *((f"{n_series} series of one slice each were taken for one stack",) if n_series > 1 else ()),
        *derived,
    )


def _measured(frames: list[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """Return frames without maps, projections and the like, unless they are all there is, and the warning of these."""
    words = ", ".join(sorted({frame.derived for frame in frames if frame.derived}))
    measured = [frame for frame in frames if not frame.derived]
    if not words or not measured:
        return frames, (f"derived images: {words}",) if words else ()
    return measured, (f"{len(frames) - len(measured)} derived images ({words}) were left out",)


def _n_orientations(frames: Sequence[Frame]) -> int:
    """Return in how many directions slices lie, up to rounding."""
    found: list[tuple[float, ...]] = []
    for frame in frames:
        own = frame.orientation or ()
        if not any(len(own) == len(other) and np.allclose(own, other, atol=0.01) for other in found):
            found.append(own)
    return len(found)


def _by_component(path: Path, frames: list[Frame]) -> dict[str, list[Frame]]:
    """Return the frames of one image each: real and imaginary, or magnitude and phase, or magnitude alone."""
    found = defaultdict(list)
    for frame in frames:
        found[frame.component].append(frame)
    for chosen in ("RI", "MP", "M", "R"):
        if all(component in found for component in chosen):
            return {component: found[component] for component in chosen}
    raise ValueError(f"{path}: the series must hold magnitude images: got {', '.join(sorted(found))} only")


def _images(path: Path, components: dict[str, list[list[Frame]]]) -> tuple[StoredArray, tuple[str, ...]]:
    """Return the images of a series, complex where it has both parts, from the volumes of each."""
    arrays = {
        component: FrameArray(path, [frame for volume in volumes for frame in volume])
        for component, volumes in components.items()
    }
    if len(arrays) == 1:
        return next(iter(arrays.values())), ()
    first, second = arrays.values()
    if [frame.position for frame in first.frames] != [frame.position for frame in second.frames]:
        raise ValueError(f"{path}: both parts of complex images must lie at the same places: got others")
    return (ComplexArray(first, second), ()) if "R" in arrays else polar(first, second)


def _volume_warnings(volumes: list[list[Frame]]) -> tuple[str, ...]:
    """Return the warnings that a volume's slices have several diffusion weightings, or that volumes lie elsewhere."""
    is_mixed = any(len({frame.diffusion for frame in volume}) > 1 for volume in volumes)
    distance = displacement(volumes)
    moved = f"places differ by up to {distance:.2g} mm between volumes: those of the first are kept"
    return (*(MIXED,) * is_mixed, *(moved,) * (distance > 0))


def _geometry(volume: Sequence[Frame]) -> Geometry:
    """Return where a sorted volume lies."""
    first = volume[0]
    if not all(frame.is_placed for frame in volume):
        unplaced = "the series does not tell where its slices lie: they are in the order of their numbers"
        return Geometry(first.spacing, first.thickness, warnings=(unplaced,))
    x, y = np.array(first.orientation).reshape(2, 3)
    positions = np.array([frame.position for frame in volume])
    return stack_geometry(x, y, positions, first.spacing, first.thickness)


def _name(path: Path, members: Members) -> str:
    """Return the file's stem if it is the whole series, else the folder's name, and the series' number."""
    own = next(iter(members.values()))
    if len(members) == 1 and own.frames[0].index is not None:
        return path.stem
    folder = path.resolve().parent.name
    others = {file.series: file.number for other, file in _folder(path).items() if file.frames and other not in members}
    if not others:
        return folder
    return f"{folder}_{path.stem}" if own.number in (None, *others.values()) else f"{folder}_series{own.number}"
