"""MATLAB files of version 5 to 7.3, with k-space (readout, phase encoding, coil, slice, time) in a variable."""

from fnmatch import fnmatch
from pathlib import Path

import h5py
import numpy as np

from lightning_mri.io.arrays import StoredArray
from lightning_mri.io.formats.matlab.mat5 import MARK, Variable, list_variables, read_numbers
from lightning_mri.io.hdf5 import as_complex, check_stored, is_complex, member, open_hdf5
from lightning_mri.io.scan import NO_HEADER, Scan, check_slice, mask_from

MARK_73 = b"MATLAB 7.3 MAT-file"
NAMES = ("kspace", "kspace_full", "kspace*_full", "kspace_sub*", "kspace*", "kdata", "ksp*", "k", "rawdata", "raw")
"""Names of k-space, the likeliest first."""
AXES = ("readout", "phase encoding", "coil", "slice", "time")
MAX_COILS = 256
MAX_MASK_SIZE = 2**28


def locate(path: Path, head: bytes) -> Path | None:
    """Return the path of a MATLAB file of version 5 or later."""
    return path if head.startswith((MARK, MARK_73)) else None


def is_scan(path: Path) -> bool:
    """Return whether a file holds complex numbers; a file of masks does not."""
    try:
        return bool(_candidates(_variables(path)))
    except (OSError, ValueError):
        return True


def read(path: Path) -> Scan:
    """Open a MATLAB file; k-space is chosen by its name, else it is the only complex variable of two to five axes.

    Axes are taken for (readout, phase encoding, coil, slice, time), as CMRxRecon has them; without coil where the
    variable's name says ``single``. Each time is a volume. A variable ``mask`` may be beside it.

    Raises:
        ValueError: If no variable, or several alike, could be k-space, or its axes cannot be those above.
        OSError: If the file is truncated or cannot be read.
    """
    variables = _variables(path)
    chosen, others = _choose(path, variables)
    axes = _axes(path, chosen)
    stored = (Mat73Array if _is_73(path) else Mat5Array)(path, chosen, "coil" in axes)
    matrix = (stored.shape[2], stored.shape[3])
    mask = next((variable for variable in variables if variable.name == "mask"), None)
    return Scan(
        source=path,
        format="MATLAB 7.3" if _is_73(path) else "MATLAB 5",
        name=path.stem,
        subject=path.stem,
        kspace=stored,
        reconstruction_size=matrix,
        stored_mask=None if mask is None else mask_from(path, _read_mask(path, mask), matrix),
        n_volumes=chosen.shape[axes.index("time")] if "time" in axes else 1,
        warnings=(
            NO_HEADER,
            f"axes are guessed: {chosen.name} {chosen.shape} was taken for ({', '.join(axes)})",
            *([f"{', '.join(others)} could be k-space as well: {chosen.name} was read"] if others else []),
        ),
    )


class MatlabArray(StoredArray):
    """K-space in a variable whose fastest axes are readout, phase encoding and, if it has one, coil.

    Args:
        path: File that holds it.
        variable: Which it is.
        has_coils: Whether the third axis is the coil.
    """

    def __init__(self, path: Path, variable: Variable, has_coils: bool) -> None:
        self.variable, n_plane = variable, 3 if has_coils else 2
        self.plane = variable.shape[n_plane - 1 :: -1]
        self.stack = variable.shape[: n_plane - 1 : -1]
        y, x, *coils = variable.shape[:n_plane]
        super().__init__(path, variable.name, (int(np.prod(self.stack)), *(coils or [1]), y, x))
        check_slice(path, variable.name, self.shape[1:])

    def _arranged(self, values: np.ndarray) -> np.ndarray:
        """Return numbers [slice, (coil,) x, y] as [slice, coil, y, x]."""
        _, n_coils, y, x = self.shape
        return values.reshape(-1, n_coils, x, y).swapaxes(-1, -2)


class Mat5Array(MatlabArray):
    """K-space in a file of version 5 to 7, read anew for each reading."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        n = int(np.prod(self.plane))
        return self._arranged(read_numbers(self.path, self.variable, start * n, stop * n))


class Mat73Array(MatlabArray):
    """K-space in a file of version 7.3, which is HDF5 with the axes reversed, opened anew for each reading."""

    fragile = True

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        values = np.empty((stop - start, *self.plane), np.complex64)
        with open_hdf5(self.path) as file:
            for i in range(start, stop):
                values[i - start] = as_complex(file[self.field][np.unravel_index(i, self.stack) if self.stack else ...])
        return self._arranged(values)


def _is_73(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MARK_73)) == MARK_73


def _variables(path: Path) -> list[Variable]:
    if not _is_73(path):
        return list_variables(path)
    with open_hdf5(path) as file:
        members = {name: member(path, file, name) for name in file}
        datasets = {name: item for name, item in members.items() if isinstance(item, h5py.Dataset)}
        found = [Variable(name, item.shape[::-1], is_complex(item.dtype)) for name, item in datasets.items()]
        for variable in _candidates(found):
            check_stored(path, datasets[variable.name])
    return found


def _candidates(variables: list[Variable]) -> list[Variable]:
    return [v for v in variables if v.is_complex and 2 <= len(v.shape) <= len(AXES) and v.size > 0]


def _choose(path: Path, variables: list[Variable]) -> tuple[Variable, list[str]]:
    """Return the variable that is k-space, and the names of others that could be."""
    candidates = _candidates(variables)
    for pattern in (*NAMES, "*"):
        alike = [variable for variable in candidates if fnmatch(variable.name.lower(), pattern)]
        if len(alike) > 1:
            names = ", ".join(variable.name for variable in alike)
            raise ValueError(f"{path}: one variable must be k-space: got {names} (a variable named kspace is chosen)")
        if alike:
            return alike[0], [variable.name for variable in candidates if variable != alike[0]]
    found = ", ".join(f"{variable.name} {variable.shape}" for variable in variables) or "none"
    raise ValueError(f"{path}: one variable must be complex, of 2 to {len(AXES)} axes: got {found[:500]}")


def _axes(path: Path, variable: Variable) -> tuple[str, ...]:
    """Name the axes of k-space."""
    single = "single" in variable.name.lower()
    axes = tuple(axis for axis in AXES if not (single and axis == "coil"))
    if len(variable.shape) > len(axes) or ("coil" in axes[: len(variable.shape)] and variable.shape[2] > MAX_COILS):
        raise ValueError(
            f"{path}: {variable.name} must be ({', '.join(axes)}), with at most {MAX_COILS} coils:"
            f" got shape {variable.shape}"
        )
    return axes[: len(variable.shape)]


def _read_mask(path: Path, mask: Variable) -> np.ndarray:
    """Return a mask (readout, phase encoding), or one line of it."""
    if mask.is_complex or not 0 < mask.size <= MAX_MASK_SIZE:
        raise ValueError(f"{path}: mask must be real, of (readout, phase encoding): got shape {mask.shape}")
    if not _is_73(path):
        return read_numbers(path, mask, 0, mask.size).reshape(mask.shape[::-1]).T
    with open_hdf5(path) as file:
        check_stored(path, file[mask.name])
        return np.asarray(file[mask.name][()]).T
