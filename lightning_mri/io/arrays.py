"""Numbers in files, slices first, of which only those asked for are read."""

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor

from lightning_mri.io.axes import Axes
from lightning_mri.io.isolated import isolated
from lightning_mri.physics import fft2c

CHUNK_BYTES = 64 * 2**20
PROVEN_BYTES = 2**28
MAX_SLICE_BYTES = 2**31
MAX_PIXELS = 2**26
"""Of one slice."""
DEFLATE_RATIO = 1032
"""Deflate makes nothing smaller than by this factor."""


class StoredArray(ABC):
    """Numbers in a file, slices first, of which only those asked for are read.

    It holds a path, not an open file: nothing leaks, and nothing has to survive a fork or a pickle.

    Args:
        path: File that holds the numbers.
        field: Name of the array in the file, for messages.
        shape: Shape as read, slices first.

    Raises:
        ValueError: If slices are too large to be read one at a time.
    """

    fragile = False
    """Whether a damaged file can crash the library that reads it, so that a child process has to read it first."""

    def __init__(self, path: Path, field: str, shape: tuple[int, ...]) -> None:
        if 8 * math.prod(shape[1:]) > MAX_SLICE_BYTES:
            rule = f"{field} must take at most {MAX_SLICE_BYTES} bytes a slice"
            raise ValueError(f"{path}: {rule}: got shape {shape[1:]}")
        self.path, self.field, self.shape = path, field, shape
        self._proven: set[int] = set()

    @abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop`` as the file has them.

        Raises:
            OSError: If the file is truncated or cannot be read.
        """

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """Return slices in single precision: one without slice axis, or several, of a range, list or array, with it.

        Raises:
            IndexError: If a slice does not exist, or further axes are indexed: only slices are read by themselves.
            OSError: If the file is truncated or cannot be read.
            ValueError: If the slices hold NaN or infinity.
        """
        if isinstance(index, slice):
            return self._chosen(range(*index.indices(len(self))))
        which = np.asarray(index)
        if isinstance(index, tuple) or which.ndim > 1:
            raise IndexError(f"{self.path}: {self.field} must be indexed by one slice, a range or a list: got {index}")
        chosen = self._chosen([self.position(i) for i in which.ravel().tolist()])
        return chosen if which.ndim else chosen[0]

    def with_gaps(self, slices: Sequence[int]) -> Tensor:
        """Return slices as they are, NaN and infinity included.

        Raises:
            IndexError: If a slice does not exist.
            OSError: If the file is truncated or cannot be read.
        """
        return self._chosen([self.position(i) for i in slices], gaps=True)

    def position(self, index: SupportsIndex) -> int:
        """Return the number of a slice that may be counted from the end, 0 ... n - 1.

        Raises:
            IndexError: If there is no such slice.
        """
        which = np.asarray(index)
        if which.ndim or which.dtype.kind not in "iu" or not -len(self) <= operator.index(index) < len(self):
            raise IndexError(f"{self.path}: {self.field} has {len(self)} slices: got slice {index}")
        return operator.index(index) % len(self)

    def chunks(self, gaps: bool = False) -> Iterator[Tensor]:
        """Go through all slices, a few at a time, in bounded memory; with ``gaps`` NaN and infinity are let through."""
        n = max(1, self._n_slices_in(CHUNK_BYTES))
        for start in range(0, len(self), n):
            yield self._load(start, min(start + n, len(self)), gaps)

    def _n_slices_in(self, n_bytes: int) -> int:
        return n_bytes // max(1, 8 * math.prod(self.shape[1:]))

    def _prove(self, start: int, stop: int) -> None:
        """Have a child process read slices, and what follows them up to a bound, once."""
        stop = max(stop, min(start + self._n_slices_in(PROVEN_BYTES), len(self)))
        isolated(self.path, self._try, start, stop)
        self._proven.update(range(start, stop))

    def _try(self, start: int, stop: int) -> None:
        for i in range(start, stop):
            with suppress(Exception):  # raised again where it is read to be used
                self.read(i, i + 1)

    def _chosen(self, slices: Sequence[int], gaps: bool = False) -> Tensor:
        first, n = (slices[0] if slices else 0), len(slices)
        if list(slices) == list(range(first, first + n)):
            return self._load(first, first + n, gaps)
        return torch.cat([self._load(i, i + 1, gaps) for i in slices])

    def _load(self, start: int, stop: int, gaps: bool = False) -> Tensor:
        if self.fragile and not self._proven.issuperset(range(start, stop)):
            self._prove(start, stop)
        values = self.read(start, stop)
        dtype = np.complex64 if np.iscomplexobj(values) else np.float32
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(values, dtype=dtype)
        if not gaps and not np.isfinite(values).all():
            rule = f"{self.path}: {self.field} must be finite in single precision"
            raise ValueError(f"{rule}: got NaN or infinity in slices {start} to {stop - 1}")
        return torch.from_numpy(values if values.flags.writeable else values.copy())


class NamedArray(StoredArray):
    """Slices of an array of a ``shape`` whose axes are named, opened anew for each reading."""

    def __init__(
        self,
        path: Path,
        axes: Axes,
        shape: tuple[int, ...],
        opened: Callable[[], np.ndarray],
        field: str = "kspace",
    ) -> None:
        super().__init__(path, field, axes.shape(shape))
        self.axes, self.opened = axes, opened

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        return self.axes.slices(self.opened(), start, stop)


class ImageArray(StoredArray):
    """Images [slice, y, x] of a file, seen as the k-space [slice, 1, y, x] of one coil, k = F x."""

    def __init__(self, images: StoredArray) -> None:
        super().__init__(images.path, images.field, (images.shape[0], 1, *images.shape[1:]))
        self.images = images

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the transform of images ``start`` to ``stop``."""
        images = self.images.with_gaps(range(start, stop))
        return fft2c(images.to(torch.complex64))[:, None].numpy()
