"""ISMRMRD acquisitions, one readout each: what they are, where they belong in k-space, and reading them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from lightning_mri.io.hdf5 import check_slice, open_hdf5, stored_rows
from lightning_mri.io.header import Encoding
from lightning_mri.io.scan import CHUNK_BYTES, StoredArray

MAX_LINES = 2**22
MAX_PARTITIONS = 2**11
VOLUMES = ("contrast", "phase", "repetition", "set")
COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "slice", *VOLUMES)
SHORT = ("number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample", "encoding_space_ref")
LINE = np.dtype(
    [("flags", "u8"), ("row", "u4"), ("n_values", "u4"), ("sample_time_us", "f4")]
    + [(name, "u2") for name in (*SHORT, *COUNTERS)]
)
"""What is kept of an acquisition: its row, how many numbers it stores, and a few fields of its head."""
PLACED = np.dtype(
    [("row", "i8"), ("group", "i8"), ("z", "i4"), ("x", "i4"), ("y", "i4"), ("skip", "i4"), ("n", "i4"), ("back", "?")]
)
"""Where a readout goes: its samples from ``skip`` on, ``n`` of them, into column x, partition z, from row y on."""


def _flags(*names: str) -> np.uint64:
    return np.uint64(sum(1 << (getattr(ismrmrd, f"ACQ_{name}") - 1) for name in names))


NOISE = _flags("IS_NOISE_MEASUREMENT")
CALIBRATION = _flags("IS_PARALLEL_CALIBRATION")
CALIBRATION_AND_IMAGING = _flags("IS_PARALLEL_CALIBRATION_AND_IMAGING")
REVERSE = _flags("IS_REVERSE")
NO_IMAGE = _flags(
    "IS_NAVIGATION_DATA",
    "IS_PHASECORR_DATA",
    "IS_HPFEEDBACK_DATA",
    "IS_DUMMYSCAN_DATA",
    "IS_RTFEEDBACK_DATA",
    "IS_SURFACECOILCORRECTIONSCAN_DATA",
    "IS_PHASE_STABILIZATION_REFERENCE",
    "IS_PHASE_STABILIZATION",
)


@dataclass(frozen=True)
class Lines:
    """Acquisitions by their purpose; navigators, phase corrections and dummies are in none.

    Args:
        imaging: Lines of the encoding that most imaging lines belong to.
        calibration: Lines of that encoding, and with as many coils, for the calibration of parallel imaging alone.
        noise: Lines without signal, with as many coils.
        warnings: What was left out.
    """

    imaging: np.ndarray
    calibration: np.ndarray
    noise: np.ndarray
    warnings: tuple[str, ...]

    @property
    def n_coils(self) -> int:
        """Number of coils."""
        return int(self.imaging["active_channels"][0])


def read_lines(path: Path, data: h5py.Dataset) -> Lines:
    """Read the heads of all acquisitions, in at most 200 MB, and sort them by purpose.

    Raises:
        ValueError: If there are more than four million, if none is for imaging, if these differ in coils, or if
            one stores more or fewer numbers than its head says.
        OSError: If the file is truncated.
    """
    lines = _heads(path, data)
    flags = lines["flags"]
    used = (flags & NO_IMAGE) == 0
    noise = (flags & NOISE) != 0
    only_calibration = ((flags & CALIBRATION) != 0) & ((flags & CALIBRATION_AND_IMAGING) == 0)
    imaging = lines[used & ~noise & ~only_calibration]
    if not len(imaging):
        raise ValueError(f"{path}: data must hold acquisitions for imaging: got none among {len(lines)}")
    encoding = np.bincount(imaging["encoding_space_ref"]).argmax()
    chosen = imaging[imaging["encoding_space_ref"] == encoding]
    n_coils = int(chosen["active_channels"][0])
    _check_lines(path, chosen, n_coils)
    sound = (lines["active_channels"] == n_coils) & (lines["n_values"] == _expected(lines))
    others = np.unique(imaging["encoding_space_ref"]).size - 1
    warnings = (f"{len(imaging) - len(chosen)} lines of {others} other encodings were left out",) if others else ()
    return Lines(
        imaging=chosen,
        calibration=lines[used & only_calibration & sound & ~noise & (lines["encoding_space_ref"] == encoding)],
        noise=lines[used & noise & sound],
        warnings=warnings,
    )


@dataclass(frozen=True)
class Grid:
    """The encoded matrix, and which readout sample and encoding steps lie at the centre of k-space, index n // 2.

    Args:
        matrix: Samples (y, x).
        partitions: Samples along the second phase encoding, 1 for 2-D.
        centre_1: First phase encoding step at the centre.
        centre_2: Second phase encoding step at the centre.
        centre_known: Whether heads tell the sample at the centre; else it is the middle one.
        warnings: What had to be guessed.
    """

    matrix: tuple[int, int]
    partitions: int
    centre_1: int
    centre_2: int
    centre_known: bool
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, path: Path, encoding: Encoding, imaging: np.ndarray) -> "Grid":
        """Find the grid on which all imaging lines lie.

        Raises:
            ValueError: If the header has no matrix, or one too large for memory, or lines lie outside it.
        """
        if encoding.encoded.matrix is None:
            raise ValueError(f"{path}: xml must tell encodedSpace/matrixSize: got none")
        steps = imaging["kspace_encode_step_2"]
        partitions = encoding.encoded.partitions if (steps != steps[0]).any() else 1
        if partitions > MAX_PARTITIONS:
            raise ValueError(f"{path}: a 3-D scan must have at most {MAX_PARTITIONS} partitions: got {partitions}")
        n_coils = int(imaging["active_channels"][0])
        check_slice(path, "encodedSpace/matrixSize", (n_coils, *encoding.encoded.matrix))
        check_slice(path, "encodedSpace/matrixSize", (partitions, n_coils, encoding.encoded.matrix[0]))
        warnings: list[str] = []
        centre_1 = _centre(path, encoding, "kspace_encode_step_1", imaging, encoding.encoded.matrix[1], warnings)
        centre_2 = int(steps[0])
        if partitions > 1:
            centre_2 = _centre(path, encoding, "kspace_encode_step_2", imaging, partitions, warnings)
        centre_known = bool(imaging["center_sample"].any()) or bool((imaging["number_of_samples"] == 1).all())
        if not centre_known:
            warnings.append("no head tells the sample at the centre of k-space: the middle one was taken")
        grid = cls(encoding.encoded.matrix, partitions, centre_1, centre_2, centre_known, tuple(warnings))
        outside = ~grid.holds(placed := grid.place(imaging))
        if outside.any():
            y, x, z, n = (int(placed[outside][0][name]) for name in ("y", "x", "z", "n"))
            raise ValueError(
                f"{path}: data must lie in the encoded matrix {grid.matrix} with {partitions} partitions:"
                f" got samples {y} to {y + n - 1} of line {x} in partition {z}"
            )
        return grid

    def place(self, lines: np.ndarray) -> np.ndarray:
        """Return where lines go, `PLACED`, in group 0, on the grid or off it."""
        placed = np.zeros(len(lines), PLACED)
        head = {name: lines[name].astype(np.int32) for name in (*SHORT, *COUNTERS)}
        back = (lines["flags"] & REVERSE) != 0
        n = head["number_of_samples"] - head["discard_pre"] - head["discard_post"]
        centre = head["center_sample"] - head["discard_pre"] if self.centre_known else n // 2
        placed["row"], placed["back"], placed["n"], placed["skip"] = lines["row"], back, n, head["discard_pre"]
        placed["y"] = self.matrix[0] // 2 - np.where(back, n - 1 - centre, centre)
        placed["x"] = self.matrix[1] // 2 + head["kspace_encode_step_1"] - self.centre_1
        placed["z"] = self.partitions // 2 + head["kspace_encode_step_2"] - self.centre_2
        return placed

    def holds(self, placed: np.ndarray) -> np.ndarray:
        """Return which lines lie on the grid, and cover the centre of their readout."""
        y, x, z, n = (placed[name] for name in ("y", "x", "z", "n"))
        middle = self.matrix[0] // 2
        rows = (y >= 0) & (y <= middle) & (y + n > middle) & (y + n <= self.matrix[0])
        return rows & (x >= 0) & (x < self.matrix[1]) & (z >= 0) & (z < self.partitions)


class AcquiredLines(StoredArray):
    """K-space [slice, coil, y, x] put together from the acquisitions of the slices asked for.

    Lines acquired several times are averaged. Partitions are mixed to slices, so that a group of lines, one slice
    of a 2-D scan or one volume of a 3-D scan, makes as many slices as the mixing matrix has rows. A reading holds
    its result and about 64 MiB more, and goes through all lines of each group it needs.

    Args:
        path: File that holds them.
        field: Name of the dataset of acquisitions.
        grid: Where they lie.
        placed: Lines, `PLACED`, with their groups.
        n_coils: Number of coils.
        mixing: Slices from partitions, [slice, partition].
    """

    def __init__(
        self, path: Path, field: str, grid: Grid, placed: np.ndarray, n_coils: int, mixing: np.ndarray
    ) -> None:
        self.grid, self.mixing = grid, mixing
        self.placed = placed[np.lexsort((placed["row"], placed["group"]))]
        n_groups = int(placed["group"].max()) + 1
        self.starts = np.searchsorted(self.placed["group"], np.arange(n_groups + 1))
        super().__init__(path, field, (n_groups * len(mixing), n_coils, *grid.matrix))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        kspace = np.empty((stop - start, *self.shape[1:]), np.complex64)
        n = len(self.mixing)
        with open_hdf5(self.path) as file, np.errstate(over="ignore", invalid="ignore"):  # refused once read
            for group in range(start // n, -(-stop // n)):
                first, last = max(start, group * n), min(stop, (group + 1) * n)
                mixing = self.mixing[first - group * n : last - group * n]
                for columns in self._blocks():
                    lines = self._columns(file[self.field], group, columns)
                    slices = np.tensordot(mixing, lines, 1).transpose(0, 2, 3, 1)
                    kspace[first - start : last - start, ..., columns.start : columns.stop] = slices
        return kspace

    def _blocks(self) -> Iterator[range]:
        """Go through the columns of k-space, as many at a time as memory should hold in all partitions."""
        _, n_coils, n_y, n_x = self.shape
        n = max(1, CHUNK_BYTES // (8 * self.grid.partitions * n_coils * n_y))
        return (range(x, min(x + n, n_x)) for x in range(0, n_x, n))

    def _columns(self, data: h5py.Dataset, group: int, columns: range) -> np.ndarray:
        """Return columns of k-space [partition, x, coil, y], averaged where acquired several times."""
        _, n_coils, n_y, _ = self.shape
        lines = np.zeros((self.grid.partitions, len(columns), n_coils, n_y), np.complex64)
        counts = np.zeros((self.grid.partitions, len(columns), 1, n_y), np.float32)
        placed = self.placed[self.starts[group] : self.starts[group + 1]]
        placed = placed[(placed["x"] >= columns.start) & (placed["x"] < columns.stop)]
        for samples, (_, _, z, x, y, _, n, _) in zip(samples_of(data, placed, n_coils), placed.tolist(), strict=True):
            lines[z, x - columns.start, :, y : y + n] += samples
            counts[z, x - columns.start, :, y : y + n] += 1
        if counts.max() > 1:
            lines /= np.maximum(counts, 1)
        return lines


def samples_of(data: h5py.Dataset, placed: np.ndarray, n_coils: int) -> Iterator[np.ndarray]:
    """Go through lines in the order of their rows, as [coil, sample]: forward, and without what is discarded."""
    n_together = max(1, CHUNK_BYTES // (8 * n_coils * int(placed["n"].max(initial=1))))
    stored = data.fields("data")
    values = (row for run in _runs(placed["row"], n_together) for row in stored[run])
    for value, (*_, skip, n, back) in zip(values, placed.tolist(), strict=True):
        samples = value.view(np.complex64).reshape(n_coils, -1)[:, skip : skip + n]
        yield samples[:, ::-1] if back else samples


def acquired_mask(grid: Grid, placed: np.ndarray) -> tuple[Bool[Tensor, "1 y x"], bool]:
    """Return which samples every group and partition has, and whether some have others besides."""
    cells, y, end, _ = _cells(grid, placed)
    columns = cells % grid.matrix[1]
    found = np.bincount(columns, minlength=grid.matrix[1])
    first, last = np.zeros(grid.matrix[1], np.int64), np.full(grid.matrix[1], grid.matrix[0], np.int64)
    np.maximum.at(first, columns, y)
    np.minimum.at(last, columns, end)
    everywhere = found == np.unique(cells // grid.matrix[1]).size
    rows = np.arange(grid.matrix[0])[:, None]
    mask = torch.from_numpy(everywhere & (first <= rows) & (rows < last))
    differs = bool((found[~everywhere] > 0).any()) or bool((y != first[columns]).any() or (end != last[columns]).any())
    return mask[None], differs


def repeats(grid: Grid, placed: np.ndarray) -> np.ndarray:
    """Return how often each line was acquired."""
    return _cells(grid, placed)[3]


def missing_partitions(grid: Grid, placed: np.ndarray) -> int:
    """Return how many lines of phase encoding, of those acquired at all, lack partitions in some group."""
    cells, *_ = _cells(grid, placed)
    group, rest = np.divmod(cells, grid.partitions * grid.matrix[1])
    _, found = np.unique(group * grid.matrix[1] + rest % grid.matrix[1], return_counts=True)
    return int((found != grid.partitions).sum())


def _cells(grid: Grid, placed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the cells (group, z, x) with lines, as one number each, their first row, end and number of lines."""
    cells = (placed["group"] * grid.partitions + placed["z"]) * grid.matrix[1] + placed["x"]
    order = np.argsort(cells, kind="stable")
    distinct, starts, counts = np.unique(cells[order], return_index=True, return_counts=True)
    y = np.minimum.reduceat(placed["y"][order], starts)
    end = np.maximum.reduceat((placed["y"] + placed["n"])[order], starts)
    return distinct, y, end, counts


def _heads(path: Path, data: h5py.Dataset) -> np.ndarray:
    if data.ndim != 1 or not 0 < len(data) <= MAX_LINES:
        raise ValueError(f"{path}: data must hold 1 to {MAX_LINES} acquisitions: got shape {data.shape}")
    stored = _stored_dtype(path, data)
    lines = np.empty(len(data), LINE)
    lines["row"] = np.arange(len(data))
    start = 0
    for block in stored_rows(data):
        rows = np.frombuffer(block, stored)
        part = lines[start : start + len(rows)]
        for name in ("flags", "sample_time_us", *SHORT):
            part[name] = rows["head"][name]
        for name in COUNTERS:
            part[name] = rows["head"]["idx"][name]
        part["n_values"] = rows["n_values"]
        start += len(rows)
    return lines


def _stored_dtype(path: Path, data: h5py.Dataset) -> np.dtype:
    """Return how a row lies in the file: its head, and how many numbers its samples are."""
    names = data.dtype.names or ()
    head = data.dtype["head"] if "head" in names else np.dtype("u1")
    needed = {"flags", "sample_time_us", "idx", *SHORT}
    if "data" not in names or not needed <= set(head.names or ()) or not set(COUNTERS) <= set(head["idx"].names or ()):
        raise ValueError(f"{path}: data must hold ISMRMRD acquisitions, each a head and its data: got {data.dtype}")
    if h5py.check_vlen_dtype(data.dtype["data"]) != np.dtype("f4"):
        raise ValueError(f"{path}: data must hold samples in single precision: got {data.dtype['data']}")
    row = data.id.get_type()
    offsets = [row.get_member_offset(row.get_member_index(name)) for name in (b"head", b"data")]
    formats = {"names": ["head", "n_values"], "formats": [head, "<u4"], "offsets": offsets, "itemsize": row.get_size()}
    return np.dtype(formats)  # type: ignore[call-overload]


def _expected(lines: np.ndarray) -> np.ndarray:
    return 2 * lines["active_channels"].astype(np.int64) * lines["number_of_samples"]


def _check_lines(path: Path, lines: np.ndarray, n_coils: int) -> None:
    coils = np.unique(lines["active_channels"])
    if coils.size > 1 or n_coils == 0:
        raise ValueError(f"{path}: data must have one number of coils throughout: got {coils.tolist()}")
    wrong = np.flatnonzero(lines["n_values"] != _expected(lines))
    if wrong.size:
        line = lines[wrong[0]]
        raise ValueError(
            f"{path}: data must hold as many numbers as the heads say: got {line['n_values']} in row {line['row']}"
            f" for {n_coils} coils of {line['number_of_samples']} samples"
        )


def _centre(path: Path, encoding: Encoding, counter: str, lines: np.ndarray, n: int, warnings: list[str]) -> int:
    """Return the step at the centre of k-space: the limits', else n // 2 where that fits all steps, with a warning."""
    steps = lines[counter]
    lowest, highest = int(steps.min()), int(steps.max())
    centre = encoding.centres.get(counter.replace("encode", "encoding"))
    for candidate in (n // 2 if centre is None else centre, n // 2):
        if lowest - candidate >= -(n // 2) and highest - candidate < n - n // 2:
            if candidate != centre:
                said = "does not tell the centre" if centre is None else f"has the centre {centre}, which does not fit"
                warnings.append(f"the header {said} of {counter}: {candidate} was taken")
            return candidate
    raise ValueError(f"{path}: {counter} must fit into {n} lines around step {centre}: got steps {lowest} to {highest}")


def _runs(rows: np.ndarray, longest: int) -> Iterator[slice]:
    """Cut ascending rows into runs of equal steps, each of which HDF5 reads at once."""
    start, n = 0, len(rows)
    while start < n:
        step = int(rows[start + 1] - rows[start]) if start + 1 < n else 1
        stop = start + 1
        while stop < min(n, start + longest) and rows[stop] - rows[stop - 1] == step:
            stop += 1
        yield slice(int(rows[start]), int(rows[stop - 1]) + 1, step)
        start = stop
