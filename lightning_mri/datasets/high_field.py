"""Coronal planes of high-field volumes, whatever the format, resolution and axes of their files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.io import find_scans, read_scan
from lightning_mri.io.arrays import ImageArray
from lightning_mri.io.scan import Scan, is_fully_sampled
from lightning_mri.io.subjects import stem_of

THICK = 1.5
"""A volume whose slices are that many times as thick as its pixels was acquired in planes, and is read in them."""
CORONAL = 1
"""Axis (of x, y, z) from back to front in the head, as RAS+ has it."""
HEIGHT = 2
MAGNITUDES = "the images are magnitudes: their phase is not known"


@dataclass(frozen=True, eq=False)
class Planes:
    """The coronal planes of one animal."""

    images: Complex[Tensor, "slice y x"]  # in the file's units, the upper side of the head first where the file says so
    pixel_size: tuple[float, float]  # size of a pixel (y, x) in mm
    subject: str  # which animal it is, empty if the file does not say
    warnings: tuple[str, ...] = ()  # what had to be guessed, one sentence each


def find_volumes(root: Path) -> list[Path]:
    """Return the files of high-field volumes in a folder; masks, also those of the name ``*_mask``, are left out."""
    paths = [path for path in find_scans(root) if not stem_of(path).endswith("_mask")]
    if not paths:
        raise FileNotFoundError(f"{root}: the folder must hold images: found masks only")
    return paths


def read_planes(path: Path, axis: int | None, pixel_size: float, contrast: str | None = None) -> Planes:
    """Return the coronal planes of a volume.

    Args:
        path: A scan of any format, or an npy file of images [slice, y, x], real or complex.
        axis: Axis (of x, y, z as stored) across the planes, if known.
        pixel_size: Edge of a pixel in mm where the file does not say.
        contrast: What the images are taken for, whatever the file says, if known.
    """
    if path.suffix == ".npy":
        planes = _of_array(path, pixel_size)
    else:
        planes = _of_scan(read_scan(path, contrast=contrast), axis, pixel_size)
    if not bool(planes.images.isfinite().all()) or not bool(planes.images.any()):
        raise ValueError(f"{path}: its values must be finite and not all zero")
    return planes


def _of_array(path: Path, pixel_size: float) -> Planes:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: it must be a readable npy array: {error}") from error
    if values.ndim != 3 or values.dtype.kind not in "fciu":
        raise ValueError(f"{path}: it must hold one volume of numbers: got shape {values.shape}, {values.dtype}")
    images = torch.from_numpy(np.ascontiguousarray(values, dtype=np.complex64))
    return Planes(images, (pixel_size,) * 2, "", () if bool(images.imag.any()) else (MAGNITUDES,))


def _of_scan(scan: Scan, axis: int | None, pixel_size: float) -> Planes:
    volume, warnings = _images(scan), list(scan.warnings)
    if scan.n_volumes > 1:
        volume = volume[: scan.n_slices // scan.n_volumes]
        warnings.append(f"the first of {scan.n_volumes} volumes was taken")
    if scan.pixel_size is None:
        warnings.append(f"the file names no pixel size: {pixel_size:g} mm was assumed")
    rows, columns = scan.pixel_size or (pixel_size,) * 2
    edges = (columns, rows, scan.slice_spacing or max(rows, columns))  # of x, y, z
    axis = _across(edges, scan) if axis is None else axis
    # axes z, y, x become the plane's number, y, x
    images = volume.movedim(2 - axis, 0)
    down, right = (other for other in (2, 1, 0) if other != axis)
    if scan.affine is not None and _counts_up(scan.affine, down):
        images = images.flip(1)
    subject = scan.subject if scan.subject_known else ""
    return Planes(images.contiguous(), (edges[down], edges[right]), subject, tuple(warnings))


def _images(scan: Scan) -> Complex[Tensor, "slice y x"]:
    if isinstance(scan.kspace, ImageArray):
        return scan.kspace.images[:].to(torch.complex64)
    if not is_fully_sampled(scan.mask):
        raise ValueError(f"{scan.source}: kspace must be fully sampled to train on")
    return scan.combined()


def _across(edges: tuple[float, float, float], scan: Scan) -> int:
    """Return the axis (of x, y, z) across the planes: that of thick slices, else the one from back to front."""
    thickest = max(range(3), key=lambda axis: edges[axis])
    if edges[thickest] > THICK * sorted(edges)[1]:
        return thickest
    if scan.affine is None:
        return CORONAL
    return int((scan.affine[CORONAL, :3].abs() / scan.affine[:3, :3].norm(dim=0)).argmax())


def _counts_up(affine: Tensor, axis: int) -> bool:
    """Return whether an axis counts mainly upwards in the head, so that rows along it start below."""
    direction = affine[:3, axis]
    return int(direction.abs().argmax()) == HEIGHT and float(direction[HEIGHT]) > 0
