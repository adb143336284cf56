"""ISMRMRD acquisitions, one readout each: what they are for, and reading them."""

from collections.abc import Iterator
from dataclasses import dataclass

import h5py
import numpy as np

from lightning_mri.io.arrays import CHUNK_BYTES
from lightning_mri.io.hdf5 import stored_rows
from lightning_mri.lazy import lazy

ismrmrd = lazy("ismrmrd")

MAX_LINES = 2**22
VOLUMES = ("contrast", "phase", "repetition", "set")
COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "slice", *VOLUMES)
SHORT = (
    *("number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample", "encoding_space_ref"),
    "trajectory_dimensions",
)
LINE = np.dtype(
    [("flags", "u8"), ("row", "u4"), ("n_values", "u4"), ("sample_time_us", "f4")]
    + [(name, "u2") for name in (*SHORT, *COUNTERS)]
)
"""What is kept of an acquisition: its row, how many numbers it stores, and a few fields of its head."""
READOUT = np.dtype(
    [("row", "i8"), ("skip", "i4"), ("n", "i4"), ("back", "?"), ("group", "i8"), ("z", "i4"), ("x", "i4"), ("y", "i4")]
)
"""Which samples of an acquisition are used: ``n`` from ``skip`` on, the last first if it was measured backwards.

And where `Grid.place` puts them: into column x, partition z, from row y on, of a group of slices made together.
"""
NO_IMAGE = (
    *("NAVIGATION_DATA", "PHASECORR_DATA", "HPFEEDBACK_DATA", "DUMMYSCAN_DATA", "RTFEEDBACK_DATA"),
    *("SURFACECOILCORRECTIONSCAN_DATA", "PHASE_STABILIZATION_REFERENCE", "PHASE_STABILIZATION"),
)
"""Purposes of acquisitions that are neither of an image, nor for coil maps, nor noise."""


@dataclass(frozen=True)
class Lines:
    """Acquisitions by their purpose; navigators, phase corrections and dummies are in none."""

    imaging: np.ndarray  # of the encoding that most imaging lines belong to
    calibration: np.ndarray  # for calibration alone, of any encoding, with as many coils
    noise: np.ndarray  # without signal, with as many coils
    warnings: tuple[str, ...]  # what was left out, and not looked at

    @property
    def n_coils(self) -> int:
        """Number of coils."""
        return int(self.imaging["active_channels"][0])


def read_lines(data: h5py.Dataset) -> Lines:
    """Read the heads of all acquisitions, in about 200 MB at most, and sort them by purpose."""
    lines = _heads(data)
    flags = lines["flags"]
    used, noise = ~_are(flags, *NO_IMAGE), _are(flags, "NOISE_MEASUREMENT")
    only_calibration = _are(flags, "PARALLEL_CALIBRATION") & ~_are(flags, "PARALLEL_CALIBRATION_AND_IMAGING")
    imaging = lines[used & ~noise & ~only_calibration]
    if not len(imaging):
        raise ValueError(f"data must hold acquisitions for imaging: got none among {len(lines)}")
    encoding = np.bincount(imaging["encoding_space_ref"]).argmax()
    chosen = imaging[imaging["encoding_space_ref"] == encoding]
    n_coils = int(chosen["active_channels"][0])
    _check_lines(chosen, n_coils)
    warnings = []
    if others := np.unique(imaging["encoding_space_ref"]).size - 1:
        warnings.append(f"{len(imaging) - len(chosen)} lines of {others} other encodings were left out")
    if n := np.count_nonzero(chosen["trajectory_dimensions"]):
        warnings.append(f"{n} lines carry a trajectory, which was not looked at: they lie where their counters say")
    calibration, unsound = _sound("calibration", lines[used & only_calibration & ~noise], n_coils)
    noise_lines, noisy = _sound("noise", lines[used & noise], n_coils)
    return Lines(chosen, calibration, noise_lines, (*warnings, *unsound, *noisy))


def _sound(purpose: str, lines: np.ndarray, n_coils: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the lines that have all coils and hold what their heads say, and the warning where others do not."""
    foreign, broken = lines["active_channels"] != n_coils, lines["n_values"] != _expected(lines)
    coils = ", ".join(map(str, np.unique(lines["active_channels"][foreign])))
    reasons = (
        (foreign, f"of {coils} coils instead of {n_coils}"),
        (broken & ~foreign, "that hold fewer or more samples than their heads say"),
    )
    warnings = (f"{n} {purpose} lines {reason} were left out" for bad, reason in reasons if (n := int(bad.sum())))
    return lines[~foreign & ~broken], tuple(warnings)


def _are(flags: np.ndarray, *purposes: str) -> np.ndarray:
    """Return which acquisitions have one of these flags."""
    return (flags & np.uint64(sum(1 << (getattr(ismrmrd, f"ACQ_IS_{name}") - 1) for name in purposes))) != 0


def readouts(lines: np.ndarray) -> np.ndarray:
    """Return which samples of acquisitions are used, `READOUT`, without a place."""
    found = np.zeros(len(lines), READOUT)
    found["row"], found["skip"], found["back"] = lines["row"], lines["discard_pre"], _are(lines["flags"], "REVERSE")
    discarded = lines["discard_pre"].astype(np.int32) + lines["discard_post"]
    found["n"] = lines["number_of_samples"].astype(np.int32) - discarded
    return found


def samples_of(data: h5py.Dataset, chosen: np.ndarray, n_coils: int) -> Iterator[np.ndarray]:
    """Go through `READOUT` in the order of their rows, as [coil, sample]: forward, and without what is discarded."""
    n_together = max(1, CHUNK_BYTES // (8 * n_coils * int(chosen["n"].max(initial=1))))
    stored = data.fields("data")
    values = (row for run in _runs(chosen["row"], n_together) for row in stored[run])
    for value, skip, n, back in zip(values, chosen["skip"], chosen["n"], chosen["back"], strict=True):
        samples = value.view(np.complex64).reshape(n_coils, -1)[:, skip : skip + n]
        yield samples[:, ::-1] if back else samples


def _heads(data: h5py.Dataset) -> np.ndarray:
    if data.ndim != 1 or not 0 < len(data) <= MAX_LINES:
        raise ValueError(f"data must hold 1 to {MAX_LINES} acquisitions: got shape {data.shape}")
    stored = _stored_dtype(data)
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


def _stored_dtype(data: h5py.Dataset) -> np.dtype:
    """Return how a row lies in the file: its head, and how many numbers its samples are."""
    names = data.dtype.names or ()
    head = data.dtype["head"] if "head" in names else np.dtype("u1")
    needed = {"flags", "sample_time_us", "idx", *SHORT}
    if "data" not in names or not needed <= set(head.names or ()) or not set(COUNTERS) <= set(head["idx"].names or ()):
        raise ValueError(f"data must hold ISMRMRD acquisitions, each a head and its data: got {data.dtype}")
    if h5py.check_vlen_dtype(data.dtype["data"]) != np.dtype("f4"):
        raise ValueError(f"data must hold samples in single precision: got {data.dtype['data']}")
    row = data.id.get_type()
    offsets = [row.get_member_offset(row.get_member_index(name)) for name in (b"head", b"data")]
    formats = {"names": ["head", "n_values"], "formats": [head, "<u4"], "offsets": offsets, "itemsize": row.get_size()}
    return np.dtype(formats)  # type: ignore[call-overload]


def _expected(lines: np.ndarray) -> np.ndarray:
    return 2 * lines["active_channels"].astype(np.int64) * lines["number_of_samples"]


def _check_lines(lines: np.ndarray, n_coils: int) -> None:
    coils = np.unique(lines["active_channels"])
    if coils.size > 1 or n_coils == 0:
        raise ValueError(f"data must have one number of coils throughout: got {coils.tolist()}")
    wrong = np.flatnonzero(lines["n_values"] != _expected(lines))
    if wrong.size:
        row, n_values, n_samples = (lines[wrong[0]][name] for name in ("row", "n_values", "number_of_samples"))
        got = f"{n_values} in row {row} for {n_coils} coils of {n_samples} samples"
        raise ValueError(f"data must hold as many numbers as the heads say: got {got}")


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
