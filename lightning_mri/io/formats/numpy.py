"""NumPy files: npy with k-space [coil, y, x], [slice, coil, y, x] or [y, x]; npz with `kspace` and `mask`."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from lightning_mri.files import error_context
from lightning_mri.io.arrays import DEFLATE_RATIO, NamedArray
from lightning_mri.io.axes import named_axes
from lightning_mri.io.scan import NO_HEADER, Scan, check_complex, check_kspace, mask_from

NAMES = ("kspace", "ksp", "kdata", "k", "rawdata", "raw", "data", "arr_0")
"""Names of k-space in an archive, the likeliest first."""
MAX_MASK_BYTES = 2**28
MAX_WHOLE_BYTES = 2**32


def locate(path: Path, head: bytes) -> Path | None:
    """Return the path of an npy file or an npz archive."""
    if head.startswith(b"\x93NUMPY"):
        return path
    if not head.startswith(b"PK"):
        return None
    try:
        return path if any(name.endswith(".npy") for name in _members(path)) else None
    except OSError:
        return path if path.suffix == ".npz" else None


def is_scan(path: Path) -> bool:
    """Return whether a file is an array, or an archive with complex numbers, or their parts, named as k-space."""
    if not _is_archive(path):
        return True
    names = _kspace_names(path)
    if not names:
        return False
    shape, dtype = _npz_header(path, names[0])
    return np.issubdtype(dtype, np.complexfloating) or (len(shape) > 2 and 2 in (shape[0], shape[-1]))


def read(path: Path, axes: str | None = None) -> Scan:
    """Open an npy or npz file.

    Three axes are [coil, y, x], two are [y, x]. An npz archive may hold a ``mask`` as well, [x], or
    with y, x and perhaps slices in the order of k-space. Other axes are named by ``axes``.
    """
    archive = _is_archive(path)
    field = _field(path) if archive else "kspace"
    shape, dtype = _npz_header(path, field) if archive else ((whole := _mapped(path)).shape, whole.dtype)
    named, taken = named_axes(path, field, shape, axes)
    if "part" in named.names:
        dtype = np.result_type(dtype, np.complex64)
    check_complex(path, field, shape, dtype)
    check_kspace(path, field, named.shape(shape), dtype)
    opened = partial(_whole, path, field) if archive else partial(_mapped, path)
    stored = (NpzArray if archive else NamedArray)(path, named, shape, opened, field)
    mask = None
    if archive and "mask.npy" in _members(path):
        mask = mask_from(path, named.mask(_whole(path, "mask"), shape), stored.shape[2:], len(stored))
    n_volumes, warnings = named.length("volume", shape), (NO_HEADER, *taken)
    return Scan.of_file(path, stored, format="NumPy", stored_mask=mask, n_volumes=n_volumes, warnings=warnings)


class NpzArray(NamedArray):
    """K-space in an npz archive, of which only the bytes of the slices asked for are kept where they lie together."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        with _opened(self.path, self.field) as (_, file):
            shape, fortran, dtype = _read_header(file)
            if fortran or self.axes.names not in (("slice", "coil", "y", "x"), ("slice", "y", "x")):
                return super().read(start, stop)
            n = int(np.prod(shape[1:]))
            file.seek(start * n * dtype.itemsize, 1)
            values = np.frombuffer(file.read((stop - start) * n * dtype.itemsize), dtype)
            return values.reshape(stop - start, *self.shape[1:])


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _mapped(path: Path) -> np.ndarray:
    with error_context(path, "kspace must be a whole npy array"):
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if min(values.shape, default=0) < 0:
            raise ValueError(f"its shape is {values.shape}")
        return values


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
        stored = archive.getinfo(f"{field}.npy")
        size = min(stored.file_size, DEFLATE_RATIO * stored.compress_size)
        if dtype.hasobject or min(shape, default=0) < 0 or size < int(np.prod(shape, dtype=object)) * dtype.itemsize:
            raise ValueError(f"shape {shape} of {dtype} does not fit into {size} bytes")
        return shape, dtype


def _read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read(file)


def _whole(path: Path, field: str) -> np.ndarray:
    shape, dtype = _npz_header(path, field)
    limit = MAX_MASK_BYTES if field == "mask" else MAX_WHOLE_BYTES
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > limit:
        raise ValueError(f"{path}: {field} must take at most {limit} bytes where it is read as a whole: got {shape}")
    with _opened(path, field), np.load(path, allow_pickle=False) as archive:
        return archive[field]


def _members(path: Path) -> list[str]:
    with error_context(path, "the file must be a whole npz archive"), zipfile.ZipFile(path) as archive:
        return archive.namelist()


def _field(path: Path) -> str:
    """Return the name of k-space in an archive."""
    if names := _kspace_names(path):
        return names[0]
    held = ", ".join(name.removesuffix(".npy") for name in _members(path) if name.endswith(".npy"))
    raise ValueError(f"{path}: the archive must hold kspace (or {', '.join(NAMES[1:])}): got {held}")


def _kspace_names(path: Path) -> list[str]:
    members = _members(path)
    return [name for name in NAMES if f"{name}.npy" in members]
