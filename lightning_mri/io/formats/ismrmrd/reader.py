"""ISMRMRD: an XML header and acquisitions, one readout each, in any order, with flags, counters and positions."""

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from lightning_mri.io.contrasts import named_contrast
from lightning_mri.io.formats.ismrmrd.acquisitions import MAX_LINES, Lines, read_lines, readouts, samples_of
from lightning_mri.io.formats.ismrmrd.grid import Cells, Grid
from lightning_mri.io.formats.ismrmrd.kspace import AcquiredLines, Assembly, energies
from lightning_mri.io.formats.ismrmrd.slices import Volumes, find_volumes, place_slices, volume_key
from lightning_mri.io.hdf5 import SIGNATURE, contents_of, dataset_of, header_of, member, open_hdf5
from lightning_mri.io.header import Encoding, Header, Space, fitting_size, subject_of
from lightning_mri.io.scan import Scan, one_if_equal
from lightning_mri.messages import naming
from lightning_mri.physics import noise_covariance

FRAGILE = True
MAX_NOISE_BYTES = 2**26
CARTESIAN = ("cartesian", "epi", "")
SEPARATE = ("separate", "external")
CONJUGATING = "siemens"
"""The vendor whose directions of readout, phase encoding and slice assume an FFT from k-space to image.

Here it is an inverse FFT, so that images would come out turned by 180 degrees in all encoded axes: k-space is
conjugated. So does mrpro (PTB-MR/mrpro, pull request 833, 2025); not verified here against the vendor's own images.
"""


def locate(path: Path, head: bytes) -> Path | None:
    """Return the path of an HDF5 file with a group that holds a measurement, or images and no k-space."""
    if not head.startswith(SIGNATURE):
        return None
    try:
        contents = contents_of(path)
        found = contents.measurements or ("kspace" not in contents.names and contents.images)
        return path if found else None
    except (OSError, ValueError):
        return None


def read(path: Path, measurement: str | None = None) -> Scan:
    """Open an ISMRMRD file; heads of acquisitions are read now, samples later, with the slices asked for.

    K-space has the header's encoded matrix, its centre where the header's limits and ``center_sample`` say, and
    zeros where nothing was acquired; `reconstruction_size` takes oversampling off. Lines acquired several times
    are averaged. Contrasts, phases, repetitions and sets become volumes. A second phase encoding is transformed to
    slices. Lines measured apart for calibration become `Scan.calibration`. Of several measurements
    the one with the most samples for imaging is read, unless one is named.
    """
    with open_hdf5(path) as file, naming(path):
        name, warnings = _choose(path, file, measurement)
        group = member(file, name)
        return _read(path, dataset_of(group, "data"), header_of(dataset_of(group, "xml")), warnings)


def _choose(path: Path, file: h5py.File, wanted: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the name of the measurement to read, and the warning where there are others."""
    contents = contents_of(path)
    names = contents.measurements
    if not names:
        images = ", ".join(contents.images)
        raise ValueError(f"the file must hold acquisitions: got ISMRMRD images alone ({images})")
    if wanted is not None:
        if wanted not in names:
            raise ValueError(f"measurement must be one of {', '.join(names)}: got {wanted!r}")
        return wanted, ()
    if len(names) == 1:
        return names[0], ()
    sizes = {name: _n_imaging_samples(file, name) for name in names}
    chosen = max(names, key=lambda name: sizes[name])
    others = ", ".join(name for name in names if name != chosen)
    return chosen, (f"the file holds several measurements: {chosen} has the most samples and was read, not {others}",)


def _n_imaging_samples(file: h5py.File, name: str) -> int:
    try:
        imaging = read_lines(dataset_of(member(file, name), "data")).imaging
    except (OSError, ValueError):
        return 0
    return int((imaging["number_of_samples"].astype(np.int64) * imaging["active_channels"]).sum())


def _read(path: Path, data: h5py.Dataset, header: Header, warnings: tuple[str, ...]) -> Scan:
    lines = read_lines(data)
    encoding = _encoding(header, int(lines.imaging["encoding_space_ref"][0]))
    grid = Grid.of(encoding, lines.imaging, partial(energies, data, lines.imaging))
    volumes = find_volumes(grid, lines.imaging)
    where = place_slices(_slice_heads(data, lines.imaging), encoding, grid)
    calibration = _calibration(data, header, grid, lines)
    placed = _place(grid, encoding, lines, calibration, volumes, where.order)
    cells = Cells.of(grid, placed.imaging)
    mask = _mask(cells, len(where.inverse_dft))
    size, size_warnings = _reconstruction_size(grid.space, encoding.reconstructed)
    covariance, noise_warnings = _noise(data, header, lines, cells.n_lines)
    assembly = Assembly(grid, lines.n_coils, where.inverse_dft, _is_conjugated(header))
    kspace = partial(AcquiredLines, path, data.name.lstrip("/"), assembly, n_groups=volumes.n * len(where.order))
    contrast, unknown = named_contrast("protocol", header.protocol or "")
    found = (encoding, lines, grid, calibration, volumes, where)
    line_warnings = _line_warnings(encoding, placed.imaging, cells.n_lines, len(mask) > 1)
    return Scan.of_file(
        path,
        kspace(placed=placed.imaging),
        format="ISMRMRD",
        subject=subject_of(header.patient_id),
        calibration=None if placed.calibration is None else kspace(placed=placed.calibration),
        reconstruction_size=size,
        contrast=contrast,
        stored_mask=mask,
        pixel_size=grid.space.pixel_size,
        slice_spacing=where.spacing,
        affine=where.affine(grid.space.pixel_size, size),
        field_strength=header.field_strength,
        noise_covariance=covariance,
        n_volumes=volumes.n,
        warnings=(
            *warnings,
            *chain.from_iterable(part.warnings for part in found),
            *(*line_warnings, *placed.warnings, *size_warnings, *noise_warnings, *unknown),
        ),
    )


def _mask(cells: Cells, n_slices: int) -> Bool[Tensor, "_masks y x"]:
    """Return the mask of all slices, or of each, where a group of lines makes ``n_slices``."""
    if cells.grid.partitions > 1 and (missing := cells.n_incomplete()):
        rule = f"a 3-D scan must be fully sampled along its second phase encoding, {cells.grid.partitions} partitions"
        raise ValueError(f"{rule}: got {missing} lines that lack some")
    return one_if_equal(cells.masks().repeat_interleave(n_slices, dim=0))


def _is_conjugated(header: Header) -> bool:
    return header.vendor.startswith(CONJUGATING)


def _encoding(header: Header, number: int) -> Encoding:
    if number >= len(header.encodings):
        raise ValueError(f"xml must describe encoding {number}: got {len(header.encodings)} encodings")
    encoding = header.encodings[number]
    if encoding.trajectory not in CARTESIAN:
        raise ValueError(f"trajectory must be cartesian, for there is no gridding: got {encoding.trajectory}")
    if encoding.n_simultaneous > 1:
        rule = "multiband_factor must be 1, for slices on top of each other are not told apart"
        raise ValueError(f"{rule}: got {encoding.n_simultaneous}")
    return encoding


def _reconstruction_size(encoded: Space, wanted: Space) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return the part of the field of view that the finished image has, in pixels as they were encoded."""
    assert encoded.matrix is not None
    if encoded.fov is None or wanted.fov is None:
        return fitting_size(wanted.matrix, encoded.matrix)
    y, x = (round(n * kept / fov) for n, kept, fov in zip(encoded.matrix, wanted.fov, encoded.fov, strict=True))
    return fitting_size((max(1, y), max(1, x)), encoded.matrix)


def _slice_heads(data: h5py.Dataset, imaging: np.ndarray) -> np.ndarray:
    """Return the head of the first line of each slice, in the order of the slices' counters."""
    _, first = np.unique(imaging["slice"], return_index=True)
    heads = data.fields("head")
    return np.stack([heads[int(row)] for row in imaging["row"][first]])


@dataclass(frozen=True)
class _Calibration:
    """Lines for calibration alone, of one encoding, and the grid on which they lie."""

    lines: np.ndarray
    grid: Grid  # the image's, with their own centre
    apart: bool = False  # whether they are of another encoding than the image
    warnings: tuple[str, ...] = ()


def _calibration(data: h5py.Dataset, header: Header, grid: Grid, lines: Lines) -> _Calibration:
    """Return the calibration lines of the image's encoding, or where there are none those of another.

    A reference scan of its own has its own centre. Its samples must be as far apart in k-space as the image's.
    """
    encodings, own = lines.calibration["encoding_space_ref"], int(lines.imaging["encoding_space_ref"][0])
    number = own if not len(encodings) or (encodings == own).any() else int(np.bincount(encodings).argmax())
    chosen, warnings = lines.calibration[encodings == number], []
    if n_left := len(encodings) - len(chosen):
        warnings.append(f"{n_left} calibration lines of other encodings were left out")
    if number == own:
        return _Calibration(chosen, grid, False, tuple(warnings))
    try:
        theirs = Grid.of(_encoding(header, number), chosen, partial(energies, data, chosen))
        if not _alike(theirs, grid):
            both = (f"{g.space.fov} mm in {g.partitions} partitions" for g in (grid, theirs))
            raise ValueError("its field of view must be the image's, {}: got {}".format(*both))
    except ValueError as error:
        warnings.append(f"{len(chosen)} calibration lines of encoding {number} were left out: {error}")
        return _Calibration(chosen[:0], grid, False, tuple(warnings))
    placing = replace(theirs, space=grid.space, partitions=grid.partitions)
    return _Calibration(chosen, placing, True, (*warnings, *theirs.warnings))


def _alike(one: Grid, other: Grid) -> bool:
    """Return whether samples of two grids are equally far apart in k-space."""
    unknown = math.nan  # which is like nothing
    size, size_of_other = (
        (*(grid.space.fov or (unknown, unknown)), 0.0 if grid.partitions == 1 else grid.space.depth or unknown)
        for grid in (one, other)
    )
    return np.allclose(size, size_of_other, rtol=1e-2)


@dataclass(frozen=True)
class _Placed:
    """Lines with their places: those that make k-space, those for the coil maps alone, and what was decided."""

    imaging: np.ndarray
    calibration: np.ndarray | None = None
    warnings: tuple[str, ...] = ()


def _place(
    grid: Grid, encoding: Encoding, lines: Lines, found: _Calibration, volumes: Volumes, order: np.ndarray
) -> _Placed:
    """Place imaging lines, and lines for calibration in volumes that have none of their own.

    Those were measured with the image where it lacks them. Where the header says that they were measured apart, or
    where they repeat imaging lines, their contrast may differ: they serve the coil maps alone.
    """
    placed = grid.place(lines.imaging)
    placed["group"] = volumes.group_of(lines.imaging, order)
    placed = placed[placed["group"] >= 0]
    calibration = found.lines[volumes.slice_of(found.lines) >= 0]
    fitting = grid.holds(found.grid.place(calibration))
    warnings: tuple[str, ...] = ()
    if len(placed) + volumes.n * len(calibration) > MAX_LINES:
        got = f"{len(calibration)} for calibration in {volumes.n} volumes"
        raise ValueError(f"data must make at most {MAX_LINES} lines: got {got}")
    extra = _in_every_volume(found.grid, calibration[fitting], volumes, order)
    apart = found.apart or encoding.calibration in SEPARATE or np.isin(grid.cell(extra), grid.cell(placed)).any()
    if not apart:
        fitting &= calibration["sample_time_us"] == lines.imaging["sample_time_us"][0]
        extra = _in_every_volume(found.grid, calibration[fitting], volumes, order)
    if n_left := len(found.lines) - int(fitting.sum()):
        warnings = (f"{n_left} calibration lines of another geometry were left out",)
    if not len(extra):
        return _Placed(placed, None, warnings)
    if apart:
        said = f"{int(fitting.sum())} lines were measured apart for calibration: they serve the coil maps alone"
        return _Placed(placed, extra, (*warnings, said))
    said = f"{len(extra)} lines measured for calibration alone were inserted where there was no other"
    return _Placed(np.concatenate([placed, extra]), None, (*warnings, said))


def _in_every_volume(grid: Grid, calibration: np.ndarray, volumes: Volumes, order: np.ndarray) -> np.ndarray:
    """Place calibration lines in every volume; those without any get those of the first that has."""
    placed, volume, parts = grid.place(calibration), volume_key(calibration), []
    if not len(placed):
        return placed
    for number, key in enumerate(volumes.keys):
        own = volume == (key if (volume == key).any() else volume[0])
        part = placed[own]
        part["group"] = number * len(order) + order[volumes.slice_of(calibration[own])]
        parts.append(part)
    return np.concatenate(parts)


def _line_warnings(encoding: Encoding, placed: np.ndarray, n_averages: np.ndarray, differs: bool) -> tuple[str, ...]:
    warnings = []
    if differs:
        warnings.append("slices or volumes were sampled at different places: each keeps its own mask")
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
    data: h5py.Dataset, header: Header, lines: Lines, n_averages: np.ndarray
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
    samples = np.concatenate(list(samples_of(data, readouts(noise), lines.n_coils)), axis=1)
    times = float(noise["sample_time_us"][0]), float(lines.imaging["sample_time_us"][0])
    known = all(0 < time < math.inf for time in times)
    scale = (times[0] / times[1] if known else 1.0) / (header.noise_bandwidth or 1.0) * float((1 / n_averages).mean())
    left_out = None, ("the noise scan does not tell the noise of all coils: it was left out",)
    if samples.shape[1] < len(samples) or not np.isfinite(samples).all():
        return left_out
    covariance = noise_covariance(torch.from_numpy(samples))
    if torch.linalg.cholesky_ex(covariance).info:
        return left_out
    covariance = covariance * scale
    covariance = covariance.conj().resolve_conj() if _is_conjugated(header) else covariance
    warning = "the time of a sample is not known: the noise scan is taken to have the bandwidth of imaging"
    return covariance, (() if known else (warning,))
