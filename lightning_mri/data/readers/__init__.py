"""Readers, one module a format; `read_scan` asks each of them, by content, whether a file is its own.

A format is a module with two functions. ``locate(path, head)`` gets a path and its first bytes and returns
the file that stands for the scan, or None if this is another format. ``read(path)`` returns the `Scan`.
A new module is found without being listed anywhere.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from lightning_mri.data.scan import Scan

HEAD_BYTES = 4096


def read_scan(path: str | Path) -> Scan:
    """Open a scan of any known format; k-space itself is read later, a few slices at a time.

    Args:
        path: fastMRI HDF5, BART cfl/hdr (either file, or their stem), NumPy npy or npz.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the format is not known, or its content breaks a rule.
        OSError: If the file is truncated or cannot be read.
    """
    found = _locate(Path(path))
    if found is None:
        if not Path(path).exists():
            raise FileNotFoundError(f"{path}: there is no such file")
        if Path(path).is_dir():
            raise IsADirectoryError(f"{path}: a scan must be a file: got a folder")
        raise ValueError(f"{path}: format must be one of {', '.join(_formats())}: its content is none of them")
    file, reader = found
    return reader.read(file)


def find_scans(root: str | Path) -> list[Path]:
    """Return the files of all scans in a folder and below, sorted; or the file itself.

    Hidden files, and files that are no scan by their content, are left out.

    Raises:
        FileNotFoundError: If there is no such file or folder, or no scan in it.
    """
    root = Path(root)
    if not root.is_dir():
        found = _locate(root)
        if found is None and not root.exists():
            raise FileNotFoundError(f"{root}: there is no such file or folder")
        return [found[0] if found else root]
    visible = (p for p in root.rglob("*") if not any(q.startswith(".") for q in p.relative_to(root).parts))
    files = {found[0] for p in visible if p.is_file() and (found := _locate(p)) is not None}
    if not files:
        raise FileNotFoundError(f"{root}: the folder must hold scans ({', '.join(_formats())}): found none")
    return sorted(files)


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
