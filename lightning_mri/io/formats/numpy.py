"""NumPy files: npy with k-space [coil, y, x], [slice, coil, y, x] or [y, x]; npz with `kspace` and `mask`."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from lightning_mri.io.errors import error_context
from lightning_mri.io.scan import NO_HEADER, Scan, StoredArray, check_kspace, mask_from

MAX_MASK_BYTES = 2**28


def locate(path: Path, head: bytes) -> Path | None:
    """Return the path of an npy file, or of an npz archive that holds ``kspace``."""
    if head.startswith(b"\x93NUMPY"):
        return path
    if not head.startswith(b"PK"):
        return None
    try:
        return path if "kspace.npy" in _names(path) else None
    except OSError:
        return path if path.suffix == ".npz" else None


def read(path: Path) -> Scan:
    """Open an npy or npz file.

    Three axes are [coil, y, x], two are [y, x]. An npz archive may hold a ``mask`` [x] or [y, x] as well.

    Raises:
        ValueError: If k-space is real or empty, or has not two to four axes, or the mask does not fit.
        OSError: If the file is truncated or cannot be read.
    """
    with path.open("rb") as file:
        archive = file.read(2) == b"PK"
    stored = NpzArray(path, "kspace") if archive else NpyArray(path)
    _, _, y, x = stored.shape
    mask = None
    if archive and "mask.npy" in _names(path):
        mask = mask_from(path, _whole(path, "mask"), (y, x))
    return Scan(
        source=path,
        format="NumPy",
        name=path.stem,
        subject=path.stem,
        kspace=stored,
        reconstruction_size=(y, x),
        stored_mask=mask,
        warnings=(NO_HEADER,),
    )


class NpyArray(StoredArray):
    """K-space in an npy file, memory-mapped anew for each reading."""

    def __init__(self, path: Path) -> None:
        values = self._mapped(path)
        check_kspace(path, "kspace", values.shape, values.dtype)
        super().__init__(path, "kspace", _four(values.shape))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        return np.asarray(self._mapped(self.path).reshape(self.shape)[start:stop])

    @staticmethod
    def _mapped(path: Path) -> np.ndarray:
        with error_context(path, "kspace must be a whole npy array"):
            return np.load(path, mmap_mode="r", allow_pickle=False)


class NpzArray(StoredArray):
    """K-space in an npz archive, of which only the bytes of the slices asked for are kept."""

    def __init__(self, path: Path, field: str) -> None:
        shape, dtype = _npz_header(path, field)
        check_kspace(path, field, shape, dtype)
        super().__init__(path, field, _four(shape))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        with _opened(self.path, self.field) as (_, file):
            _, fortran, dtype = _read_header(file)
            if fortran:
                return _whole(self.path, self.field).reshape(self.shape)[start:stop]
            n = int(np.prod(self.shape[1:]))
            file.seek(start * n * dtype.itemsize, 1)
            values = np.frombuffer(file.read((stop - start) * n * dtype.itemsize), dtype)
            return values.reshape(stop - start, *self.shape[1:])


@contextmanager
def _opened(path: Path, field: str) -> Iterator[tuple[zipfile.ZipFile, Any]]:
    """Open an array of an archive."""
    with (
        error_context(path, f"{field} must be a whole array of an npz archive"),
        zipfile.ZipFile(path) as archive,
        archive.open(f"{field}.npy") as file,
    ):
        yield archive, file


def _npz_header(path: Path, field: str) -> tuple[tuple[int, ...], np.dtype]:
    with _opened(path, field) as (archive, file):
        shape, _, dtype = _read_header(file)
        size = archive.getinfo(f"{field}.npy").file_size
        if dtype.hasobject or size < int(np.prod(shape, dtype=object)) * dtype.itemsize:
            raise ValueError(f"shape {shape} of {dtype} does not fit into {size} bytes")
        return shape, dtype


def _read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read(file)


def _whole(path: Path, field: str) -> np.ndarray:
    shape, dtype = _npz_header(path, field)
    if field == "mask" and int(np.prod(shape)) * dtype.itemsize > MAX_MASK_BYTES:
        raise ValueError(f"{path}: mask must be [x] or [y, x]: got shape {shape}")
    with _opened(path, field), np.load(path, allow_pickle=False) as archive:
        return archive[field]


def _names(path: Path) -> list[str]:
    with error_context(path, "the file must be a whole npz archive"), zipfile.ZipFile(path) as archive:
        return archive.namelist()


def _four(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (4 - len(shape)) + tuple(shape)
