"""Where ISMRMRD acquisitions lie in k-space: the encoded matrix, and which step and sample are at its centre."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from lightning_mri.io.arrays import MAX_SLICE_BYTES
from lightning_mri.io.formats.ismrmrd.acquisitions import readouts
from lightning_mri.io.header import Encoding, Space

MAX_PARTITIONS = 2**11
MAX_ACCELERATION = 256
PLAINLY = 10
"""A line with this many times the energy of that which the header puts at the centre of k-space is the centre."""

Energies = Callable[[str], dict[int, float]]


@dataclass(frozen=True)
class Grid:
    """The encoded matrix, and which readout sample and encoding steps lie at the centre of k-space, index n // 2."""

    space: Space  # space on which all imaging lines lie
    partitions: int = 1  # samples along the second phase encoding, 1 for 2-D
    centre_1: int = 0  # first phase encoding step at the centre
    centre_2: int = 0  # second phase encoding step at the centre
    centre_known: bool = True  # whether heads tell the sample at the centre; else it is the middle one
    counted_turned: bool = False  # whether that of lines measured backwards is counted after they were turned
    warnings: tuple[str, ...] = ()  # what had to be guessed

    @property
    def matrix(self) -> tuple[int, int]:
        """Samples (y, x)."""
        assert self.space.matrix is not None
        return self.space.matrix

    @classmethod
    def of(cls, encoding: Encoding, imaging: np.ndarray, energies: Energies) -> "Grid":
        """Find the grid on which all imaging lines lie; ``energies`` gives those of the steps of a counter."""
        space, warnings = _space(encoding, imaging)
        steps = imaging["kspace_encode_step_2"]
        partitions = space.partitions if (steps != steps[0]).any() else 1
        _check_size(space, partitions, imaging)
        known = bool(imaging["center_sample"].any()) or bool((imaging["number_of_samples"] == 1).all())
        grid = cls(space, partitions, centre_2=int(steps[0]), centre_known=known)
        centre, found = _centre(encoding, "kspace_encode_step_1", imaging, grid.matrix[1], energies)
        grid, warnings = replace(grid, centre_1=centre), warnings + found
        if partitions > 1:
            centre, found = _centre(encoding, "kspace_encode_step_2", imaging, partitions, energies)
            grid, warnings = replace(grid, centre_2=centre), warnings + found
        if not known:
            warnings += ("no head tells the sample at the centre of k-space: the middle one was taken",)
        grid = replace(grid, counted_turned=grid._counts_turned(imaging), warnings=warnings)
        grid._check_inside(imaging, encoding)
        return grid

    def place(self, lines: np.ndarray) -> np.ndarray:
        """Return where lines go, `READOUT`, in group 0, on the grid or off it."""
        placed = readouts(lines)
        n, turned = placed["n"], placed["back"] & (not self.counted_turned)
        centre = lines["center_sample"].astype(np.int32) - placed["skip"] if self.centre_known else n // 2
        placed["y"] = self.matrix[0] // 2 - np.where(turned, n - 1 - centre, centre)
        placed["x"] = self.matrix[1] // 2 + lines["kspace_encode_step_1"].astype(np.int32) - self.centre_1
        placed["z"] = self.partitions // 2 + lines["kspace_encode_step_2"].astype(np.int32) - self.centre_2
        return placed

    def holds(self, placed: np.ndarray) -> np.ndarray:
        """Return which lines lie on the grid, and cover the centre of their readout."""
        y, x, z, n = (placed[name] for name in ("y", "x", "z", "n"))
        middle = self.matrix[0] // 2
        rows = (y >= 0) & (y <= middle) & (y + n > middle) & (y + n <= self.matrix[0])
        return rows & (x >= 0) & (x < self.matrix[1]) & (z >= 0) & (z < self.partitions)

    def cell(self, placed: np.ndarray) -> np.ndarray:
        """Return the cell (group, z, x) of lines, as one number each."""
        return (placed["group"] * self.partitions + placed["z"]) * self.matrix[1] + placed["x"]

    def _counts_turned(self, imaging: np.ndarray) -> bool:
        """Return whether the centre of lines measured backwards is counted after they were turned.

        Both conventions occur. The one is right with which they cover the same samples as the other lines, or
        with which they lie on the grid at all.
        """
        plain, counted = self.place(imaging), replace(self, counted_turned=True).place(imaging)
        back, forward = plain["back"], plain[~plain["back"]]
        if not back.any() or not self.centre_known:
            return False
        places = np.unique(forward[["y", "n"]])
        alike = [int(np.isin(placed[back][["y", "n"]], places).sum()) for placed in (plain, counted)]
        inside = [int(self.holds(placed[back]).sum()) for placed in (plain, counted)]
        return (inside[1], alike[1]) > (inside[0], alike[0])

    def _check_inside(self, imaging: np.ndarray, encoding: Encoding) -> None:
        placed = self.place(imaging)
        outside = placed[~self.holds(placed)]
        if len(outside):
            y, x, z, n = (int(outside[0][name]) for name in ("y", "x", "z", "n"))
            rule = f"data must lie in the encoded matrix {self.matrix} with {self.partitions} partitions"
            ramps = "; samples on the ramps of an echo train are not gridded" if encoding.trajectory == "epi" else ""
            raise ValueError(f"{rule}: got samples {y} to {y + n - 1} of line {x} in partition {z}{ramps}")


@dataclass(frozen=True)
class Cells:
    """The cells (group, partition, column) that were acquired, each with the rows that all its lines have."""

    grid: Grid  # where they lie
    group: np.ndarray  # group of each cell
    z: np.ndarray  # partition of each
    x: np.ndarray  # column of each
    start: np.ndarray  # first row
    stop: np.ndarray  # row after the last
    n_lines: np.ndarray  # how often it was acquired

    @classmethod
    def of(cls, grid: Grid, placed: np.ndarray) -> "Cells":
        """Sort lines into cells."""
        cells = grid.cell(placed)
        order = np.argsort(cells, kind="stable")
        distinct, starts, n_lines = np.unique(cells[order], return_index=True, return_counts=True)
        start = np.minimum.reduceat(placed["y"][order], starts)
        stop = np.maximum.reduceat((placed["y"] + placed["n"])[order], starts)
        rest, x = np.divmod(distinct, grid.matrix[1])
        group, z = np.divmod(rest, grid.partitions)
        return cls(grid, group, z, x, start, stop, n_lines)

    def masks(self) -> Bool[Tensor, "_group y x"]:
        """Return the samples that each group has in all its partitions; one mask where all groups have the same."""
        n_y, n_x = self.grid.matrix
        columns, starts = np.unique(self.group * n_x + self.x, return_index=True)
        order = np.argsort(self.group * n_x + self.x, kind="stable")
        first = np.maximum.reduceat(self.start[order], starts)
        last = np.minimum.reduceat(self.stop[order], starts)
        group, x = np.divmod(columns, n_x)
        n_groups = int(group[-1]) + 1
        pattern = np.stack([x, first, last])
        if (
            len(columns) % n_groups == 0
            and (pattern.reshape(3, n_groups, -1) == pattern[:, None, : len(x) // n_groups]).all()
        ):
            n_groups, group, x, first, last = 1, *(v[: len(x) // n_groups] for v in (group, x, first, last))
        mask = np.zeros((n_groups, n_x, n_y), bool)
        rows = np.arange(n_y)
        for i in range(n_groups):
            own = group == i
            mask[i, x[own]] = (first[own, None] <= rows) & (rows < last[own, None])
        return torch.from_numpy(mask.swapaxes(1, 2).copy())

    def n_incomplete(self) -> int:
        """Return how many lines of phase encoding, of those acquired at all, lack partitions in some group."""
        _, found = np.unique(self.group * self.grid.matrix[1] + self.x, return_counts=True)
        return int((found != self.grid.partitions).sum())


def _space(encoding: Encoding, imaging: np.ndarray) -> tuple[Space, tuple[str, ...]]:
    """Return the encoded space, without oversampling where the lines lack it though the header has it."""
    space, wanted = encoding.encoded, encoding.reconstructed
    if space.matrix is None:
        raise ValueError("xml must tell encodedSpace/matrixSize: got none")
    readout = readouts(imaging)
    n, steps = int(readout["n"].max()), imaging["kspace_encode_step_1"].astype(int)
    n_steps = int(steps.max() - steps.min()) + 1
    y, x = space.matrix
    if (n > y or n_steps > x) and n <= x and n_steps <= y:
        got = f"{y}, and readouts of {n} samples with {n_steps} encoding steps, which fit matrixSize/y {x}"
        raise ValueError(f"matrixSize/x must be that of the readout: got {got}: the axes are exchanged")
    whole = bool((readout["n"] == n).all())
    middle = np.abs(imaging["center_sample"].astype(int) - readout["skip"] - (n - 1) / 2).max() <= 1
    if n >= y or not (whole and middle) or space.fov is None or wanted.fov is None:
        return space, ()
    if abs(n / y - wanted.fov[0] / space.fov[0]) > 0.02:
        return space, ()
    corrected = replace(space, matrix=(n, x), fov=(space.fov[0] * n / y, space.fov[1]))
    return corrected, (f"readouts have {n} of the header's {y} samples: their oversampling was removed already",)


def _check_size(space: Space, partitions: int, imaging: np.ndarray) -> None:
    """Refuse a matrix that takes too much memory, or of which the file could hold no more than a trace."""
    if partitions > MAX_PARTITIONS:
        raise ValueError(f"a 3-D scan must have at most {MAX_PARTITIONS} partitions: got {partitions}")
    assert space.matrix is not None
    (y, x), n_coils = space.matrix, int(imaging["active_channels"][0])
    rule, got = "encodedSpace/matrixSize must", f"{space.matrix} with {partitions} partitions"
    if 8 * n_coils * y * max(x, partitions) > MAX_SLICE_BYTES:
        raise ValueError(f"{rule} take at most {MAX_SLICE_BYTES} bytes a slice: got {got}, {n_coils} coils")
    n_samples = int(imaging["number_of_samples"].sum(dtype=np.int64))
    if y * x * partitions > MAX_ACCELERATION * n_samples:
        raise ValueError(f"{rule} not exceed {MAX_ACCELERATION} times the {n_samples} samples of each coil: got {got}")


def _centre(
    encoding: Encoding, counter: str, lines: np.ndarray, n: int, energies: Energies
) -> tuple[int, tuple[str, ...]]:
    """Return the step at the centre of k-space, and the warning where it is not the header's.

    It is the header's, else n // 2, where that fits all steps and no line plainly elsewhere is the strongest, as
    where a header has the middle of the lines that a partial Fourier scan acquired; else the strongest.
    """
    steps = np.unique(lines[counter]).astype(int)
    lowest, highest = int(steps[0]), int(steps[-1])
    said = encoding.centres.get(counter.replace("encode", "encoding"))
    energy = energies(counter)
    strongest, near = max(energy, key=lambda step: energy[step]), int(np.diff(steps).max(initial=1))

    def energy_near(centre: int) -> float:
        return max((value for step, value in energy.items() if abs(step - centre) <= near), default=0.0)

    candidates = (n // 2 if said is None else said, n // 2, strongest)
    fitting = [c for c in candidates if lowest - c >= -(n // 2) and highest - c < n - n // 2]
    if not fitting:
        raise ValueError(f"{counter} must fit into {n} lines around step {n // 2}: got steps {lowest} to {highest}")
    candidate = next((c for c in fitting if energy[strongest] <= PLAINLY * energy_near(c)), fitting[0])
    if candidate == said:
        return candidate, ()
    header = "does not tell the centre" if said is None else f"has the centre {said}, which does not fit"
    reason = ", where the signal is strongest" if candidate == strongest and candidate != n // 2 else ""
    return candidate, (f"the header {header} of {counter}: {candidate} was taken{reason}",)
