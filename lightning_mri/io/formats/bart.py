"""BART's pair of files: a text header `hdr` with sixteen dimensions, column-major complex floats in `cfl`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from lightning_mri.cfl import MARK, map_cfl, read_shape
from lightning_mri.io.arrays import NamedArray, StoredArray
from lightning_mri.io.axes import Axes
from lightning_mri.io.scan import NO_HEADER, Scan, check_kspace, looks_like_kspace

READ, PHASE_1, PHASE_2, COIL, SLICE = 0, 1, 2, 3, 13
FLAT = 10
"""Spokes all cross the centre of k-space, so that their energies differ less than this; Cartesian lines' more."""


def locate(path: Path, head: bytes) -> Path | None:
    """Return the header of a BART pair, given the header, the data or their common stem."""
    if head.lstrip().startswith(MARK.encode()):
        return path
    header = path.with_suffix(".hdr") if path.suffix == ".cfl" else Path(f"{path}.hdr")
    if (path.suffix == ".cfl" or not path.exists()) and header.is_file():
        return header
    return None


def files(path: Path) -> list[Path]:
    """Return header and data."""
    return [path, path.with_suffix(".cfl")]


def is_scan(path: Path) -> bool:
    """Return whether a pair holds k-space, by its content; images, coil maps, patterns and trajectories do not.

    Of sets of maps, echoes and other dimensions that `read` refuses, the first is judged.
    """
    shape = read_shape(path)
    kept = {axis: slice(None) for axis in (READ, PHASE_1, PHASE_2, COIL)}
    kept[SLICE] = slice(shape[SLICE] // 2, shape[SLICE] // 2 + 1)
    values = map_cfl(path)[tuple(kept.get(axis, slice(1)) for axis in range(len(shape)))]
    stored, _ = _array(path, values.shape, lambda: values)
    return not _is_trajectory(shape) and looks_like_kspace(_middle_slice(stored))


def read(path: Path) -> Scan:
    """Open a BART pair.

    Of BART's dimensions, 0 (readout) is y and 1 (first phase encoding) is x, 3 is the coil and 13 the
    slice. Where dimension 0 has length 1, as in slices cut from a 3-D scan, 1 and 2 are y and x.
    Where all of 0, 1 and 2 are longer, 2 is taken for the slice, which is a warning.
    """
    shape = read_shape(path)
    map_cfl(path)  # which looks for the data
    stored, warnings = _array(path, shape, partial(map_cfl, path))
    middle = _middle_slice(stored)
    _check_cartesian(path, shape, middle)
    if not looks_like_kspace(middle):
        warnings = (*warnings, "the content looks like images or coil maps rather than k-space")
    return Scan.of_file(path, stored, format="BART cfl", warnings=(NO_HEADER, *warnings))


def _array(path: Path, shape: tuple[int, ...], opened: Callable[[], np.ndarray]) -> tuple[StoredArray, tuple[str, ...]]:
    """Return k-space, and what had to be guessed about its dimensions."""
    names, guesses = _layout(path, shape)
    axes = Axes(" ".join(names.get(axis, "1") for axis in range(len(shape))))
    check_kspace(path, "kspace", axes.shape(shape))
    return NamedArray(path.with_suffix(".cfl"), axes, shape, opened), guesses


def _layout(path: Path, shape: tuple[int, ...]) -> tuple[dict[int, str], tuple[str, ...]]:
    """Return which dimensions are y, x, coil and slice, and what had to be guessed."""
    allowed = (READ, PHASE_1, PHASE_2, COIL, SLICE)
    extra = {axis: n for axis, n in enumerate(shape) if n > 1 and axis not in allowed}
    if extra:
        raise ValueError(f"{path}: dimensions other than 0, 1, 2, 3 and 13 must be 1: got {extra}")
    if shape[READ] == 1:
        return {PHASE_1: "y", PHASE_2: "x", COIL: "coil", SLICE: "slice"}, ()
    if shape[PHASE_2] == 1:
        return {READ: "y", PHASE_1: "x", COIL: "coil", SLICE: "slice"}, ()
    if shape[SLICE] > 1:
        got = f"dimensions 2 and 13 of {shape[PHASE_2]} and {shape[SLICE]}"
        raise ValueError(f"{path}: a 3-D k-space must be one slab: got {got}")
    guess = "BART's dimension 2 was taken for slices: a 3-D k-space needs an inverse FFT along one axis first"
    return {READ: "y", PHASE_1: "x", COIL: "coil", PHASE_2: "slice"}, (guess,)


def _middle_slice(kspace: StoredArray) -> Tensor:
    return kspace.with_gaps([len(kspace) // 2])[0]


def _is_trajectory(shape: tuple[int, ...]) -> bool:
    """Return whether dimensions are those of a trajectory, three coordinates of each sample of each spoke."""
    return shape[READ] == 3 and shape[COIL] == 1


def _check_cartesian(path: Path, shape: tuple[int, ...], middle: Tensor) -> None:
    """Refuse samples along spokes or spirals, which BART stores like a plane of phase encodings."""
    if _is_trajectory(shape):
        raise ValueError(f"{path}: the file must hold k-space: it holds a trajectory of {shape[PHASE_1:COIL]} samples")
    if shape[READ] > 1:
        return
    rule = "k-space must be Cartesian, for there is no gridding"
    for other in sorted(path.parent.glob("*.hdr")):
        try:
            beside = read_shape(other)
        except (OSError, ValueError):
            continue
        if _is_trajectory(beside) and beside[PHASE_1:COIL] == shape[PHASE_1:COIL]:
            raise ValueError(f"{path}: {rule}: {other.name} is its trajectory")
    if _is_radial(middle):
        raise ValueError(f"{path}: {rule}: each line crosses the centre")


def _is_radial(kspace: Tensor) -> bool:
    """Return whether all lines along y are alike and have their maximum at one place, as spokes and spirals have.

    That is the middle of a spoke, and the start of a spiral or half a spoke.
    """
    energy = (np.abs(kspace.numpy()) ** 2).sum(0)
    spokes = energy[:, energy.sum(0) > 0]
    n, n_spokes = spokes.shape
    if n < 8 or n_spokes < 8:
        return False
    peaks, sums = spokes.argmax(0), spokes.sum(0)
    crossing = [float((np.abs(peaks - place) <= 1).mean()) for place in (n // 2, 0)]
    return max(crossing) > 0.9 and bool(sums.max() < FLAT * np.median(sums))
