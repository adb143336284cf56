"""BART's pair of files: a text header `hdr` with sixteen dimensions, column-major complex floats in `cfl`."""

from pathlib import Path

import numpy as np

from lightning_mri.messages import error_context

MARK = "# Dimensions"
N_DIMENSIONS = 16
MAX_DIMENSIONS = 32


def read_shape(header: Path) -> tuple[int, ...]:
    """Return the dimensions that a header gives, at least sixteen."""
    lines = [line.strip() for line in header.read_text(errors="replace").splitlines()]
    try:
        shape = tuple(int(number) for number in lines[lines.index(MARK) + 1].split())
    except (ValueError, IndexError):
        shape = ()
    if not 4 <= len(shape) <= MAX_DIMENSIONS or not all(0 < n < 2**31 for n in shape):
        raise ValueError(f"{header}: the line below '{MARK}' must hold 4 to {MAX_DIMENSIONS} positive integers")
    return shape + (1,) * (N_DIMENSIONS - len(shape))


def map_cfl(header: Path) -> np.ndarray:
    """Return the numbers beside a header, read when they are used."""
    data, shape = header.with_suffix(".cfl"), read_shape(header)
    expected = 8 * int(np.prod(shape, dtype=object))
    if not data.is_file():
        raise FileNotFoundError(f"{data}: the data of {header.name} must be beside it")
    if data.stat().st_size != expected:
        raise OSError(f"{data}: the file must have {expected} bytes, as its header says: got {data.stat().st_size}")
    return np.memmap(data, dtype="<c8", mode="r", shape=shape, order="F")


def write_cfl(header: Path, array: np.ndarray) -> None:
    """Write a pair; dimensions that are missing at the end are 1."""
    shape = (*array.shape, *(1,) * (N_DIMENSIONS - array.ndim))
    header.write_text(f"{MARK}\n{' '.join(map(str, shape))}\n")
    with error_context(header.with_suffix(".cfl"), "there must be room for all of it"):
        array.astype("<c8").ravel(order="F").tofile(header.with_suffix(".cfl"))
