"""ParaVision's reconstructed images (2dseq): their frames, and where they lie."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.io.formats.bruker.files import MAX_MM, MIN_MM, Parameters
from lightning_mri.io.scan import StoredArray

WORDS = {"_8BIT_UNSGN_INT": "u1", "_16BIT_SGN_INT": "i2", "_32BIT_SGN_INT": "i4", "_32BIT_FLOAT": "f4"}


class FrameArray(StoredArray):
    """Images [slice, readout, phase encoding] of a 2dseq file, slope times stored number plus offset.

    Args:
        path: The file.
        dtype: Of a stored number.
        size: Pixels (x, y) or (x, y, z) of a frame, the fastest first.
        frames: For each image, or each volume of 3-D frames, its frame; with two columns real and imaginary part.
        slopes: Of each frame.
        offsets: Of each frame.
        read_axis: Axis of a frame along the readout, 0 or 1.
    """

    def __init__(
        self,
        path: Path,
        dtype: np.dtype,
        size: tuple[int, ...],
        frames: np.ndarray,
        slopes: np.ndarray,
        offsets: np.ndarray,
        read_axis: int,
    ) -> None:
        expected = math.prod(size) * frames.size * dtype.itemsize
        if path.stat().st_size != expected:
            raise OSError(f"{path}: images must have {expected} bytes, as visu_pars says: got {path.stat().st_size}")
        self.depth = size[2] if len(size) == 3 else 1
        plane = (size[0], size[1]) if read_axis == 0 else (size[1], size[0])
        super().__init__(path, "images", (len(frames) * self.depth, *plane))
        self.dtype, self.size, self.frames, self.read_axis = dtype, size, frames, read_axis
        self.slopes, self.offsets = slopes, offsets

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return images ``start`` to ``stop``."""
        x, y = self.size[:2]
        try:
            stored = np.memmap(self.path, self.dtype, "r", shape=(self.frames.size, self.depth, y, x))
        except ValueError as error:
            raise OSError(f"{self.path}: images are truncated: {error}") from error
        complex_ = self.frames.shape[1] == 2
        out = np.zeros((stop - start, *self.shape[1:]), np.complex64 if complex_ else np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for image, index in zip(out, range(start, stop), strict=True):
                volume, z = divmod(index, self.depth)
                parts = [stored[i, z] * self.slopes[i] + self.offsets[i] for i in self.frames[volume]]
                values = parts[0] + 1j * parts[1] if complex_ else parts[0]
                image[:] = values.T if self.read_axis == 0 else values
        return out


def dtype_of(v: Parameters) -> np.dtype:
    """Return the type of a stored number.

    Raises:
        ValueError: If it is not known.
    """
    word, order = v.word("VisuCoreWordType"), v.word("VisuCoreByteOrder", "littleEndian")
    if word not in WORDS or order not in ("littleEndian", "bigEndian"):
        raise ValueError(
            f"{v.where('VisuCoreWordType')} must be one of {', '.join(WORDS)}, and VisuCoreByteOrder littleEndian"
            f" or bigEndian: got {word}, {order}"
        )
    return np.dtype(WORDS[word]).newbyteorder("<" if order == "littleEndian" else ">")


def frames_of(path: Path, v: Parameters, size: tuple[int, ...]) -> tuple[int, np.ndarray]:
    """Return the slices of a volume, and the frame, or those of real and imaginary part, of each image."""
    groups = [(row[0], str(row[1]).strip("<>")) for row in v.rows("VisuFGOrderDesc") if len(row) > 1]
    if not all(isinstance(n, int) and 0 < n <= path.stat().st_size for n, _ in groups):
        raise ValueError(f"{v.where('VisuFGOrderDesc')} must hold positive lengths: got {groups}")
    names = [name for _, name in groups]
    lengths = [n for n, _ in groups]
    if v.word("RECO_image_type") == "COMPLEX_IMAGE" and "FG_COMPLEX" not in names:
        names, lengths = [*names, "FG_COMPLEX"], [*lengths, 2]
    if not groups:
        names, lengths = ["FG_CYCLE", *names], [v.number("VisuCoreFrameCount", default=1), *lengths]
    _check_frames(v, dict(zip(names, lengths, strict=True)), size)
    if math.prod((*lengths, *size)) > path.stat().st_size:
        raise OSError(f"{path}: images must hold {lengths} frames of {size}: got {path.stat().st_size} bytes")
    frames = np.arange(math.prod(lengths)).reshape(lengths[::-1])
    last = [names[::-1].index(name) for name in ("FG_SLICE", "FG_COMPLEX") if name in names]
    frames = frames.transpose(*(axis for axis in range(len(names)) if axis not in last), *last)
    n_slices = lengths[names.index("FG_SLICE")] if "FG_SLICE" in names else 1
    frames = frames.reshape(-1, n_slices, 2 if "FG_COMPLEX" in names else 1)
    if v.word("VisuCoreDiskSliceOrder") == "disk_reverse_slice_order":
        frames = frames[:, ::-1]
    return n_slices, frames.reshape(-1, frames.shape[2])


def _check_frames(v: Parameters, groups: dict[str, int], size: tuple[int, ...]) -> None:
    """Refuse parametric maps, phases, images of single coils and frames that are stored transposed."""
    types = set(v.words("VisuCoreFrameType")) or {"MAGNITUDE_IMAGE"}
    parts = {"REAL_IMAGE", "IMAGINARY_IMAGE", "COMPLEX_IMAGE"} if "FG_COMPLEX" in groups else {"MAGNITUDE_IMAGE"}
    if not types <= parts or groups.get("FG_COMPLEX", 2) != 2:
        raise ValueError(
            f"{v.where('VisuCoreFrameType')} must be magnitude, or real and imaginary part of a group FG_COMPLEX:"
            f" got {', '.join(sorted(types))}"
        )
    if "FG_ISA" in groups or groups.get("FG_COIL", 1) > 1:
        raise ValueError(f"{v.where('VisuFGOrderDesc')} must hold images, no maps and no single coils: got {groups}")
    turned = v.numbers("VisuCoreTransposition", default=0).any() and len(set(size)) > 1
    reversed_ = len(size) == 3 and v.word("VisuCoreDiskSliceOrder") == "disk_reverse_slice_order"
    if turned or reversed_:
        raise ValueError(
            f"{v.where('VisuCoreTransposition')} must be 0, and slices of 3-D frames in normal order, to be read: got"
            f" {v.words('VisuCoreTransposition')[:3]}, {v.word('VisuCoreDiskSliceOrder')}"
        )


def per_frame(v: Parameters, name: str, n: int) -> np.ndarray:
    """Return a number for each of ``n`` frames: 1 for a slope and 0 for an offset that is missing.

    Raises:
        ValueError: If there is neither one number nor one a frame.
    """
    values = v.numbers(name, default=1 if name.endswith("Slope") else 0)
    if len(values) not in (1, n):
        raise ValueError(f"{v.where(name)} must hold 1 or {n} numbers, one a frame: got {len(values)}")
    return np.broadcast_to(values, n).astype(np.float32)


@dataclass(frozen=True)
class Place:
    """Where reconstructed images lie.

    VisuCorePosition is the centre of a frame's first pixel and VisuCoreOrientation has the directions of its axes as
    rows, both in DICOM's coordinates (L, P, S), which take the subject to lie as VisuSubjectPosition says.
    """

    pixel_size: tuple[float, float] | None = None
    spacing: float | None = None
    affine: Float[Tensor, "4 4"] | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, v: Parameters, size: tuple[int, ...], n_slices: int, read_axis: int) -> "Place":
        """Read the place of frames of a ``size`` (x, y) or (x, y, z), whose axis ``read_axis`` is the readout.

        Raises:
            ValueError: If the parameters do not hold what they should.
        """
        if "VisuCoreExtent" not in v:
            return cls(warnings=("VisuCoreExtent is missing: the size of a pixel is not known",))
        extent = v.numbers("VisuCoreExtent", len(size))[: len(size)]
        if extent.min() < MIN_MM or extent.max() > MAX_MM:
            raise ValueError(f"{v.where('VisuCoreExtent')} must be between {MIN_MM} and {MAX_MM} mm: got {extent}")
        pixel = extent / size
        pixel_size = (float(pixel[read_axis]), float(pixel[1 - read_axis]))
        if "VisuCorePosition" not in v or "VisuCoreOrientation" not in v:
            warning = "VisuCorePosition or VisuCoreOrientation is missing: where the images lie is not known"
            return cls(pixel_size, float(pixel[2]) if len(size) == 3 else None, None, (warning,))
        step, warnings = _slice_step(v, pixel, n_slices)
        if step is None:
            return cls(pixel_size, None, None, warnings)
        directions = v.numbers("VisuCoreOrientation", 9)[:9].reshape(3, 3)
        affine = np.eye(4)
        affine[:3, 0] = directions[1 - read_axis] * pixel[1 - read_axis]
        affine[:3, 1] = directions[read_axis] * pixel[read_axis]
        affine[:3, 2] = step
        affine[:3, 3] = v.numbers("VisuCorePosition", 3)[:3]
        ras = torch.from_numpy((np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine).astype(np.float32))
        lies = f"{v.word('VisuSubjectType', 'subject')}, {v.word('VisuSubjectPosition', 'position not told')}"
        warning = f"left, front and head are those of ParaVision for a {lies}, as the operator entered it"
        return cls(pixel_size, float(np.linalg.norm(step)), ras, (warning,))


def _slice_step(v: Parameters, pixel: np.ndarray, n_slices: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return the way from a slice to the next in mm, None if there is no one way."""
    positions = v.numbers("VisuCorePosition", 3)
    orientations = v.numbers("VisuCoreOrientation", 9)
    if len(positions) % 3 or len(orientations) % 9:
        raise ValueError(f"{v.where('VisuCorePosition')} must hold three numbers a frame: got {len(positions)}")
    positions, orientations = positions.reshape(-1, 3), orientations.reshape(-1, 9)
    normal = orientations[0].reshape(3, 3)[2]
    if len(pixel) == 3:
        return normal * pixel[2], ()
    if np.abs(orientations - orientations[0]).max() > 1e-4:
        return None, ("slices differ in orientation: no affine was made of them",)
    if n_slices == 1:
        thickness = v.numbers("VisuCoreFrameThickness", default=1)[0]
        return normal * thickness, ("there is one slice: its thickness was taken for the spacing",)
    if len(positions) < n_slices:
        raise ValueError(f"{v.where('VisuCorePosition')} must hold a position for each slice: got {len(positions)}")
    # of frames that share a slice all have its position
    distinct = positions[np.sort(np.unique(positions, axis=0, return_index=True)[1])]
    steps = np.diff(distinct, axis=0)
    if len(distinct) != n_slices or np.abs(steps - steps[0]).max() > 1e-2 * np.abs(steps[0]).max():
        return None, ("slices are not evenly spaced: no affine was made of them",)
    return steps.mean(axis=0), ()
