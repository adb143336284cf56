"""Raw data of ParaVision's Cartesian methods: where the samples are in the file, and where they belong in k-space."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightning_mri.io.arrays import StoredArray
from lightning_mri.io.formats.bruker.files import Parameters

WORDS = {"GO_32BIT_SGN_INT": "i4", "GO_16BIT_SGN_INT": "i2", "GO_32BIT_FLOAT": "f4", "_32_BIT": "i4", "_16_BIT": "i2"}
BLOCK_BYTES = 1024
MAX_PADDING = 16
"""A matrix may be this many times larger than what was acquired of it."""


# brukerapi 0.4.6 reads no part of a fid: 1.5 GiB and 8.5 s for one of 0.5 GiB, where a slice takes 0.04 GiB and 0.06 s
# here; it does not fill partial Fourier, either.
class RawArray(StoredArray):
    """K-space in the order of the grid, from lines in the order of their acquisition.

    The scanner stores blocks, one for each line and all its receivers, from the fastest loop to the slowest:
    echoes of a train, objects (slices and their echo images), trains, partitions, repetitions. A 3-D scan is
    transformed along its partitions, one partition in memory at a time.
    """

    def __init__(self, path: Path, layout: "RawLayout") -> None:
        expected, stored = layout.n_bytes, path.stat().st_size
        said = f"{path}: raw data must have {expected} bytes, as the parameters say: got {stored}"
        if stored < expected:
            raise OSError(said)
        if stored > expected:
            raise ValueError(f"{said}, as if averages or navigators were stored apart")
        n_images = layout.n_slices * layout.n_volumes
        super().__init__(path, "raw data", (n_images, layout.n_coils, layout.matrix[0], layout.matrix[1]))
        self.layout = layout

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        k = self.layout
        out = np.zeros((stop - start, *self.shape[1:]), np.complex64)
        if start == stop:
            return out
        try:
            stored = np.memmap(self.path, k.dtype, "r", shape=k.stored_shape)
        except ValueError as error:
            raise OSError(f"{self.path}: raw data are truncated: {error}") from error
        for volume in range(start // k.n_slices, (stop - 1) // k.n_slices + 1):
            first = volume * k.n_slices
            slices = range(max(start, first) - first, min(stop, first + k.n_slices) - first)
            images = out[first + slices.start - start :][: len(slices)]
            if k.is_3d:
                for partition, weights in enumerate(k.partition_weights(slices)):
                    images += weights[:, None, None, None] * self._grid(stored, volume, 0, partition)
            else:
                for image, position in zip(images, slices, strict=True):
                    image[:] = self._grid(stored, volume, position, 0)
        return out

    def _grid(self, stored: np.ndarray, volume: int, position: int, partition: int) -> np.ndarray:
        """Return the lines [coil, y, x] of one image, or of one partition, in their places."""
        k = self.layout
        repetition, echo = divmod(volume, k.n_echoes)
        place = k.place_of[position * k.n_echoes + echo]
        with np.errstate(over="ignore", invalid="ignore"):
            parts = stored[repetition, partition, :, place, :, : 2 * k.n_coils * k.n_read].astype(np.float32)
            lines = parts.reshape(len(k.lines), k.n_coils, k.n_read, 2) @ np.array([1, 1j])
        if k.alternating and echo % 2:
            lines = lines[..., ::-1]
        grid = np.zeros(self.shape[1:], np.complex64)
        grid[:, k.matrix[0] - k.n_read :, k.lines] = lines.transpose(1, 2, 0) * k.ramps[position % len(k.ramps)]
        return grid


@dataclass(frozen=True)
class RawLayout:
    """Where the samples of a scan are in its file, and where they belong."""

    dtype: np.dtype  # of one real number
    block: int  # real numbers in a block, with padding
    n_coils: int
    n_read: int  # complex samples of a line; the end of the readout if it is less than the matrix
    train: int  # lines that follow each other within one object
    n_echoes: int  # images of a slice in one repetition
    n_slices: int  # of a volume, after a 3-D scan's transform
    n_repetitions: int
    place_of: np.ndarray  # for each object, its place in the order of acquisition
    lines: np.ndarray  # column of each line along the phase encoding
    partitions: np.ndarray  # index of each partition, empty in 2-D
    matrix: tuple[int, int, int]  # (y, x, partitions) of k-space, y the readout
    ramps: np.ndarray  # for each slice, or for all, phase of each line that centres an offset field of view
    partition_shift: float  # the same along partitions, as a part of the field of view
    alternating: bool  # whether every second echo was read backwards

    @property
    def is_3d(self) -> bool:
        """Whether partitions are to be transformed."""
        return len(self.partitions) > 0

    @property
    def n_volumes(self) -> int:
        """Volumes, the echoes of the first repetition first."""
        return self.n_echoes * self.n_repetitions

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of the file: repetition, partition, train, object, line of the train, number."""
        n_partitions, n_trains = max(1, len(self.partitions)), len(self.lines) // self.train
        return self.n_repetitions, n_partitions, n_trains, len(self.place_of), self.train, self.block

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return math.prod(self.stored_shape) * self.dtype.itemsize

    def partition_weights(self, slices: range) -> Iterator[np.ndarray]:
        """Yield, for each partition as stored, its share exp(2 pi i k z) / sqrt(n) in each of ``slices``."""
        n = self.matrix[2]
        first = n // 2 - self.n_slices // 2
        z = (np.arange(slices.start, slices.stop) + first - n // 2) / n + self.partition_shift
        for partition in self.partitions:
            yield (np.exp(2j * np.pi * (partition - n // 2) * z) / math.sqrt(n)).astype(np.complex64)


def layout_of(path: Path, p: Parameters) -> RawLayout:
    """Return the layout that `method` and `acqp` give to a file of raw data."""
    dims = p.number("ACQ_dim", default=3 if p.word("PVM_SpatDimEnum").strip("<>") == "3D" else 2)
    if dims not in (2, 3):
        raise p.error("ACQ_dim", "be 2 or 3", dims)
    acquired = p.whole("PVM_EncMatrix", dims)[:dims]
    n_coils = p.number("PVM_EncNReceivers", default=max(1, p.words("ACQ_ReceiverSelect").count("Yes")))
    n_objects, n_slabs = _objects(p, dims)
    n_repetitions = p.number("NR", default=1)
    dtype = _raw_dtype(p)
    least = math.prod((*acquired, n_coils, n_objects, n_repetitions, 2 * dtype.itemsize))
    if (stored := path.stat().st_size) < least:
        raise OSError(f"{path}: raw data must have {least} bytes or more, as the parameters say: got {stored}")
    train = p.number("ACQ_phase_factor", default=p.number("ACQ_rare_factor", default=1))
    if acquired[1] % train:
        raise p.error("ACQ_phase_factor", f"divide the {acquired[1]} lines", train)
    alias, fov = alias_of(p, dims), _fov(p, dims)
    n_y = acquired[0] if p.numbers("PVM_EncPft", default=1)[0] == 1 else _full(p, 0, acquired, alias)
    n_x, lines = _steps(p, 1, acquired, alias)
    n_z, partitions = _steps(p, 2, acquired, alias) if dims == 3 else (1, np.zeros(0, int))
    if len(partitions) not in (0, n_z):
        raise p.error("PVM_EncSteps2", f"hold all {n_z} partitions", len(partitions))
    offsets, offset_2 = _offsets(p, n_slabs)
    return RawLayout(
        dtype=dtype,
        block=_block(path, p, 2 * acquired[0], n_coils, dtype.itemsize),
        n_coils=n_coils,
        n_read=acquired[0],
        train=train,
        n_echoes=n_objects // n_slabs,
        n_slices=max(1, round(n_z / alias[2])) if dims == 3 else n_slabs,
        n_repetitions=n_repetitions,
        place_of=_places(p, n_objects),
        lines=lines,
        partitions=partitions,
        matrix=(n_y, n_x, n_z),
        ramps=np.exp(-2j * np.pi * np.outer(offsets / (fov[1] * alias[1]), lines - n_x // 2)),
        partition_shift=-offset_2 / (fov[2] * alias[2]) if dims == 3 else 0.0,
        alternating=p.word("EchoAcqMode") == "allEchoes",
    )


def _objects(p: Parameters, dims: int) -> tuple[int, int]:
    """Return the number of objects in a repetition, slices and their echo images, and that of slices."""
    n_objects, n_slabs = p.number("NI", default=1), p.number("NSLICES", default=1)
    if n_objects % n_slabs or (dims == 3 and n_slabs > 1):
        raise p.error("NI", "be a multiple of NSLICES, which is 1 in 3-D", f"{n_objects}, {n_slabs}")
    return n_objects, n_slabs


def _offsets(p: Parameters, n_slices: int) -> tuple[np.ndarray, float]:
    """Return the offset of the field of view in mm along the first phase encoding, by slice, and the second.

    Their sign is that of two other readers of ParaVision 5.1 and 360; the scanner's methods count the second one
    against the slices.
    """
    named = ("PVM_EffPhase1Offset", "PVM_SPackArrPhase1Offset")
    first = next((p.numbers(name) for name in named if name in p), np.zeros(1))
    slab = -float(p.numbers("PVM_SPackArrSliceOffset", default=0)[0])
    return first if len(first) == n_slices else first[:1], float(p.numbers("PVM_EffPhase2Offset", default=slab)[0])


def _raw_dtype(p: Parameters) -> np.dtype:
    pipe = any(str(word) == "STORE_64bit_float" for row in p.rows("ACQ_ScanPipeJobSettings") for word in row)
    word = p.word("GO_raw_data_format") or p.word("ACQ_word_size", "_32_BIT")
    order = p.word("BYTORDA", "little")
    if (not pipe and word not in WORDS) or order not in ("little", "big"):
        rule = f"be one of {', '.join(WORDS)}, and BYTORDA little or big"
        raise p.error("GO_raw_data_format", rule, f"{word}, {order}")
    return np.dtype("f8" if pipe else WORDS[word]).newbyteorder("<" if order == "little" else ">")


def _block(path: Path, p: Parameters, per_line: int, n_coils: int, itemsize: int) -> int:
    """Return the numbers in a block: one line of all receivers, padded to 1024 bytes in fid, not in jobs."""
    is_job = path.name != "fid"
    jobs = p.rows("ACQ_jobs") if is_job else []
    stored = jobs[0][0] if jobs else p.whole("ACQ_size", default=per_line)[0]
    if str(stored) != str(per_line) and (jobs or not is_job):
        name = "ACQ_jobs" if jobs else "ACQ_size"
        raise p.error(name, f"have {per_line} numbers in a line, twice PVM_EncMatrix", stored)
    numbers = per_line * n_coils
    if is_job or p.word("GO_block_size", "Standard_KBlock_Format") != "Standard_KBlock_Format":
        return numbers
    return math.ceil(numbers * itemsize / BLOCK_BYTES) * BLOCK_BYTES // itemsize


def alias_of(p: Parameters, dims: int) -> np.ndarray:
    """Return by how much the encoded field of view exceeds that of the image, for each axis."""
    alias = p.numbers("PVM_AntiAlias", dims, default=np.ones(dims))
    if alias.min() < 1 or alias.max() > MAX_PADDING:
        raise p.error("PVM_AntiAlias", f"be between 1 and {MAX_PADDING}", alias.tolist())
    return alias


def _fov(p: Parameters, dims: int) -> np.ndarray:
    return p.lengths("PVM_Fov", dims) if "PVM_Fov" in p else p.lengths("ACQ_fov", dims, unit=10)


def _full(p: Parameters, axis: int, acquired: tuple[int, ...], alias: np.ndarray) -> int:
    """Return the size of an axis of k-space with the samples that were left out, as ParaVision computes it."""
    dims = len(acquired)
    size = np.rint(p.numbers("PVM_Matrix", dims)[axis] * alias[axis])
    filling = p.numbers("PVM_EncZf", dims, default=np.ones(dims))[axis]
    size -= 2 * np.floor((size - size / max(filling, 1.0)) / 2)
    if not acquired[axis] <= size <= MAX_PADDING * acquired[axis]:
        raise p.error("PVM_Matrix", f"be 1 to {MAX_PADDING} times what was acquired, {acquired[axis]}", f"{size:g}")
    return int(size)


def _steps(p: Parameters, axis: int, acquired: tuple[int, ...], alias: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the size of a phase-encoded axis of k-space, and the index of each line in it."""
    name, n = f"PVM_EncSteps{axis}", acquired[axis]
    if name not in p:
        return n, np.arange(n)
    steps = np.array(p.whole(name, n, low=-(2**31)))
    if len(steps) != n or len(np.unique(steps)) != n:
        raise p.error(name, f"hold {n} different steps, as PVM_EncMatrix says", len(steps))
    if steps.min() == 0 and steps.max() == n - 1:
        return n, steps
    size = n if -(n // 2) <= steps.min() and steps.max() < n - n // 2 else _full(p, axis, acquired, alias)
    lines = steps + size // 2
    if lines.min() < 0 or lines.max() >= size:
        raise p.error(name, f"lie within a matrix of {size}", f"{steps.min()} to {steps.max()}")
    return size, lines


def _places(p: Parameters, n_objects: int) -> np.ndarray:
    """Return for each object its place in the order of acquisition."""
    if "ACQ_obj_order" not in p:
        return np.arange(n_objects)
    order = p.whole("ACQ_obj_order", low=0)
    if sorted(order) != list(range(n_objects)):
        raise p.error("ACQ_obj_order", f"hold each of NI = {n_objects} objects once", len(order))
    return np.argsort(order)


def pixel_size_of(p: Parameters, size: tuple[int, int]) -> tuple[float, float]:
    """Return the size (y, x) of a pixel in mm, in an image of ``size`` pixels."""
    fov = _fov(p, 2)
    return float(fov[0]) / size[0], float(fov[1]) / size[1]


def spacing_of(p: Parameters, layout: RawLayout) -> float | None:
    """Return the distance of slices in mm, None if it is not known."""
    if layout.is_3d:
        return float(_fov(p, 3)[2]) / layout.n_slices
    names = ("PVM_SPackArrSliceDistance", "ACQ_slice_sepn", "PVM_SliceThick")
    return next((gap for name in names if name in p and (gap := float(p.numbers(name)[0])) > 0), None)
