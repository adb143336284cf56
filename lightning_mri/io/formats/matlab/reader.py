"""MATLAB files of version 5 to 7.3, with k-space (readout, phase encoding, coil, slice, time) in a variable."""

from fnmatch import fnmatch
from pathlib import Path

import h5py
import numpy as np

from lightning_mri.io.arrays import StoredArray
from lightning_mri.io.axes import MAX_COILS_GUESSED, WORDS, Axes, named_axes, names_others
from lightning_mri.io.formats.matlab.mat5 import MARK, Variable, list_variables, read_numbers
from lightning_mri.io.hdf5 import HDF5Array, check_stored, is_complex, member, open_hdf5
from lightning_mri.io.scan import NO_HEADER, Scan, check_complex, mask_from

FRAGILE = True
MARK_73 = b"MATLAB 7.3 MAT-file"
NAMES = ("kspace", "kspace_full", "kspace*_full", "kspace_sub*", "kspace*", "kdata", "ksp*", "k", "rawdata", "raw")
"""Names of k-space, the likeliest first."""
AXES = {"readout": "y", "phase encoding": "x", "coil": "coil", "slice": "slice", "time": "t"}
"""The usual axes, the fastest first, by their words of `Axes`."""
TOGETHER = ("volume", "slice", "coil", "x", "y")
"""Order of axes, the slowest first, in which the numbers of a slice lie together."""
MOST_COILS = 256
MAX_MASK_SIZE = 2**28
MAX_WHOLE_BYTES = 2**32


def locate(path: Path, head: bytes) -> Path | None:
    """Return the path of a MATLAB file of version 5 or later."""
    return path if head.startswith((MARK, MARK_73)) else None


def is_scan(path: Path) -> bool:
    """Return whether a file holds complex numbers, or what may be their parts; a file of masks does not."""
    variables = _variables(path)
    return bool(_candidates(variables)) or any(map(_may_be_pairs, variables))


def read(path: Path, axes: str | None = None) -> Scan:
    """Open a MATLAB file; k-space is chosen by its name, else it is the only complex variable of two to five axes.

    Axes are taken for (readout, phase encoding, coil, slice, time), as CMRxRecon has them; without coil where the
    variable's name says ``single``, and with the coil first where it would be more than 64 coils otherwise. Each time
    is a volume. A variable ``mask`` may be beside it, with y, x and perhaps slices and times in the order of k-space.
    Other axes are named by ``axes``, as MATLAB shows them and `Axes` takes them.
    """
    variables = _variables(path)
    chosen, others = _choose(path, variables, axes is not None and bool({*axes.split()} & {*WORDS["part"]}))
    named, taken = _named_axes(path, chosen, axes)
    stored = _array(path, chosen, named)
    shape, mask = chosen.shape[::-1], None
    if beside := next((variable for variable in variables if variable.name == "mask"), None):
        mask = mask_from(path, named.mask(_read_mask(path, beside), shape), stored.shape[2:], len(stored))
    return Scan.of_file(
        path,
        stored,
        format="MATLAB 7.3" if _is_73(path) else "MATLAB 5",
        stored_mask=mask,
        n_volumes=named.length("volume", shape),
        warnings=(
            NO_HEADER,
            *taken,
            *([f"{', '.join(others)} could be k-space as well: {chosen.name} was read"] if others else []),
        ),
    )


class Mat5Array(StoredArray):
    """K-space in a file of version 5 to 7, read anew for each reading; its axes are named from the slowest on."""

    def __init__(self, path: Path, variable: Variable, axes: Axes) -> None:
        super().__init__(path, variable.name, axes.shape(variable.shape[::-1]))
        self.variable, self.axes = variable, axes

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``: no more is held where they lie together."""
        if list(self.axes.names) == [name for name in TOGETHER if name in self.axes.names]:
            _, n_coils, y, x = self.shape
            n = n_coils * y * x
            values = read_numbers(self.path, self.variable, start * n, stop * n)
            return values.reshape(-1, n_coils, x, y).swapaxes(-1, -2)
        if 8 * self.variable.size > MAX_WHOLE_BYTES:
            limit = f"at most {MAX_WHOLE_BYTES} bytes where slices do not lie together"
            raise ValueError(f"{self.path}: {self.field} must take {limit}: got shape {self.variable.shape}")
        whole = read_numbers(self.path, self.variable, 0, self.variable.size)
        return self.axes.slices(whole.reshape(self.variable.shape[::-1]), start, stop)


def _array(path: Path, variable: Variable, axes: Axes) -> StoredArray:
    if not _is_73(path):
        return Mat5Array(path, variable, axes)
    with open_hdf5(path) as file:
        return HDF5Array(file[variable.name], axes)


def _is_73(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MARK_73)) == MARK_73


def _variables(path: Path) -> list[Variable]:
    if not _is_73(path):
        return list_variables(path)
    with open_hdf5(path) as file:
        members = {name: member(file, name) for name in file}
        datasets = {name: item for name, item in members.items() if isinstance(item, h5py.Dataset)}
        return [Variable(name, item.shape[::-1], is_complex(item.dtype)) for name, item in datasets.items()]


def _candidates(variables: list[Variable], of_parts: bool = False) -> list[Variable]:
    fitting = [v for v in variables if v.is_complex != of_parts and v.size > 0]
    return [v for v in fitting if 2 + of_parts <= len(v.shape) <= len(AXES) + of_parts]


def _may_be_pairs(variable: Variable) -> bool:
    """Return whether real numbers, named as k-space, have an axis of 2 for their parts."""
    shape, named = variable.shape, any(fnmatch(variable.name.lower(), pattern) for pattern in NAMES)
    return named and not variable.is_complex and len(shape) > 2 and 2 in (shape[0], shape[-1])


def _choose(path: Path, variables: list[Variable], of_parts: bool) -> tuple[Variable, list[str]]:
    """Return the variable that is k-space, and the names of others that could be."""
    candidates = _candidates(variables, of_parts)
    for pattern in NAMES if of_parts else (*NAMES, "*"):
        alike = [variable for variable in candidates if fnmatch(variable.name.lower(), pattern)]
        if len(alike) > 1:
            names = ", ".join(variable.name for variable in alike)
            raise ValueError(f"{path}: one variable must be k-space: got {names} (a variable named kspace is chosen)")
        if alike:
            return alike[0], [variable.name for variable in candidates if variable != alike[0]]
    for variable in filter(_may_be_pairs, variables):
        check_complex(path, variable.name, variable.shape, np.float64)
    found = ", ".join(f"{variable.name} {variable.shape}" for variable in variables) or "none"
    kind = "real, named as k-space," if of_parts else "complex,"
    rule = f"one variable must be {kind} of 2 to {len(AXES)} axes, and not within a struct or cell"
    raise ValueError(f"{path}: {rule}: got {found[:500]}")


def _named_axes(path: Path, variable: Variable, words: str | None) -> tuple[Axes, tuple[str, ...]]:
    """Return the axes of k-space, the slowest first, and the warning where they were guessed."""
    if words is not None:  # MATLAB leaves out last axes of length 1
        last_first = " ".join(reversed(words.split()[: max(2, len(variable.shape))]))
        return named_axes(path, variable.name, variable.shape[::-1], last_first)
    single = "single" in variable.name.lower()
    axes = [axis for axis in AXES if not (single and axis == "coil")]
    n = len(variable.shape)
    if "coil" in axes[:n] and variable.shape[2] > MAX_COILS_GUESSED >= variable.shape[0]:
        axes = ["coil", *(axis for axis in axes if axis != "coil")]
    if n > len(axes) or ("coil" in axes[:n] and variable.shape[axes.index("coil")] > MOST_COILS):
        rule = f"{variable.name} must be ({', '.join(axes)}), with at most {MOST_COILS} coils"
        raise ValueError(f"{path}: {rule}: got shape {variable.shape}: axes (--data.axes) names others")
    named = Axes(" ".join(AXES[axis] for axis in reversed(axes[:n])))
    taken = f"{variable.name} {variable.shape} was taken for ({', '.join(axes[:n])})"
    return named, (f"axes are guessed: {taken}: {names_others(' '.join(map(AXES.__getitem__, axes[:n])))}",)


def _read_mask(path: Path, mask: Variable) -> np.ndarray:
    """Return a mask, its slowest axis first, or one line of it."""
    if mask.is_complex or not 0 < mask.size <= MAX_MASK_SIZE:
        raise ValueError(f"{path}: mask must be real, of (readout, phase encoding): got shape {mask.shape}")
    if not _is_73(path):
        return read_numbers(path, mask, 0, mask.size).reshape(mask.shape[::-1])
    with open_hdf5(path) as file:
        check_stored(file[mask.name])
        return np.asarray(file[mask.name][()])
