"""ISMRMRD: an XML header and acquisitions, one readout each, in any order, with flags, counters and positions."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.io.contrasts import contrast_of
from lightning_mri.io.formats.ismrmrd.acquisitions import (
    MAX_LINES,
    VOLUMES,
    AcquiredLines,
    Grid,
    Lines,
    acquired_mask,
    missing_partitions,
    read_lines,
    repeats,
    samples_of,
)
from lightning_mri.io.hdf5 import SIGNATURE, dataset_of, header_of, ismrmrd_groups, open_hdf5
from lightning_mri.io.header import Encoding, Header, fitting_size, subject_of
from lightning_mri.io.scan import Scan
from lightning_mri.physics import noise_covariance

MAX_NOISE_BYTES = 2**26
CARTESIAN = ("cartesian", "epi", "")
TOLERANCE = 1e-2


def locate(path: Path, head: bytes) -> Path | None:
    """Return the path of an HDF5 file with a group that holds ``xml`` and ``data``."""
    if not head.startswith(SIGNATURE):
        return None
    try:
        with open_hdf5(path) as file:
            return path if ismrmrd_groups(path, file) else None
    except (OSError, ValueError):
        return None


def read(path: Path) -> Scan:
    """Open an ISMRMRD file; heads of acquisitions are read now, samples later, with the slices asked for.

    K-space has the header's encoded matrix, its centre where the header's limits and ``center_sample`` say, and
    zeros where nothing was acquired; `reconstruction_size` takes oversampling off. Lines acquired several times
    are averaged. Contrasts, phases, repetitions and sets become volumes. A second phase encoding is transformed to
    slices. Where slices were sampled at different places, the mask holds what all of them have.

    Raises:
        ValueError: If the scan is not Cartesian, undersampled along the second phase encoding, or of several
            slabs, or if heads and header contradict each other.
        OSError: If the file is truncated or cannot be read.
    """
    with open_hdf5(path) as file:
        group = _group(path, file)
        header = header_of(path, dataset_of(path, group, "xml"))
        return _read(path, dataset_of(path, group, "data"), header)


def _group(path: Path, file: h5py.File) -> h5py.Group:
    names = ismrmrd_groups(path, file)
    if "dataset" not in names and len(names) > 1:
        raise ValueError(f"{path}: the file must hold one measurement, or one named dataset: got {', '.join(names)}")
    return file["dataset" if "dataset" in names else names[0]]


def _read(path: Path, data: h5py.Dataset, header: Header) -> Scan:
    lines = read_lines(path, data)
    encoding = _encoding(path, header, int(lines.imaging["encoding_space_ref"][0]))
    grid = Grid.of(path, encoding, lines.imaging)
    volumes = _volumes(path, grid, lines)
    where = _place(_slice_heads(data, lines), encoding, grid)
    placed, calibration_warnings = _with_calibration(path, grid, lines, volumes, where.order)
    mask, differs = acquired_mask(grid, placed)
    if grid.partitions > 1 and (missing := missing_partitions(grid, placed)):
        raise ValueError(
            f"{path}: a 3-D scan must be fully sampled along its second phase encoding, {grid.partitions} partitions:"
            f" got {missing} lines that lack some"
        )
    size, size_warnings = _reconstruction_size(encoding, grid.matrix)
    covariance, noise_warnings = _noise(data, header, grid, lines, repeats(grid, placed))
    subject, contrast = subject_of(header.patient_id), contrast_of(header.protocol or "")
    return Scan(
        source=path,
        format="ISMRMRD",
        name=path.stem,
        subject=subject or path.stem,
        subject_known=bool(subject),
        kspace=AcquiredLines(path, data.name.lstrip("/"), grid, placed, lines.n_coils, where.mixing),
        reconstruction_size=size,
        contrast=contrast,
        stored_mask=mask,
        pixel_size=encoding.encoded.pixel_size,
        slice_spacing=where.spacing,
        affine=where.affine(encoding.encoded.pixel_size, size),
        field_strength=header.field_strength,
        noise_covariance=covariance,
        n_volumes=volumes.n,
        warnings=(
            *encoding.warnings,
            *lines.warnings,
            *grid.warnings,
            *volumes.warnings,
            *where.warnings,
            *_line_warnings(encoding, placed, repeats(grid, placed), differs, int(mask.sum())),
            *calibration_warnings,
            *size_warnings,
            *noise_warnings,
            *(() if contrast else (f"the contrast is not known: the protocol is named {header.protocol or ''!r}",)),
        ),
    )


def _encoding(path: Path, header: Header, number: int) -> Encoding:
    if number >= len(header.encodings):
        raise ValueError(f"{path}: xml must describe encoding {number}: got {len(header.encodings)} encodings")
    encoding = header.encodings[number]
    if encoding.trajectory not in CARTESIAN:
        raise ValueError(f"{path}: trajectory must be cartesian, for there is no gridding: got {encoding.trajectory}")
    return encoding


def _reconstruction_size(encoding: Encoding, matrix: tuple[int, int]) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return the part of the field of view that the finished image has, in pixels as they were encoded."""
    encoded, wanted = encoding.encoded, encoding.reconstructed
    if encoded.fov is None or wanted.fov is None:
        return fitting_size(wanted.matrix, matrix)
    y, x = (round(n * kept / fov) for n, kept, fov in zip(matrix, wanted.fov, encoded.fov, strict=True))
    return fitting_size((max(1, y), max(1, x)), matrix)


@dataclass(frozen=True)
class Volumes:
    """Which volumes and slices imaging lines belong to.

    Args:
        keys: Contrast, phase, repetition and set of each whole volume, as one number, ascending.
        slices: Counters of the slices, ascending.
        warnings: What the volumes are, and which were left out.
    """

    keys: np.ndarray
    slices: np.ndarray
    warnings: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of volumes."""
        return len(self.keys)

    def of(self, lines: np.ndarray) -> np.ndarray:
        """Return each line's volume, -1 where it is in none."""
        return _position(self.keys, _key(lines))

    def slice_of(self, lines: np.ndarray) -> np.ndarray:
        """Return the position of each line's slice among the counters, -1 where it is none of them."""
        return _position(self.slices, lines["slice"])


def _key(lines: np.ndarray) -> np.ndarray:
    key = np.zeros(len(lines), np.uint64)
    for name in VOLUMES:
        key = key * np.uint64(2**16) + lines[name]
    return key


def _position(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[place] == values, place, -1)


def _volumes(path: Path, grid: Grid, lines: Lines) -> Volumes:
    keys, slices = np.unique(_key(lines.imaging)), np.unique(lines.imaging["slice"])
    if grid.partitions > 1 and slices.size > 1:
        raise ValueError(f"{path}: a 3-D scan must have one slab: got {slices.size}")
    every = Volumes(keys, slices, ())
    cells = np.unique(every.of(lines.imaging) * slices.size + every.slice_of(lines.imaging))
    whole = np.bincount(cells // slices.size, minlength=keys.size) == slices.size
    if not whole.any():
        raise ValueError(f"{path}: at least one volume must have all {slices.size} slices: got none of {keys.size}")
    warnings = []
    if not whole.all():
        warnings.append(f"{int((~whole).sum())} of {keys.size} volumes lack slices and were left out")
    if whole.sum() > 1:
        counts = {name: np.unique(lines.imaging[name]).size for name in VOLUMES}
        kinds = " x ".join(f"{n} of {name}" for name, n in counts.items() if n > 1)
        warnings.append(
            f"the scan has {int(whole.sum())} volumes ({kinds}), which follow each other along the slice axis"
        )
    return Volumes(keys[whole], slices, tuple(warnings))


@dataclass(frozen=True)
class SlicePositions:
    """Where slices lie, and how partitions make them.

    Args:
        order: Position of each slice, in the order of the slices' counters.
        mixing: Slices from partitions; one from one in 2-D.
        spacing: Distance between slices in mm, if known.
        directions: Of readout, phase encoding and slice in the scanner's LPS coordinates, if known.
        origin: Centre of the first slice in LPS, in mm.
        step: From one slice to the next in LPS, in mm.
        warnings: What had to be guessed.
    """

    order: np.ndarray
    mixing: np.ndarray
    spacing: float | None
    directions: np.ndarray | None = None
    origin: np.ndarray | None = None
    step: np.ndarray | None = None
    warnings: tuple[str, ...] = ()

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


def _slice_heads(data: h5py.Dataset, lines: Lines) -> np.ndarray:
    """Return the head of the first line of each slice, in the order of the slices' counters."""
    _, first = np.unique(lines.imaging["slice"], return_index=True)
    heads = data.fields("head")
    return np.stack([heads[int(row)] for row in lines.imaging["row"][first]])


def _place(heads: np.ndarray, encoding: Encoding, grid: Grid) -> SlicePositions:
    """Order slices along their normal; without positions that tell them apart, by their counters."""
    n, depth = len(heads), encoding.encoded.slice_spacing
    directions = np.stack([heads[f"{name}_dir"] for name in ("read", "phase", "slice")], 1).astype(float)
    positions = heads["position"].astype(float)
    counted = SlicePositions(np.arange(n), _mixing(grid, encoding), depth)
    known = bool(np.isfinite(positions).all()) and _orthonormal(directions[0])
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
    return SlicePositions(rank, counted.mixing, float(gaps.mean()), directions[0], positions[order[0]], step, warnings)


def _slab(place: SlicePositions, directions: np.ndarray, position: np.ndarray, spacing: float | None) -> SlicePositions:
    """Return where the slices of a slab lie, or the only one: slice n // 2 at the position of the heads."""
    if spacing is None:
        return place
    step = directions[2] * spacing
    origin = position - len(place.mixing) // 2 * step
    return replace(place, directions=directions, origin=origin, step=step)


def _orthonormal(directions: np.ndarray) -> bool:
    return bool(np.isfinite(directions).all() and np.abs(directions @ directions.T - np.eye(3)).max() < TOLERANCE)


def _mixing(grid: Grid, encoding: Encoding) -> np.ndarray:
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


def _group_of(volumes: Volumes, lines: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the group of lines: volume after volume, slices in their order; -1 for those in no volume."""
    volume, position = volumes.of(lines), volumes.slice_of(lines)
    group = volume * len(order) + order[position]
    return np.where((volume < 0) | (position < 0), -1, group)


def _with_calibration(
    path: Path, grid: Grid, lines: Lines, volumes: Volumes, order: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Place imaging lines, and calibration lines where there is none; other volumes get those of the first with any."""
    placed = grid.place(lines.imaging)
    placed["group"] = _group_of(volumes, lines.imaging, order)
    placed = placed[placed["group"] >= 0]
    calibration = lines.calibration[volumes.slice_of(lines.calibration) >= 0]
    same = calibration["sample_time_us"] == lines.imaging["sample_time_us"][0]
    extra = grid.place(calibration)
    fitting = same & grid.holds(extra)
    calibration, extra = calibration[fitting], extra[fitting]
    warnings = []
    if n_left := len(lines.calibration) - len(extra):
        warnings.append(f"{n_left} calibration lines of another geometry were left out")
    if not len(extra):
        return placed, tuple(warnings)
    if len(placed) + volumes.n * len(extra) > MAX_LINES:
        raise ValueError(f"{path}: data must make at most {MAX_LINES} lines: got {len(extra)} for {volumes.n} volumes")
    volume = _key(calibration)
    taken = np.unique(_cell(grid, placed))
    parts = [placed]
    for number, key in enumerate(volumes.keys):
        own = volume == (key if (volume == key).any() else volume[0])
        part = extra[own]
        part["group"] = number * len(order) + order[volumes.slice_of(calibration[own])]
        parts.append(part[~np.isin(_cell(grid, part), taken)])
    inserted = np.concatenate(parts)
    if n_inserted := len(inserted) - len(placed):
        warnings.append(f"{n_inserted} lines measured for calibration alone were inserted where there was no other")
    return inserted, tuple(warnings)


def _cell(grid: Grid, placed: np.ndarray) -> np.ndarray:
    return (placed["group"] * grid.partitions + placed["z"]) * grid.matrix[1] + placed["x"]


def _line_warnings(
    encoding: Encoding, placed: np.ndarray, n_averages: np.ndarray, differs: bool, n_acquired: int
) -> tuple[str, ...]:
    warnings = []
    if differs:
        warnings.append(
            f"slices were sampled at different places: only the {n_acquired} samples that all share are used"
        )
    if n_averages.min() != n_averages.max():
        warnings.append(f"lines were acquired {n_averages.min()} to {n_averages.max()} times: their noise differs")
    if encoding.trajectory == "epi":
        warnings.append("lines of an echo train were neither gridded nor corrected for ghosts")
    elif placed["back"].any():
        warnings.append(
            f"{int(placed['back'].sum())} lines were measured backwards: they were turned, but delays remain"
        )
    return tuple(warnings)


def _noise(
    data: h5py.Dataset, header: Header, grid: Grid, lines: Lines, n_averages: np.ndarray
) -> tuple[Complex[Tensor, "_coil _coil"] | None, tuple[str, ...]]:
    """Return the covariance of the noise of k-space, from the noise scan.

    Noise has the power t_noise / t_imaging of the noise scan, with t the time of a sample, and over n where n lines
    are averaged. A receiver that passes the part b of its nominal bandwidth has 1 / b more where it passes all: in the
    image (Kellman and McVeigh 2005).
    """
    noise = lines.noise[lines.noise["number_of_samples"] > lines.noise["discard_pre"] + lines.noise["discard_post"]]
    if not len(noise):
        return None, ()
    noise = noise[np.cumsum(8 * lines.n_coils * noise["number_of_samples"].astype(np.int64)) <= MAX_NOISE_BYTES]
    noise = noise[noise["sample_time_us"] == noise["sample_time_us"][0]]
    samples = np.concatenate(list(samples_of(data, grid.place(noise), lines.n_coils)), axis=1)
    times = float(noise["sample_time_us"][0]), float(lines.imaging["sample_time_us"][0])
    known = all(0 < time < math.inf for time in times)
    scale = (times[0] / times[1] if known else 1.0) / (header.noise_bandwidth or 1.0) * float((1 / n_averages).mean())
    if not _independent(samples):
        return None, ("the noise scan does not tell the noise of all coils: it was left out",)
    covariance = noise_covariance(torch.from_numpy(samples)) * scale
    warning = "the time of a sample is not known: the noise scan is taken to have the bandwidth of imaging"
    return covariance, (() if known else (warning,))


def _independent(samples: np.ndarray) -> bool:
    """Return whether noise is finite and tells coils apart, so that it can be whitened."""
    if samples.shape[1] < len(samples) or not np.isfinite(samples).all():
        return False
    _, failed = torch.linalg.cholesky_ex(noise_covariance(torch.from_numpy(samples)))
    return not bool(failed)
