"""HDF5 files as readers see them: opened for one reading, a few slices at a time, each failure one sentence."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lightning_mri.files import write_whole
from lightning_mri.io.arrays import StoredArray
from lightning_mri.io.axes import Axes
from lightning_mri.io.header import Header
from lightning_mri.io.isolated import isolated
from lightning_mri.messages import error_context

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_HEADER_BYTES = 2**24
MAX_CHUNK_BYTES = 2**29
"""Largest chunk, which HDF5 holds as a whole when it reads any part of it."""
MAX_ROWS_BYTES = 2**26
BLOCK_BYTES = 2**20
MAX_RATIO = 2_000
"""No compression that HDF5 ships makes numbers this much smaller: deflate ends at 1032."""


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file to read."""
    with error_context(path, "the file must be readable HDF5"), h5py.File(path, "r") as file:
        yield file


@contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """Give a file in memory to fill, which replaces ``path`` as a whole when all went well.

    HDF5 itself never writes to a disk, since a full one crashes it, even after the error. That costs as much memory as
    the file has bytes.
    """
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        yield file
    write_whole(path, content.getbuffer())


class HDF5Array(StoredArray):
    """A dataset [slice, ...] of an HDF5 file, or k-space where its ``axes`` are named; opened anew for each reading."""

    fragile = True

    def __init__(self, dataset: h5py.Dataset, axes: Axes | None = None) -> None:
        shape = dataset.shape if axes is None else axes.shape(dataset.shape)
        super().__init__(Path(dataset.file.filename), dataset.name.lstrip("/"), shape)
        self.axes = axes
        check_stored(dataset)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        with open_hdf5(self.path) as file:
            if self.axes is None:
                return np.asarray(file[self.field][start:stop])
            return _as_complex(self.axes.slices(file[self.field], start, stop))


def check_stored(dataset: h5py.Dataset) -> None:
    """Refuse a dataset that was never written, or whose shape the bytes in the file cannot fill."""
    field, stored = _place(dataset), dataset.id.get_storage_size()
    chunk = int(np.prod(dataset.chunks or (0,), dtype=object)) * dataset.dtype.itemsize
    if chunk > MAX_CHUNK_BYTES:
        raise ValueError(f"{field} must have chunks of at most {MAX_CHUNK_BYTES} bytes: got {chunk}")
    if dataset.nbytes > MAX_RATIO * stored:
        held = "never written" if stored == 0 else f"in {stored} bytes"
        raise ValueError(f"{field} must hold numbers: got shape {dataset.shape} {held}")


def member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """Return what a file or group holds under a name, if anything; links could show any other file of this machine."""
    rule = f"{group.file.filename}: {name} must lie in the file itself"
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise ValueError(f"{rule}: it is a link to {link.filename}")
    found = group.get(name)
    if found is None:
        return None
    virtual = isinstance(found, h5py.Dataset) and (found.is_virtual or found.external)
    if virtual or found.file.filename != group.file.filename:
        raise ValueError(f"{rule}: it is virtual or stored in other files")
    return found


def dataset_of(group: h5py.Group, name: str) -> h5py.Dataset:
    """Return a dataset of a file or group."""
    dataset = member(group, name)
    if not isinstance(dataset, h5py.Dataset):
        held = ", ".join(group if dataset is None else dataset) or "nothing"
        what = held if dataset is None else f"a group of {held}"
        raise ValueError(f"{group.file.filename}: the file must hold a dataset {name}: got {what}")
    return dataset


def attribute_of(file: h5py.File, name: str) -> str | None:
    """Return an attribute as text, None if the file has none; other programs write texts as bytes."""
    value: Any = np.asarray(file.attrs.get(name, "")).reshape(-1)
    if value.size != 1:
        return None
    value = value[0]
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip() or None


@dataclass(frozen=True)
class Contents:
    """What an HDF5 file holds, as far as formats tell themselves apart by it."""

    names: tuple[str, ...]  # names of its members
    measurements: tuple[str, ...]  # groups that hold an ISMRMRD measurement
    images: tuple[str, ...]  # groups that hold ISMRMRD images


def contents_of(path: Path) -> Contents:
    """Return what a file holds."""
    state = path.stat()
    return _contents(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=2**16)
def _contents(path: Path, time_ns: int, n_bytes: int) -> Contents:
    return isolated(path, _read_contents, path)


def _read_contents(path: Path) -> Contents:
    with open_hdf5(path) as file:
        outer = {name: group for name in file if isinstance(group := member(file, name), h5py.Group)}
        inner = {f"{o}/{i}": member(group, i) for o, group in outer.items() for i in group}
        held = {name: set(g) for name, g in {**outer, **inner}.items() if isinstance(g, h5py.Group)}
        measurements = tuple(name for name in outer if {"xml", "data"} <= held[name])
        images = tuple(name for name, names in held.items() if {"header", "data"} <= names)
        return Contents(tuple(file), measurements, images)


def header_of(dataset: h5py.Dataset) -> Header:
    """Read the ISMRMRD header that a dataset holds as text."""
    field = _place(dataset)
    if dataset.size != 1 or dataset.dtype.kind not in "SO":
        raise ValueError(f"{field} must be XML: got {dataset.dtype} {dataset.shape}")
    fixed = dataset.dtype.kind == "S"  # else the length stands in the first four bytes of a reference
    n_bytes = dataset.dtype.itemsize if fixed else int.from_bytes(_stored_bytes(dataset, 0, 4), "little")
    if n_bytes > MAX_HEADER_BYTES:
        raise ValueError(f"{field} must be XML of at most {MAX_HEADER_BYTES} bytes: got {n_bytes}")
    text = np.asarray(dataset[()]).reshape(-1)[0]
    try:
        return Header.parse(text if isinstance(text, str) else bytes(text))
    except ValueError as error:
        raise ValueError(f"{field} {error}") from error


def stored_rows(dataset: h5py.Dataset) -> Iterator[bytes]:
    """Go through the bytes of a dataset's rows as the file has them: no references are followed, nothing is converted.

    Ten to a hundred times as fast as HDF5's own reading where each row is a chunk, and lengths of variable-length
    fields, their first four bytes, can be checked before HDF5 allocates them.
    """
    if dataset.ndim != 1 or dataset.compression is not None or dataset.id.get_create_plist().get_nfilters():
        raise ValueError(f"{_place(dataset)} must be rows without filter (h5repack -f NONE)")
    row_bytes = dataset.id.get_type().get_size()
    n_rows = dataset.chunks[0] if dataset.chunks else max(1, BLOCK_BYTES // row_bytes)
    if n_rows * row_bytes > MAX_ROWS_BYTES:
        raise ValueError(f"{_place(dataset)} must have chunks of at most {MAX_ROWS_BYTES} bytes")
    starts = range(0, len(dataset), n_rows)
    together = max(1, BLOCK_BYTES // (n_rows * row_bytes))
    for i in range(0, len(starts), together):
        parts = (_stored_bytes(dataset, s, min(n_rows, len(dataset) - s) * row_bytes) for s in starts[i : i + together])
        yield b"".join(parts)


def is_complex(dtype: np.dtype) -> bool:
    """Return whether numbers are complex, or pairs of fields ``real`` and ``imag`` as MATLAB writes them."""
    return dtype.kind == "c" or (dtype.names == ("real", "imag") and all(dtype[i].kind in "fiu" for i in range(2)))


def _as_complex(values: np.ndarray) -> np.ndarray:
    """Return pairs of fields ``real`` and ``imag`` as complex numbers; others as they are."""
    if values.dtype.names != ("real", "imag"):
        return values
    pairs = np.empty(values.shape, np.complex64)
    with np.errstate(over="ignore"):
        pairs.real, pairs.imag = values["real"], values["imag"]
    return pairs


def _place(dataset: h5py.Dataset) -> str:
    """Return file and name of a dataset, for messages."""
    return f"{dataset.file.filename}: {dataset.name.lstrip('/')}"


def _stored_bytes(dataset: h5py.Dataset, start: int, n_bytes: int) -> bytes:
    """Return bytes of a dataset without filters, from row ``start``, the first of its chunk, on."""
    if dataset.chunks:
        stored = bytes(dataset.id.read_direct_chunk((start,))[1][:n_bytes])
    else:
        offset = dataset.id.get_offset()
        if offset is None:
            raise OSError("rows are stored neither in chunks nor in one piece")
        with open(dataset.file.filename, "rb") as file:
            file.seek(offset + start * dataset.id.get_type().get_size())
            stored = file.read(n_bytes)
    if len(stored) != n_bytes:
        raise OSError(f"rows from {start} on are truncated")
    return stored
