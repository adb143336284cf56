"""Readers, one module a format; `read_scan` asks each of them, by content, whether a file is its own.

A format is a module, or the module `reader` of a folder, with two functions. ``locate(path, head)`` gets a path and
its first bytes and returns the file that stands for the scan, or None if this is another format. ``read(path)`` returns
the `Scan`, and takes as further arguments what a user may have to say about files of this format, such as ``axes``.
Where a format also holds what is no scan, a mask or a report, a third function ``is_scan(path)`` tells: a folder's
are left out. Where a scan is several files, ``files(path)`` names them, so that a change of any is noticed. Where a
damaged file can crash the library, ``FRAGILE = True`` has a child process open it. A new module is found without being
listed anywhere.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import numpy as np
from h5py import is_hdf5

from lightning_mri.io.contrasts import NO_CONTRAST, plain_contrast
from lightning_mri.io.geometry import SIZE_TOLERANCE
from lightning_mri.io.hdf5 import SIGNATURE
from lightning_mri.io.header import prepare_parser
from lightning_mri.io.isolated import isolated
from lightning_mri.io.prepared import SETTINGS, is_prepared
from lightning_mri.io.result import is_result
from lightning_mri.io.scan import NO_PIXEL_SIZE, Scan
from lightning_mri.messages import first_few
from lightning_mri.origin import own_code
from lightning_mri.output import RECORDS

HEAD_BYTES = 4096
ENDINGS = (".h5", ".hdf5", ".mrd", ".npy", ".npz", ".mat", ".cfl", ".hdr", ".nii", ".nii.gz", ".dcm", ".ima")
"""How files end that should be scans, whatever they hold."""
ADDED: list[ModuleType] = []
log = logging.getLogger(__name__)


def read_scan(
    path: str | Path,
    *,
    axes: str | None = None,
    measurement: str | None = None,
    pixel_size: tuple[float, float] | None = None,
    slice_spacing: float | None = None,
    contrast: str | None = None,
) -> Scan:
    """Open a scan of any known format; k-space itself is read later, a few slices at a time.

    Args:
        path: fastMRI HDF5, ISMRMRD (h5, mrd), MATLAB 5 to 7.3, NumPy npy or npz, BART cfl/hdr (either file, or their
            stem), Bruker ParaVision (fid, rawdata.job0, 2dseq), NIfTI, DICOM (any file of a series); or a folder that
            holds one scan.
        axes: Names of the axes of a NumPy, MATLAB or HDF5 file, for example "coil z y x"; see `Axes`.
        measurement: Name of the measurement to read, of an ISMRMRD file that holds several.
        pixel_size: Size of a pixel (y, x) in mm, of a file that does not say.
        slice_spacing: Distance between the centres of slices in mm, of a file that does not say.
        contrast: Name of the contrast, instead of that which the file says.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the format is not known, its content breaks a rule, or a folder holds several scans.
        OSError: If the file is truncated or cannot be read.
    """
    path = Path(path)
    found = _locate(path)
    if found is None and path.is_dir():
        scans = find_scans(path)
        if len(scans) > 1:
            raise ValueError(f"{path}: a folder that is read as one scan must hold one: got {len(scans)}")
        path, found = scans[0], _locate(scans[0])
    if found is None:
        if not path.exists():
            what = "the link leads to no file" if path.is_symlink() else "there is no such file"
            raise FileNotFoundError(f"{path}: {what}")
        if is_hdf5(path) and is_result(path):
            raise ValueError(f"{path}: it must be a scan: got a result of predict")
        raise ValueError(f"{path}: format must be one of {', '.join(_formats())}: {_described(path)}")
    file, reader = found
    given = {name: value for name, value in (("axes", axes), ("measurement", measurement)) if value is not None}
    for name in set(given) - set(signature(reader.read).parameters):
        raise ValueError(f"{path}: {name} cannot be given for this format: got {given[name]!r}")
    opening = partial(reader.read, file, **given)
    if _is_fragile(reader):
        prepare_parser()
        return _with_given(isolated(file, opening), pixel_size, slice_spacing, contrast)
    return _with_given(opening(), pixel_size, slice_spacing, contrast)


def _described(path: Path) -> str:
    """Return what a file is that no format takes, as far as its first bytes tell, and what to do with it."""
    head = _head(path)
    if not head:
        return "it is empty"
    if path.suffix.lower() in (".mgh", ".mgz"):
        return "it is a FreeSurfer volume: convert it to NIfTI, as mri_convert does"
    if head.startswith(b"\x1f\x8b"):
        return "it is compressed, and what it holds is no NIfTI: unpack or convert it to one of these"
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return "it is an Analyze image: convert it to NIfTI"
    if path.suffix.lower() in (".dcm", ".ima") and head[:2] in (b"\x02\0", b"\x08\0"):
        return "it is DICOM without its preamble: rewrite it, as dcmconv does"
    if path.suffix == ".mat" and head[1:4] == b"\0\0\0":
        return "it is a MATLAB file of version 4: save it with -v7"
    if path.suffix == ".cfl":
        return f"it is BART's without its header, {path.stem}.hdr"
    return "its content is none of them"


def files_of(path: str | Path) -> tuple[Path, ...]:
    """Return the files that a scan is read from, as they are now, found by their names or headers.

    The code of a reader of the user's is among them: what it reads changes with it.
    """
    found = _locate(path := Path(path))
    if found is None:
        return (path,)
    file, reader = found
    files = reader.files(file) if hasattr(reader, "files") else (file,)
    return (*files, *(own_code([reader.__name__]) if reader in ADDED else ()))


def _is_fragile(reader: ModuleType) -> bool:
    return getattr(reader, "FRAGILE", False)


def _holds_scan(file: Path, reader: ModuleType) -> bool:
    if not hasattr(reader, "is_scan"):
        return True
    try:
        return isolated(file, reader.is_scan, file) if _is_fragile(reader) else reader.is_scan(file)
    except (OSError, ValueError):
        return True  # the reader says what is wrong with it


def _with_given(
    scan: Scan, pixel_size: tuple[float, float] | None, slice_spacing: float | None, contrast: str | None
) -> Scan:
    """Return a scan with what the user says about it."""
    if pixel_size is not None:
        known, scan = scan.pixel_size, replace(scan, pixel_size=pixel_size)
        if known is not None and not np.allclose(known, pixel_size, atol=0, rtol=SIZE_TOLERANCE):
            raise ValueError(f"{scan.source}: pixel_size must be that of the file, {known} mm: got {pixel_size}")
        scan = replace(scan, pixel_size=(float(pixel_size[0]), float(pixel_size[1])))
    if slice_spacing is not None:
        gap, scan = scan.slice_spacing, replace(scan, slice_spacing=float(slice_spacing))
        if gap is not None and not np.isclose(gap, slice_spacing, atol=0, rtol=SIZE_TOLERANCE):
            raise ValueError(f"{scan.source}: slice_spacing must be that of the file, {gap:g} mm: got {slice_spacing}")
    if contrast is not None:
        scan = replace(scan, contrast=plain_contrast(contrast))
    given = (NO_PIXEL_SIZE,) * (pixel_size is not None) + (NO_CONTRAST,) * (contrast is not None)
    left = (_without(warning, given) for warning in scan.warnings)
    return replace(scan, warnings=tuple(filter(None, left)))


def _without(warning: str, given: tuple[str, ...]) -> str:
    """Return a warning without the gaps, ``lack: gap; gap``, that the user has filled; nothing if it had no others."""
    lack, colon, gaps = warning.partition(": ")
    left = [gap for gap in gaps.split("; ") if not gap.startswith(given)]
    return "" if lack.startswith(given) or not left else f"{lack}{colon}{'; '.join(left)}"


def find_scans(root: str | Path) -> list[Path]:
    """Return the files of all scans in a folder and below, sorted; or the file itself.

    What cannot be read counts as a scan, and so does a file of a scan's ending that no format takes, such as an empty
    one. Hidden files, files that are no scan by their content, masks, results of this program and images that it
    prepared are left out; a folder of results itself is searched.

    Raises:
        FileNotFoundError: If there is no such file or folder, or no scan in it, or images that were prepared.
    """
    root = Path(root)
    if _is_cache(root):
        raise FileNotFoundError(f"{root}: it must hold scans as they came: got a prepared folder")
    found = _locate(root)
    if found is not None or not root.is_dir():
        if found is None and not root.exists():
            raise FileNotFoundError(f"{root}: there is no such file or folder")
        return [found[0] if found else root]
    located, unreadable = dict[Path, ModuleType](), list[Path]()
    for path in _visible(root, unreadable):
        try:
            found = _locate(path) if path.is_file() else None
            located |= [found] if found is not None else []
            unreadable += [path] * (found is None and _should_be_scan(path))
        except OSError:  # nobody knows whether it is a scan: it is named when it is read
            unreadable.append(path)
    scans = (file for file, reader in located.items() if _holds_scan(file, reader))
    files = [*(path for path in unreadable if path not in located), *scans]
    if left_out := sorted(set(located) - set(files)):
        names = first_few([file.relative_to(root) for file in left_out], 8)
        log.warning("%s: left out, since they hold no scan of their own: %s", root, names)
    if not files:
        raise FileNotFoundError(f"{root}: the folder must hold scans ({', '.join(_formats())}): found none")
    return sorted(files)


def _should_be_scan(path: Path) -> bool:
    """Return whether a file that no format takes has a scan's ending: it is damaged, or of a kind that is not read."""
    if path.is_symlink() and not path.exists():  # to a file that was not fetched
        return True
    name = path.name.lower()
    if not name.endswith(ENDINGS) or not path.is_file():
        return False
    head = _head(path)
    is_transform = name.endswith(".mat") and head != b"" and b"\0" not in head  # FSL's are text
    return not is_transform and not head.startswith(SIGNATURE)  # as results do


def _is_cache(folder: Path) -> bool:
    """Return whether `prepare` made a folder; others' scans may lie beside a manifest, too, but not beside settings."""
    return is_prepared(folder) and (folder / SETTINGS).is_file()


def _visible(root: Path, unreadable: list[Path]) -> Iterator[Path]:
    """Go through what is not hidden in a folder and below; through links, too, but into no folder twice."""
    seen = set[tuple[int, int]]()
    for name, folders, files in os.walk(root, onerror=lambda e: unreadable.append(Path(e.filename)), followlinks=True):
        folder = Path(name)
        status = folder.stat()
        new = (status.st_dev, status.st_ino) not in seen
        seen.add((status.st_dev, status.st_ino))
        ours = (folder != root and (folder / RECORDS).is_dir()) or _is_cache(folder)
        folders[:] = [] if ours or not new else sorted(below for below in folders if not below.startswith("."))
        yield from () if ours or not new else (folder / file for file in files if not file.startswith("."))


def _locate(path: Path) -> tuple[Path, ModuleType] | None:
    head = _head(path) if path.is_file() else b""
    for reader in _readers():
        file = reader.locate(path, head)
        if file is not None:
            return file, reader
    return None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _readers() -> Iterator[ModuleType]:
    yield from ADDED
    for module in iter_modules(__path__):
        yield import_module(f"{__name__}.{module.name}{'.reader' if module.ispkg else ''}")


def add_format(module: ModuleType) -> None:
    """Let files be read by a module of the user's, which is asked before those of this package."""
    if module not in ADDED:
        ADDED.append(module)


def _formats() -> list[str]:
    return [*(module.__name__ for module in ADDED), *(module.name for module in iter_modules(__path__))]


__all__ = ["add_format", "files_of", "find_scans", "read_scan"]
