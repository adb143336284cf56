"""ISMRMRD's volumes and slices: which lines belong to them, in which order, and where they lie."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.io.formats.ismrmrd.acquisitions import VOLUMES
from lightning_mri.io.formats.ismrmrd.grid import Cells, Grid
from lightning_mri.io.header import Encoding

TOLERANCE = 1e-2


@dataclass(frozen=True)
class Volumes:
    """Which volumes and slices imaging lines belong to."""

    keys: np.ndarray  # contrast, phase, repetition and set of each whole volume, as one number, ascending
    slices: np.ndarray  # counters of the slices, ascending
    warnings: tuple[str, ...]  # what the volumes are, and which were left out

    @property
    def n(self) -> int:
        """Number of volumes."""
        return len(self.keys)

    def of(self, lines: np.ndarray) -> np.ndarray:
        """Return each line's volume, -1 where it is in none."""
        return _position(self.keys, volume_key(lines))

    def slice_of(self, lines: np.ndarray) -> np.ndarray:
        """Return the position of each line's slice among the counters, -1 where it is none of them."""
        return _position(self.slices, lines["slice"])

    def group_of(self, lines: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Return each line's group: volume after volume, slices in their order; -1 for those in no volume."""
        volume, position = self.of(lines), self.slice_of(lines)
        return np.where((volume < 0) | (position < 0), -1, volume * len(order) + order[position])


def volume_key(lines: np.ndarray) -> np.ndarray:
    """Return contrast, phase, repetition and set of lines as one number each."""
    key = np.zeros(len(lines), np.uint64)
    for name in VOLUMES:
        key = key * np.uint64(2**16) + lines[name]
    return key


def _position(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[place] == values, place, -1)


def find_volumes(grid: Grid, imaging: np.ndarray) -> Volumes:
    """Return the volumes that have all slices and were not interrupted, and the slices."""
    keys, slices = np.unique(volume_key(imaging)), np.unique(imaging["slice"])
    if grid.partitions > 1 and slices.size > 1:
        raise ValueError(f"a 3-D scan must have one slab: got {slices.size}")
    every = Volumes(keys, slices, ())
    placed = grid.place(imaging)
    placed["group"] = every.group_of(imaging, np.arange(slices.size))
    cells = Cells.of(grid, placed)
    whole = np.bincount(np.unique(cells.group) // slices.size, minlength=keys.size) == slices.size
    if not whole.any():
        raise ValueError(f"at least one volume must have all {slices.size} slices: got none of {keys.size}")
    warnings = []
    if not whole.all():
        warnings.append(f"{int((~whole).sum())} of {keys.size} volumes lack slices and were left out")
    stopped = whole & np.isin(np.arange(keys.size), _interrupted(cells) // slices.size)
    if stopped.any() and (whole & ~stopped).any():
        whole &= ~stopped
        lack = "lack the centre of k-space, or lines or partitions that others have,"
        warnings.append(f"{int(stopped.sum())} of {keys.size} volumes {lack} and were left out")
    if whole.sum() > 1:
        kept = imaging[whole[every.of(imaging)]]
        counts = {name: np.unique(kept[name]).size for name in VOLUMES}
        kinds = " x ".join(f"{n} of {name}" for name, n in counts.items() if n > 1)
        n = int(whole.sum())
        warnings.append(f"the scan has {n} volumes ({kinds}), which follow each other along the slice axis")
    return Volumes(keys[whole], slices, tuple(warnings))


def _interrupted(cells: Cells) -> np.ndarray:
    """Return the groups whose columns miss the centre, are less than half as many as usual, or lack partitions."""
    n_x = cells.grid.matrix[1]
    columns, n_cells = np.unique(cells.group * n_x + cells.x, return_counts=True)
    x, incomplete = columns % n_x, n_cells < cells.grid.partitions
    groups, first, n_columns = np.unique(columns // n_x, return_index=True, return_counts=True)
    aside = (np.minimum.reduceat(x, first) > n_x // 2) | (np.maximum.reduceat(x, first) < n_x // 2)
    few = n_columns < np.median(n_columns) / 2
    return groups[aside | few | np.logical_or.reduceat(incomplete, first)]


@dataclass(frozen=True)
class SlicePositions:
    """Where slices lie, in mm in LPS coordinates, and how partitions make them."""

    order: np.ndarray  # position of each slice, in the order of the slices' counters
    inverse_dft: np.ndarray  # along the partitions, [slice, partition]; 1 in 2-D scans
    spacing: float | None  # between slices
    directions: np.ndarray | None = None  # of readout, phase encoding and slice
    origin: np.ndarray | None = None  # centre of the first slice
    step: np.ndarray | None = None  # from one slice to the next
    warnings: tuple[str, ...] = ()  # what had to be guessed

    def affine(self, pixel_size: tuple[float, float] | None, size: tuple[int, int]) -> Float[Tensor, "4 4"] | None:
        """Return what takes (x, y, slice, 1) to RAS+; the middle pixel, n // 2, lies at the centre of a slice."""
        if self.directions is None or self.origin is None or self.step is None or pixel_size is None:
            return None
        affine = np.eye(4)
        affine[:3, 0] = self.directions[1] * pixel_size[1]
        affine[:3, 1] = self.directions[0] * pixel_size[0]
        affine[:3, 2] = self.step
        affine[:3, 3] = self.origin - affine[:3, :2] @ (size[1] // 2, size[0] // 2)
        affine[:2] *= -1  # ISMRMRD counts towards left and posterior
        return torch.from_numpy(affine).float()


def place_slices(heads: np.ndarray, encoding: Encoding, grid: Grid) -> SlicePositions:
    """Order slices along their normal; without positions that tell them apart, by their counters."""
    n, depth = len(heads), grid.space.slice_spacing
    directions = np.stack([heads[f"{name}_dir"] for name in ("read", "phase", "slice")], 1).astype(float)
    positions = heads["position"].astype(float)
    counted = SlicePositions(np.arange(n), _inverse_dft(grid, encoding), depth)
    finite = bool(np.isfinite(positions).all() and np.isfinite(directions[0]).all())
    known = finite and bool(np.abs(directions[0] @ directions[0].T - np.eye(3)).max() < TOLERANCE)
    if n == 1:
        return _slab(counted, directions[0], positions[0], depth) if known else counted
    if not known:
        return replace(counted, warnings=("no head tells where slices lie: their counter orders them",))
    if np.abs(directions - directions[0]).max() > TOLERANCE:
        return replace(counted, warnings=("slices are turned against each other: their counter orders them",))
    along = positions @ directions[0, 2]
    order = np.argsort(along)
    gaps = np.diff(along[order])
    if gaps.min() < TOLERANCE:
        return replace(counted, warnings=("slices have the same position: their counter orders them",))
    apart = f"slices are {gaps.min():.3g} to {gaps.max():.3g} mm apart: their mean distance is used"
    warnings = (apart,) if gaps.max() > 1.1 * gaps.min() else ()
    step = (positions[order[-1]] - positions[order[0]]) / (n - 1)
    rank = np.argsort(order)
    return SlicePositions(
        rank, counted.inverse_dft, float(gaps.mean()), directions[0], positions[order[0]], step, warnings
    )


def _slab(place: SlicePositions, directions: np.ndarray, position: np.ndarray, spacing: float | None) -> SlicePositions:
    """Return where the slices of a slab lie, or the only one: slice n // 2 at the position of the heads."""
    if spacing is None:
        return place
    step = directions[2] * spacing
    origin = position - len(place.inverse_dft) // 2 * step
    return replace(place, directions=directions, origin=origin, step=step)


def _inverse_dft(grid: Grid, encoding: Encoding) -> np.ndarray:
    """Return the centred orthonormal inverse transform [slice, partition], for the slices that are kept."""
    n, encoded, wanted = grid.partitions, encoding.encoded, encoding.reconstructed
    if n == 1:
        return np.ones((1, 1), np.complex64)
    kept = wanted.partitions
    if encoded.depth is not None and wanted.depth is not None:
        kept = max(1, round(n * wanted.depth / encoded.depth))
    kept = min(kept, n)
    slices = np.arange(kept) - kept // 2
    partitions = np.arange(n) - n // 2
    return (np.exp(2j * np.pi * np.outer(slices, partitions) / n) / np.sqrt(n)).astype(np.complex64)
