"""Readers, one module a format; `read_scan` asks each of them, by content, whether a file is its own.

A format is a module with two functions. ``locate(path, head)`` gets a path and its first bytes and returns
the file that stands for the scan, or None if this is another format. ``read(path)`` returns the `Scan`.
Where a format also holds what is no scan, a mask or a report, a third function ``is_scan(path)`` tells: a folder's
are left out. A new module is found without being listed anywhere.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from lightning_mri.io.scan import Scan

HEAD_BYTES = 4096


def read_scan(path: str | Path) -> Scan:
    """Open a scan of any known format; k-space itself is read later, a few slices at a time.

    Args:
        path: fastMRI HDF5, BART cfl/hdr (either file, or their stem), NumPy npy or npz, NIfTI, DICOM (any file
            of a series), Bruker ParaVision (fid, rawdata.job0, 2dseq); or a folder that holds one scan.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the format is not known, its content breaks a rule, or a folder holds several scans.
        OSError: If the file is truncated or cannot be read.
    """
    found = _locate(Path(path))
    if found is None:
        if not Path(path).exists():
            raise FileNotFoundError(f"{path}: there is no such file")
        if Path(path).is_dir():
            return read_scan(_only(Path(path)))
        raise ValueError(f"{path}: format must be one of {', '.join(_formats())}: its content is none of them")
    file, reader = found
    return reader.read(file)


def find_scans(root: str | Path) -> list[Path]:
    """Return the files of all scans in a folder and below, sorted; or the file itself.

    Hidden files, files that are no scan by their content, and masks are left out.

    Raises:
        FileNotFoundError: If there is no such file or folder, or no scan in it.
    """
    root = Path(root)
    found = _locate(root)
    if found is not None or not root.is_dir():
        if found is None and not root.exists():
            raise FileNotFoundError(f"{root}: there is no such file or folder")
        return [found[0] if found else root]
    visible = (p for p in root.rglob("*") if not any(q.startswith(".") for q in p.relative_to(root).parts))
    located = dict(found for p in visible if p.is_file() and (found := _locate(p)) is not None)
    files = [file for file, reader in located.items() if not hasattr(reader, "is_scan") or reader.is_scan(file)]
    if not files:
        raise FileNotFoundError(f"{root}: the folder must hold scans ({', '.join(_formats())}): found none")
    return sorted(files)


def _only(folder: Path) -> Path:
    """Return the one scan that a folder holds."""
    found = find_scans(folder)
    if len(found) > 1:
        raise ValueError(f"{folder}: a folder that is read as one scan must hold one: got {len(found)}")
    return found[0]


def _locate(path: Path) -> tuple[Path, ModuleType] | None:
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    for reader in _readers():
        file = reader.locate(path, head)
        if file is not None:
            return file, reader
    return None


def _readers() -> Iterator[ModuleType]:
    for module in iter_modules(__path__):
        yield import_module(f"{__name__}.{module.name}")


def _formats() -> list[str]:
    return [module.name for module in iter_modules(__path__)]


__all__ = ["find_scans", "read_scan"]
