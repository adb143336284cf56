"""NumPy files: npy with k-space [coil, y, x], [slice, coil, y, x] or [y, x]; npz with `kspace` and `mask`."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from lightning_mri.io.arrays import DEFLATE_RATIO, NamedArray
from lightning_mri.io.axes import SLICES_FIRST, named_axes
from lightning_mri.io.scan import NO_HEADER, Scan, check_complex, check_kspace, mask_from
from lightning_mri.messages import error_context

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
        return path if _arrays(path) else None
    except OSError:
        return path if path.suffix == ".npz" else None


def is_scan(path: Path) -> bool:
    """Return whether a file is an array, or an archive with complex numbers, or their parts, named as k-space."""
    if not _is_archive(path):
        return True
    name = _kspace_name(path)
    if name is None:
        return False
    shape, dtype = _npz_header(path, name)
    return np.issubdtype(dtype, np.complexfloating) or (len(shape) > 2 and 2 in (shape[0], shape[-1]))


def read(path: Path, axes: str | None = None) -> Scan:
    """Open an npy or npz file.

    Three axes are [coil, y, x], two are [y, x]. An npz archive may hold a ``mask`` as well, [x], or
    with y, x and perhaps slices in the order of k-space. Other axes are named by ``axes``.
    """
    archive = _is_archive(path)
    field = _kspace_name(path) if archive else "kspace"
    if field is None:
        held = ", ".join(_arrays(path))
        raise ValueError(f"{path}: the archive must hold kspace (or {', '.join(NAMES[1:])}): got {held}")
    shape, dtype = _npz_header(path, field) if archive else ((whole := _mapped(path)).shape, whole.dtype)
    named, taken = named_axes(path, field, shape, axes)
    check_complex(path, field, shape, dtype, "part" in named.names)
    check_kspace(path, field, named.shape(shape))
    opened = partial(_whole, path, field) if archive else partial(_mapped, path)
    stored = (NpzArray if archive else NamedArray)(path, named, shape, opened, field)
    mask = None
    if archive and "mask" in _arrays(path):
        mask = mask_from(path, named.mask(_whole(path, "mask"), shape), stored.shape[2:], len(stored))
    n_volumes, warnings = named.length("volume", shape), (NO_HEADER, *taken)
    return Scan.of_file(path, stored, format="NumPy", stored_mask=mask, n_volumes=n_volumes, warnings=warnings)


class NpzArray(NamedArray):
    """K-space in an npz archive, of which only the bytes of the slices asked for are kept where they lie together."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        with _opened(self.path, self.field) as (file, shape, fortran, dtype):
            if fortran or self.axes.names not in SLICES_FIRST:
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
def _opened(path: Path, field: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], bool, np.dtype]]:
    """Open an array of an archive, and read its header: shape, whether the first axis is the fastest, and dtype."""
    with (
        error_context(path, f"{field} must be a whole array of an npz archive"),
        zipfile.ZipFile(path) as archive,
        archive.open(f"{field}.npy") as file,
    ):
        read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
        stored = archive.getinfo(f"{field}.npy")
        size = min(stored.file_size, DEFLATE_RATIO * stored.compress_size)
        if dtype.hasobject or min(shape, default=0) < 0 or size < math.prod(shape) * dtype.itemsize:
            raise ValueError(f"shape {shape} of {dtype} does not fit into {size} bytes")
        yield file, shape, fortran, dtype


def _npz_header(path: Path, field: str) -> tuple[tuple[int, ...], np.dtype]:
    with _opened(path, field) as (_, shape, _, dtype):
        return shape, dtype


def _whole(path: Path, field: str) -> np.ndarray:
    limit = MAX_MASK_BYTES if field == "mask" else MAX_WHOLE_BYTES
    with _opened(path, field) as (file, shape, fortran, dtype):
        n_bytes = math.prod(shape) * dtype.itemsize
        if n_bytes > limit:
            rule = f"{field} must take at most {limit} bytes where it is read as a whole"
            raise ValueError(f"{path}: {rule}: got {shape}")
        return np.frombuffer(file.read(n_bytes), dtype).reshape(shape, order="F" if fortran else "C")


def _arrays(path: Path) -> list[str]:
    """Return the names of an archive's arrays."""
    with error_context(path, "the file must be a whole npz archive"), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _kspace_name(path: Path) -> str | None:
    """Return the name of k-space in an archive, if it has any."""
    held = _arrays(path)
    return next((name for name in NAMES if name in held), None)
