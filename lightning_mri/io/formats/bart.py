"""BART's pair of files: a text header `hdr` with sixteen dimensions, column-major complex floats in `cfl`."""

from pathlib import Path

import numpy as np

from lightning_mri.io.scan import Scan, StoredArray, check_kspace

READ, PHASE_1, PHASE_2, COIL, SLICE = 0, 1, 2, 3, 13
MARK = "# Dimensions"


def locate(path: Path, head: bytes) -> Path | None:
    """Return the header of a BART pair, given the header, the data or their common stem."""
    if head.lstrip().startswith(MARK.encode()):
        return path
    header = path.with_suffix(".hdr") if path.suffix == ".cfl" else path.with_name(path.name + ".hdr")
    if (path.suffix == ".cfl" or not path.exists()) and header.is_file():
        return header
    return None


def read(path: Path) -> Scan:
    """Open a BART pair.

    Of BART's dimensions, 0 (readout) is y and 1 (first phase encoding) is x, 3 is the coil and 13 the
    slice. Where dimension 0 has length 1, as in slices cut from a 3-D scan, 1 and 2 are y and x.
    Where all of 0, 1 and 2 are longer, 2 is taken for the slice, which is a warning.

    Raises:
        ValueError: If another dimension is longer than 1, or both 2 and 13 are slices.
        OSError: If one of the files is missing or truncated.
    """
    dimensions = _dimensions(path)
    plane, slices, warnings = _layout(path, dimensions)
    stored = CflArray(path.with_suffix(".cfl"), dimensions, (slices, COIL, *plane))
    _, _, y, x = stored.shape
    return Scan(
        source=path,
        format="BART cfl",
        name=path.stem,
        subject=path.stem,
        kspace=stored,
        reconstruction_size=(y, x),
        warnings=("the file has no header: contrast, voxel size and subject are not known", *warnings),
    )


class CflArray(StoredArray):
    """K-space in a cfl file, memory-mapped anew for each reading."""

    def __init__(self, path: Path, dimensions: tuple[int, ...], axes: tuple[int, int, int, int]) -> None:
        self.dimensions, self.axes = dimensions, axes
        shape = tuple(dimensions[axis] for axis in axes)
        check_kspace(path, "kspace", shape, np.complex64)
        expected = 8 * int(np.prod(dimensions, dtype=object))
        if not path.is_file():
            raise FileNotFoundError(f"{path}: the data of {path.with_suffix('.hdr').name} must be beside it")
        if path.stat().st_size != expected:
            raise OSError(f"{path}: kspace must have {expected} bytes, as the header says: got {path.stat().st_size}")
        super().__init__(path, "kspace", shape)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        whole = np.memmap(self.path, dtype="<c8", mode="r", shape=self.dimensions, order="F")
        rest = tuple(axis for axis in range(len(self.dimensions)) if axis not in self.axes)
        return np.asarray(whole.transpose(*self.axes, *rest).reshape(self.shape)[start:stop])


def _dimensions(path: Path) -> tuple[int, ...]:
    lines = path.read_text(errors="replace").splitlines()
    try:
        numbers = lines[[line.strip() for line in lines].index(MARK) + 1].split()
        dimensions = tuple(int(number) for number in numbers)
    except (ValueError, IndexError):
        dimensions = ()
    if not COIL < len(dimensions) <= 32 or not all(0 < n < 2**31 for n in dimensions):
        raise ValueError(f"{path}: the line below '{MARK}' must hold 4 to 32 positive integers")
    return dimensions + (1,) * (SLICE + 1 - len(dimensions))


def _layout(path: Path, dimensions: tuple[int, ...]) -> tuple[tuple[int, int], int, tuple[str, ...]]:
    allowed = (READ, PHASE_1, PHASE_2, COIL, SLICE)
    extra = {axis: n for axis, n in enumerate(dimensions) if n > 1 and axis not in allowed}
    if extra:
        raise ValueError(f"{path}: dimensions other than 0, 1, 2, 3 and 13 must be 1: got {extra}")
    if dimensions[READ] == 1:
        return (PHASE_1, PHASE_2), SLICE, ()
    if dimensions[PHASE_2] == 1:
        return (READ, PHASE_1), SLICE, ()
    if dimensions[SLICE] > 1:
        raise ValueError(
            f"{path}: a 3-D k-space of several slabs is not known:"
            f" got {dimensions[PHASE_2]} in dimension 2 and {dimensions[SLICE]} in dimension 13"
        )
    return (
        (READ, PHASE_1),
        PHASE_2,
        ("BART's dimension 2 was taken for slices: a 3-D k-space needs an inverse FFT along one axis first",),
    )
