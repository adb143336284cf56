"""NIfTI-1 and NIfTI-2, compressed or not: magnitude, complex, or a pair of files for the two parts.

Header and images are one file, or two, `hdr` and `img`.
"""

import gzip
import logging
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch

from lightning_mri.io.arrays import CHUNK_BYTES, DEFLATE_RATIO, MAX_PIXELS, StoredArray
from lightning_mri.io.complex_images import ComplexArray, image_scan, polar
from lightning_mri.io.contrasts import NO_CONTRAST, contrast_of
from lightning_mri.io.geometry import SIZE_TOLERANCE, Geometry, misplacement
from lightning_mri.io.scan import NAN_AS_ZERO, NO_PIXEL_SIZE, Scan
from lightning_mri.lazy import lazy
from lightning_mri.messages import error_context

nibabel = lazy("nibabel")

log = logging.getLogger(__name__)

GZIP = b"\x1f\x8b"
HEADER_BYTES = 540
MM_OF_UNIT = {1: 1000.0, 2: 1.0, 3: 1e-3}
"""Metre, millimetre and micrometre; a file that does not tell has mm."""
LABELS_INTENT = 1002
LABELS_SHARE = 0.5
"""Of neighbouring pixels that are equal: 0.09 in a real 8-bit scan, 0.4 in one of 30 grey levels, 0.57 to 1 in maps of
3 to 8 tissues and in masks."""
LABELS = "whole regions hold one whole number each, as labels do: a folder's files of this kind are left out"

STD = "standard deviation of "
"""Begin of the header's description of an uncertainty that `predict` wrote: it looks like a scan, and is none."""
ENDING = re.compile(r"(\.nii|\.hdr|\.img)?(\.gz)?$", re.IGNORECASE)
PARTS = {"magnitude": ("mag", "magnitude"), "phase": ("ph", "phase"), "real": ("real",), "imag": ("imag", "imaginary")}
PART_OF = {word: part for part, words in PARTS.items() for word in words}
PART = re.compile(rf"_(part-)?({'|'.join(sorted(PART_OF, key=len, reverse=True))})([12]?)(?=_|$)", re.IGNORECASE)
"""BIDS numbers the two echoes of a field map: magnitude1, phase1, magnitude2, phase2."""
PARTNERS = {"magnitude": "phase", "phase": "magnitude", "real": "imag", "imag": "real"}
SECOND = ("phase", "imag")
NO_SCAN = re.compile(r"(^|[_.-])(mask|dseg|probseg|labels?|phasediff|fieldmap)$", re.IGNORECASE)
"""Names of masks whose edges are soft, too, of maps of probabilities, and of BIDS's maps of phase and field."""
ENTITY = re.compile(r"(?<![A-Za-z0-9])(sub|ses)-([A-Za-z0-9]+)_?")


def locate(path: Path, head: bytes) -> Path | None:
    """Return the path of a NIfTI file, of a pair its header; that of the magnitude or real part that it goes with."""
    if _version(head) is None:
        header = _other(path, "img", "hdr")
        if header == path or not header.is_file():
            return None
        with header.open("rb") as file:
            return locate(header, file.read(HEADER_BYTES))
    part, partner = _partner(path)
    return partner if partner is not None and part in SECOND else path


def files(path: Path) -> list[Path]:
    """Return a file and its other half, if it has one, each with its images where these are apart."""
    partner = _partner(path)[1]
    found = [path] if partner is None else [path, partner]
    return list(dict.fromkeys(each for file in found for each in (file, _other(file, "hdr", "img"))))


def is_scan(path: Path) -> bool:
    """Return whether a file is a scan: no mask, labels, uncertainty, map of a field, phase or imaginary part alone."""
    part, partner = _partner(path)
    if (part in SECOND and partner is None) or NO_SCAN.search(ENDING.sub("", path.name)):
        return False
    images = NiftiArray(path)
    return not bytes(images.header["descrip"].item()).startswith(STD.encode()) and images.content == "scan"


def read(path: Path) -> Scan:
    """Open a NIfTI file whose voxel axes are x, y, slice and perhaps volume.

    A file of magnitudes goes together with one of phases, and a real part with an imaginary part, if the names
    say so: ``a_mag`` or plain ``a`` with ``a_ph``, ``a_real`` with ``a_imag``, their long forms, and BIDS's
    ``part-mag``, ``part-phase``, ``part-real`` and ``part-imag``, ``magnitude1`` and ``phase1``. Halves must lie in one
    place. A compressed file is decompressed anew, from its start, for each reading; only the slices asked for are kept.
    NaN around the subject is read as zero.
    """
    first = NiftiArray(path)
    if first.content == "mask":
        raise ValueError(f"{path}: image must be a scan: got a mask, which holds one value beside zero")
    images, warnings = _images(first)
    stem = ENDING.sub("", path.name)
    contrast, unknown = contrast_of(ENTITY.sub("", stem)), f"{NO_CONTRAST}: the file is named {path.name!r}"
    found = ENTITY.search(stem)
    return image_scan(
        path,
        images,
        first.geometry,
        images is not first or first.is_complex,
        (
            *warnings,
            *((LABELS,) if first.content == "labels" else ()),
            *((NAN_AS_ZERO,) if first.has_nan else ()),
            *(() if contrast else (unknown,)),
        ),
        is_real=_partner(path)[0] == "real",
        format="NIfTI",
        name=stem,
        subject=f"{found[1]}-{found[2]}" if found and found[1] == "sub" else None,
        contrast=contrast,
        n_volumes=first.volume_shape[3],
        readout={0: "x", 1: "y"}.get(first.header.get_dim_info()[0]),
    )


class NiftiArray(StoredArray):
    """Images [slice, y, x] of a NIfTI file, volume after volume."""

    def __init__(self, path: Path) -> None:
        self.header = _header(path)
        self.stored = _other(path, "hdr", "img")
        shape = tuple(int(n) for n in self.header.get_data_shape())
        dtype = self.header.get_data_dtype()
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if not 2 <= len(shape) <= 4 or min(shape) < 1:
            raise ValueError(f"{path}: image must have 2 to 4 axes, x, y, slice and volume: got shape {shape}")
        if shape[0] * shape[1] > MAX_PIXELS:
            raise ValueError(f"{path}: image must have at most {MAX_PIXELS} pixels a slice: got shape {shape}")
        if dtype.kind not in "uifc":
            raise ValueError(f"{path}: image must hold numbers: got {dtype}")
        self.volume_shape = (*shape, 1, 1)[:4]
        self.is_complex = dtype.kind == "c"
        x, y, n_slices, n_volumes = self.volume_shape
        super().__init__(path, "image", (n_slices * n_volumes, y, x))
        self._check_size(dtype)
        self.geometry = _geometry(self.header, (n_slices, y, x))

    @cached_property
    def content(self) -> Literal["scan", "mask", "labels"]:
        """What the file holds: masks and labels are whole numbers that most neighbours share, 2 and more of them."""
        if self.is_complex:
            return "scan"
        for images in self.chunks(gaps=True):
            if bool((images != images.round()).any()):
                return "scan"
            left, right = images[..., :-1], images[..., 1:]
            inside = (left != 0) & (right != 0)
            if inside.any():
                share = float((left == right)[inside].float().mean())
                if share <= LABELS_SHARE and int(self.header["intent_code"]) != LABELS_INTENT:
                    return "scan"
                return "mask" if len(images.unique()) <= 2 else "labels"
        return "mask"

    @cached_property
    def has_nan(self) -> bool:
        """Whether the first volume, or as much of it as is read at once, holds NaN, as software fills background."""
        if self.header.get_data_dtype().kind not in "fc":
            return False
        n = max(1, CHUNK_BYTES // (8 * self.shape[1] * self.shape[2]))
        return bool(np.isnan(self._stored(0, min(n, self.volume_shape[2]))).any())

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return images ``start`` to ``stop``, zero for NaN."""
        images = self._stored(start, stop)
        nan = np.isnan(images)
        if nan.any() and not self.has_nan:
            log.warning("%s: NaN in images %d to %d is read as zero", self.path, start, stop - 1)
        return np.where(nan, 0, images)

    def _stored(self, start: int, stop: int) -> np.ndarray:
        n_slices = self.volume_shape[2]
        rule = "image must be readable NIfTI"
        with error_context(self.path, rule), _opened(self.stored) as file, np.errstate(all="ignore"):
            stored = nibabel.arrayproxy.ArrayProxy(file, self.header, mmap=False).reshape(self.volume_shape)
            parts = [np.zeros((0, *self.shape[1:]))]
            while start < stop:
                volume, first = divmod(start, n_slices)
                last = min(n_slices, first + stop - start)
                parts.append(np.asarray(stored[:, :, first:last, volume]).T)
                start += last - first
        return np.concatenate(parts[1:] or parts)

    def _check_size(self, dtype: np.dtype) -> None:
        """Refuse a header that promises more than the file can hold."""
        promised = self.header.get_data_offset() + dtype.itemsize * int(np.prod(self.shape, dtype=object))
        stored = self.stored.stat().st_size
        with self.stored.open("rb") as file:
            most = stored * DEFLATE_RATIO if file.read(2) == GZIP else stored
        if promised > most:
            raise OSError(f"{self.stored}: image must hold {self.shape} values of {dtype}: the file is truncated")


def _images(first: NiftiArray) -> tuple[StoredArray, tuple[str, ...]]:
    """Return the images of a file and of its partner, if it has one."""
    part, partner = _partner(first.path)
    if partner is None or first.is_complex:
        if part in SECOND:
            raise ValueError(f"{first.path}: image must have the other half of its pair beside it: got {part} alone")
        return first, ()
    second = NiftiArray(partner)
    shape = (first.volume_shape[2], *first.shape[1:])
    if (distance := misplacement(first.geometry.affine, second.geometry.affine, shape)) is not None:
        rule = f"affine must be that of its other half {first.path.name}"  # which may have been turned
        raise ValueError(f"{partner}: {rule}: got voxels that are up to {distance:.3g} mm apart")
    return (ComplexArray(first, second), ()) if part == "real" else polar(first, second)


def _partner(path: Path) -> tuple[str, Path | None]:
    """Return which part of a complex image a file's name makes it, and the file of the other part."""
    ending = ENDING.search(path.name)
    stem = path.name[: ending.start()] if ending else path.name
    found = list(PART.finditer(stem))
    if not found:
        candidates = [f"{stem}_{word}" for word in PARTS["phase"]]
        return "magnitude", _first_file(path, stem, candidates)
    token = found[-1]
    part = PART_OF[token[2].lower()]
    before, after = stem[: token.start()], stem[token.end() :]
    candidates = [f"{before}_{token[1] or ''}{word}{token[3]}{after}" for word in PARTS[PARTNERS[part]]]
    if part == "phase":
        candidates.append(before + after)
    return part, _first_file(path, stem, candidates)


def _first_file(path: Path, stem: str, candidates: list[str]) -> Path | None:
    files = (path.with_name(name + path.name[len(stem) :]) for name in candidates)
    return next((file for file in files if file != path and file.is_file()), None)


def _other(path: Path, one: str, other: str) -> Path:
    """Return the other file of a pair of header and images; the path itself if its name does not end in ``one``."""
    found = re.search(rf"\.({one})(\.gz)?$", path.name, re.IGNORECASE)
    if found is None:
        return path
    name = other.upper() if found[1].isupper() else other
    return path.with_name(f"{path.name[: found.start(1)]}{name}{found[2] or ''}")


def _geometry(header: "nibabel.Nifti1Header", shape: tuple[int, int, int]) -> Geometry:
    """Return where images [slice, y, x] lie: as the affine says, whose voxels win over those of pixdim."""
    unit = MM_OF_UNIT.get(int(header["xyzt_units"]) % 8, 1.0)
    sizes = unit * np.abs(np.asarray(header["pixdim"][1:4], dtype=float))
    affine, warnings = _affine(header, unit, shape)
    if affine is None:
        warnings.append("the header does not tell where the slices lie: orientation is not known")
    else:
        true = nibabel.affines.voxel_sizes(affine)
        if not np.allclose(sizes, true, rtol=SIZE_TOLERANCE):
            both = " and ".join(" x ".join(f"{size:.4g}" for size in three) for three in (sizes, true))
            warnings.append(f"pixdim and the affine have voxels of {both} mm: the affine's are used")
            sizes = true
    x, y, z = (float(size) for size in sizes)
    pixel_size = (y, x) if 0 < x < np.inf and 0 < y < np.inf else None
    if pixel_size is None:
        warnings.append(f"the header's voxel size is not positive: {NO_PIXEL_SIZE}")
    to_mm = None if affine is None else torch.tensor(affine, dtype=torch.float32)
    return Geometry(pixel_size, z if 0 < z < np.inf else None, to_mm, tuple(warnings))


def _affine(
    header: "nibabel.Nifti1Header", unit: float, shape: tuple[int, int, int]
) -> tuple[np.ndarray | None, list[str]]:
    """Return the sform in mm, else the qform, and the warning where the other one was set and says otherwise."""
    sform, qform = _form(header, "sform", unit), _form(header, "qform", unit)
    if sform is None:
        fell_back = qform is not None and bool(header["sform_code"] > 0)
        return qform, ["the header's sform is no affine: its qform is used"] * fell_back
    if qform is None:
        return sform, []
    distance = misplacement(torch.from_numpy(sform).float(), torch.from_numpy(qform).float(), shape)
    said = f"the header's sform and qform lie up to {distance or 0:.3g} mm apart: the sform is used"
    return sform, [said] * (distance is not None)


def _form(header: "nibabel.Nifti1Header", name: str, unit: float) -> np.ndarray | None:
    """Return one of the header's two affines, to mm, if it is set and can be one."""
    if header[f"{name}_code"] <= 0:
        return None
    try:
        with np.errstate(all="ignore"):
            affine = np.array(getattr(header, f"get_{name}")(), dtype=np.float64)
            known = np.isfinite(affine).all() and np.abs(affine).max() < 1e6 and abs(np.linalg.det(affine)) > 1e-12
    except (ValueError, nibabel.spatialimages.HeaderDataError):
        return None
    affine[:3] *= unit
    return affine if known else None


def _version(head: bytes) -> int | None:
    """Return 1 or 2 if a file's first bytes are those of a NIfTI file, compressed or not."""
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, HEADER_BYTES)
        except zlib.error:
            return None
    if head[344:348] in (b"n+1\x00", b"ni1\x00"):
        return 1
    return 2 if head[4:8] in (b"n+2\x00", b"ni2\x00") else None


def _header(path: Path) -> "nibabel.Nifti1Header":
    with error_context(path, "header must be readable NIfTI"):
        with _opened(path) as file:
            head = file.read(HEADER_BYTES)
        kind, length = (nibabel.Nifti1Header, 348) if _version(head) == 1 else (nibabel.Nifti2Header, 540)
        header = kind(head[:length], check=False)
        if int(header["datatype"]) not in nibabel.nifti1.data_type_codes.code:
            raise ValueError(f"its datatype {int(header['datatype'])} is not known")
        header.get_data_shape(), header.get_slope_inter(), header.get_data_offset()
        return header


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, through gzip if that is what it is, whatever its name."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.open(file) as unpacked:
            yield unpacked
