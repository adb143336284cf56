"""ParaVision's reconstructed images (2dseq): their frames, and where they lie."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from lightning_mri.io.arrays import StoredArray
from lightning_mri.io.formats.bruker.files import Parameters
from lightning_mri.io.geometry import Geometry, stack_geometry
from lightning_mri.io.scan import NO_PIXEL_SIZE

WORDS = {"_8BIT_UNSGN_INT": "u1", "_16BIT_SGN_INT": "i2", "_32BIT_SGN_INT": "i4", "_32BIT_FLOAT": "f4"}


# brukerapi 0.4.6 reads the whole 2dseq for each frame: 0.25 GiB and 0.23 s for one of 0.12 GiB.
class FrameArray(StoredArray):
    """Images [slice, readout, phase encoding] of a 2dseq file, slope times stored number plus offset."""

    def __init__(self, path: Path, v: Parameters) -> None:
        self.size = _size(v)
        self.depth = self.size[2] if len(self.size) == 3 else 1
        self.dtype = _dtype(v)
        self.n_slices, self.frames = _frames(path, v, self.size)
        self.is_complex = self.frames.shape[1] == 2
        self.n_volumes = len(self.frames) // (self.n_slices if self.depth == 1 else 1)
        self.slopes, self.offsets = (
            _per_frame(v, name, self.frames.size) for name in ("VisuCoreDataSlope", "VisuCoreDataOffs")
        )
        encoding = v.words("VisuAcqGradEncoding")[:2]
        self.knows_readout = "read_enc" in encoding
        self.read_axis = encoding.index("read_enc") if self.knows_readout else 0
        expected = math.prod(self.size) * self.frames.size * self.dtype.itemsize
        if path.stat().st_size != expected:
            raise OSError(f"{path}: images must have {expected} bytes, as visu_pars says: got {path.stat().st_size}")
        plane = (self.size[self.read_axis], self.size[1 - self.read_axis])
        super().__init__(path, "images", (len(self.frames) * self.depth, *plane))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return images ``start`` to ``stop``."""
        x, y = self.size[:2]
        try:
            stored = np.memmap(self.path, self.dtype, "r", shape=(self.frames.size, self.depth, y, x))
        except ValueError as error:
            raise OSError(f"{self.path}: images are truncated: {error}") from error
        out = np.zeros((stop - start, *self.shape[1:]), np.complex64 if self.is_complex else np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for image, index in zip(out, range(start, stop), strict=True):
                volume, z = divmod(index, self.depth)
                parts = [stored[i, z] * self.slopes[i] + self.offsets[i] for i in self.frames[volume]]
                values = parts[0] + 1j * parts[1] if self.is_complex else parts[0]
                image[:] = values.T if self.read_axis == 0 else values
        return out

    def geometry(self, v: Parameters) -> Geometry:
        """Return where the images lie.

        VisuCorePosition is the centre of a frame's first pixel and VisuCoreOrientation has the directions of its
        axes as rows, both in DICOM's coordinates, which take the subject to lie as VisuSubjectPosition says.
        """
        if "VisuCoreExtent" not in v:
            return Geometry(warnings=(f"VisuCoreExtent is missing: {NO_PIXEL_SIZE}",))
        pixel = v.lengths("VisuCoreExtent", len(self.size)) / self.size
        x, y = (1, 0) if self.read_axis == 0 else (0, 1)
        pixel_size = (float(pixel[y]), float(pixel[x]))
        if "VisuCorePosition" not in v or "VisuCoreOrientation" not in v:
            missing = "VisuCorePosition or VisuCoreOrientation is missing: where the images lie is not known"
            return Geometry(pixel_size, float(pixel[2]) if len(pixel) == 3 else None, warnings=(missing,))
        orientations, positions = v.rows_of("VisuCoreOrientation", 9), v.rows_of("VisuCorePosition", 3)
        if len(pixel) == 2 and np.abs(orientations - orientations[0]).max() > 1e-4:
            return Geometry(pixel_size, warnings=("slices differ in orientation: no affine was made of them",))
        axes = orientations[0].reshape(3, 3)
        if len(pixel) == 3:
            positions = positions[0] + np.arange(self.depth)[:, None] * axes[2] * pixel[2]
            thickness = float(pixel[2])
        else:
            # frames that share a slice all have its position
            positions = positions[np.sort(np.unique(positions, axis=0, return_index=True)[1])]
            thickness = float(v.numbers("VisuCoreFrameThickness", default=1)[0])
            if len(positions) != self.n_slices:
                uneven = f"{len(positions)} positions were found for {self.n_slices} slices: orientation is not known"
                return Geometry(pixel_size, warnings=(uneven,))
        lies = f"{v.word('VisuSubjectType', 'subject')}, {v.word('VisuSubjectPosition', 'position not known')}"
        found = stack_geometry(axes[x], axes[y], positions, pixel_size, thickness)
        entered = f"left, front and head are those of ParaVision for a {lies}, as the operator entered it"
        return found if found.affine is None else replace(found, warnings=(entered,))


def _size(v: Parameters) -> tuple[int, ...]:
    dims = v.number("VisuCoreDim", default=2)
    if dims not in (2, 3) or any(word != "spatial" for word in v.words("VisuCoreDimDesc")):
        got = f"{' '.join(v.words('VisuCoreDimDesc'))} in {dims}"
        raise v.error("VisuCoreDimDesc", "be spatial in 2 or 3 dimensions", got)
    return v.whole("VisuCoreSize", dims)[:dims]


def _dtype(v: Parameters) -> np.dtype:
    word, order = v.word("VisuCoreWordType"), v.word("VisuCoreByteOrder", "littleEndian")
    if word not in WORDS or order not in ("littleEndian", "bigEndian"):
        rule = f"be one of {', '.join(WORDS)}, and VisuCoreByteOrder littleEndian or bigEndian"
        raise v.error("VisuCoreWordType", rule, f"{word}, {order}")
    return np.dtype(WORDS[word]).newbyteorder("<" if order == "littleEndian" else ">")


def _frames(path: Path, v: Parameters, size: tuple[int, ...]) -> tuple[int, np.ndarray]:
    """Return the slices of a volume, and the frame, or those of real and imaginary part, of each image."""
    groups = [(row[0], str(row[1]).strip("<>")) for row in v.rows("VisuFGOrderDesc") if len(row) > 1]
    if not all(isinstance(n, int) and 0 < n <= path.stat().st_size for n, _ in groups):
        raise v.error("VisuFGOrderDesc", "hold positive lengths", groups)
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
    return n_slices, frames.reshape(-1, 2 if "FG_COMPLEX" in names else 1)


def _check_frames(v: Parameters, groups: dict[str, int], size: tuple[int, ...]) -> None:
    """Refuse parametric maps, phases, images of single coils and frames that are stored transposed."""
    types = set(v.words("VisuCoreFrameType")) or {"MAGNITUDE_IMAGE"}
    parts = {"REAL_IMAGE", "IMAGINARY_IMAGE", "COMPLEX_IMAGE"} if "FG_COMPLEX" in groups else {"MAGNITUDE_IMAGE"}
    if not types <= parts or groups.get("FG_COMPLEX", 2) != 2:
        rule = "be magnitude, or real and imaginary part of a group FG_COMPLEX"
        raise v.error("VisuCoreFrameType", rule, ", ".join(sorted(types)))
    if "FG_ISA" in groups or groups.get("FG_COIL", 1) > 1:
        raise v.error("VisuFGOrderDesc", "hold images, no maps and no single coils", groups)
    transposed = v.numbers("VisuCoreTransposition", default=0).any() and len(set(size)) > 1
    reversed_ = len(size) == 3 and v.word("VisuCoreDiskSliceOrder") == "disk_reverse_slice_order"
    if transposed or reversed_:
        got = f"{v.words('VisuCoreTransposition')[:3]}, {v.word('VisuCoreDiskSliceOrder')}"
        raise v.error("VisuCoreTransposition", "be 0, and slices of 3-D frames in normal order, to be read", got)


def _per_frame(v: Parameters, name: str, n: int) -> np.ndarray:
    """Return a number for each of ``n`` frames: 1 for a slope and 0 for an offset that is missing."""
    values = v.numbers(name, default=1 if name.endswith("Slope") else 0)
    if len(values) not in (1, n):
        raise v.error(name, f"hold 1 or {n} numbers, one a frame", len(values))
    return np.broadcast_to(values, n).astype(np.float32)
