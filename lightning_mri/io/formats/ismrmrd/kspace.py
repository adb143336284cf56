"""K-space of slices, put together from ISMRMRD acquisitions as it is read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from lightning_mri.io.arrays import CHUNK_BYTES, StoredArray
from lightning_mri.io.formats.ismrmrd.acquisitions import VOLUMES, readouts, samples_of
from lightning_mri.io.formats.ismrmrd.grid import Grid
from lightning_mri.io.hdf5 import open_hdf5

SPIKE = 100


@dataclass(frozen=True)
class Assembly:
    """How lines become slices: a group of them, a slice in 2-D or a volume in 3-D, as many as the DFT has rows."""

    grid: Grid
    n_coils: int
    inverse_dft: np.ndarray  # along the partitions, [slice, partition]
    conjugate: bool = False  # whether k-space is the complex conjugate of what the file holds


class AcquiredLines(StoredArray):
    """K-space [slice, coil, y, x] put together from the acquisitions of the slices asked for.

    Lines acquired several times are averaged. A reading holds its result and about 64 MiB more, and goes through all
    lines of each group it needs.
    """

    fragile = True

    def __init__(self, path: Path, field: str, assembly: Assembly, placed: np.ndarray, n_groups: int) -> None:
        self.assembly = assembly
        self.placed = placed[np.lexsort((placed["row"], placed["group"]))]
        self.starts = np.searchsorted(self.placed["group"], np.arange(n_groups + 1))
        super().__init__(path, field, (n_groups * len(assembly.inverse_dft), assembly.n_coils, *assembly.grid.matrix))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        kspace = np.empty((stop - start, *self.shape[1:]), np.complex64)
        n = len(self.assembly.inverse_dft)
        with open_hdf5(self.path) as file, np.errstate(over="ignore", invalid="ignore"):  # refused once read
            for group in range(start // n, -(-stop // n)):
                first, last = max(start, group * n), min(stop, (group + 1) * n)
                rows = self.assembly.inverse_dft[first - group * n : last - group * n]
                for columns in self._blocks():
                    lines = self._columns(file[self.field], group, columns)
                    slices = np.tensordot(rows, lines, 1).transpose(0, 2, 3, 1)
                    kspace[first - start : last - start, ..., columns.start : columns.stop] = slices
        return kspace

    def _blocks(self) -> Iterator[range]:
        """Go through the columns of k-space, as many at a time as memory should hold in all partitions."""
        _, n_coils, n_y, n_x = self.shape
        n = max(1, CHUNK_BYTES // (8 * self.assembly.grid.partitions * n_coils * n_y))
        return (range(x, min(x + n, n_x)) for x in range(0, n_x, n))

    def _columns(self, data: h5py.Dataset, group: int, columns: range) -> np.ndarray:
        """Return columns of k-space [partition, x, coil, y], averaged where acquired several times."""
        _, n_coils, n_y, _ = self.shape
        lines = np.zeros((self.assembly.grid.partitions, len(columns), n_coils, n_y), np.complex64)
        counts = np.zeros((self.assembly.grid.partitions, len(columns), 1, n_y), np.float32)
        placed = self.placed[self.starts[group] : self.starts[group + 1]]
        placed = placed[(placed["x"] >= columns.start) & (placed["x"] < columns.stop)]
        places = zip(placed["z"], placed["x"] - columns.start, placed["y"], placed["n"], strict=True)
        for samples, (z, x, y, n) in zip(samples_of(data, placed, n_coils), places, strict=True):
            lines[z, x, :, y : y + n] += samples
            counts[z, x, :, y : y + n] += 1
        if counts.max() > 1:
            lines /= np.maximum(counts, 1)
        return lines.conj() if self.assembly.conjugate else lines


def energies(data: h5py.Dataset, lines: np.ndarray, counter: str) -> dict[int, float]:
    """Return the energy of lines by the steps of a counter, in the middle slice of the first volume.

    Of lines that differ in the other phase encoding as well, those of its middle step are taken. A line with a
    hundred times the energy of both its neighbours holds a spike and counts like them.
    """
    for name in VOLUMES:
        lines = lines[lines[name] == lines[name][0]]
    other = {"kspace_encode_step_1": "kspace_encode_step_2", "kspace_encode_step_2": "kspace_encode_step_1"}[counter]
    for name in ("slice", other):
        counts = np.unique(lines[name])
        lines = lines[lines[name] == counts[len(counts) // 2]]
    n_coils = int(lines["active_channels"][0])
    found: dict[int, list[float]] = {}
    for samples, step in zip(samples_of(data, readouts(lines), n_coils), lines[counter].tolist(), strict=True):
        found.setdefault(step, []).append(float((np.abs(samples.astype(np.complex128)) ** 2).sum()))
    steps = sorted(found)
    energy = [float(np.mean(found[step])) for step in steps]
    for i, own in enumerate(energy.copy()):
        beside = max(energy[max(0, i - 1) : i] + energy[i + 1 : i + 2], default=own)
        energy[i] = beside if own > SPIKE * beside else own
    return dict(zip(steps, energy, strict=True))
