"""NIfTI-1 and NIfTI-2 in one file, compressed or not: magnitude, complex, or a pair of files for the two parts."""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np
import torch
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import data_type_codes
from nibabel.spatialimages import HeaderDataError

from lightning_mri.io.complex_images import CartesianArray, PolarArray, phase_scale
from lightning_mri.io.contrasts import contrast_of
from lightning_mri.io.scan import MAGNITUDE_ONLY, ImageArray, Scan, StoredArray

GZIP = b"\x1f\x8b"
MAX_GZIP_RATIO = 1032
"""Deflate makes nothing smaller than that."""
HEADER_BYTES = 540
BROKEN = (OSError, EOFError, ValueError, zlib.error, OverflowError, HeaderDataError)
MM_OF_UNIT = {1: 1000.0, 2: 1.0, 3: 1e-3}
"""Metre, millimetre and micrometre; a file that does not tell has mm."""
MAX_PIXELS = 2**26
"""Of one slice."""

ENDING = re.compile(r"(\.nii)?(\.gz)?$", re.IGNORECASE)
PARTS = {"magnitude": ("mag", "magnitude"), "phase": ("ph", "phase"), "real": ("real",), "imag": ("imag", "imaginary")}
PART_OF = {word: part for part, words in PARTS.items() for word in words}
PART = re.compile(rf"_(part-)?({'|'.join(sorted(PART_OF, key=len, reverse=True))})(?=_|$)", re.IGNORECASE)
PARTNERS = {"magnitude": "phase", "phase": "magnitude", "real": "imag", "imag": "real"}
SECOND = ("phase", "imag")
ENTITY = re.compile(r"(?<![A-Za-z0-9])(sub|ses)-([A-Za-z0-9]+)_?")


def locate(path: Path, head: bytes) -> Path | None:
    """Return the path of a NIfTI file, or that of the magnitude or real part that it goes with."""
    if _version(head) is None:
        return None
    part, partner = _partner(path)
    return partner if partner is not None and part in SECOND else path


def is_scan(path: Path) -> bool:
    """Return whether a file is a scan: no mask, and no phase or imaginary part on its own."""
    part, partner = _partner(path)
    if part in SECOND and partner is None:
        return False
    try:
        return not _is_mask(NiftiArray(path))
    except (OSError, ValueError):
        return True  # let the reader say what is wrong with it


def read(path: Path) -> Scan:
    """Open a NIfTI file whose voxel axes are x, y, slice and perhaps volume.

    A file of magnitudes goes together with one of phases, and a real part with an imaginary part, if the names
    say so: ``a_mag`` or plain ``a`` with ``a_ph``, ``a_real`` with ``a_imag``, their long forms, and BIDS's
    ``part-mag``, ``part-phase``, ``part-real`` and ``part-imag``. A compressed file is decompressed anew, from
    its start, for each reading; only the slices asked for are kept.

    Raises:
        ValueError: If the file is a mask, holds colours or more than four axes, or the pair does not fit.
        OSError: If the file is truncated or cannot be read.
    """
    first = NiftiArray(path)
    if _is_mask(first):
        raise ValueError(f"{path}: image must be a scan: got a mask, whose values are 0 and 1 only")
    images, warnings = _images(first)
    magnitude_only = images is first and not first.is_complex
    stem = ENDING.sub("", path.name)
    contrast = contrast_of(ENTITY.sub("", stem))
    found = ENTITY.search(stem)
    return Scan(
        source=path,
        format="NIfTI",
        name=stem,
        subject=f"{found[1]}-{found[2]}" if found and found[1] == "sub" else stem,
        kspace=ImageArray(images),
        reconstruction_size=(images.shape[1], images.shape[2]),
        contrast=contrast,
        stored_mask=torch.ones(1, *images.shape[1:], dtype=torch.bool),
        pixel_size=first.pixel_size,
        slice_spacing=first.slice_spacing,
        affine=first.affine,
        n_volumes=first.n_volumes,
        magnitude_only=magnitude_only,
        warnings=(
            MAGNITUDE_ONLY if magnitude_only else "k-space was computed from complex images, its coils combined",
            *warnings,
            *first.warnings,
            *(() if contrast else (f"the contrast is not known: the file is named {path.name!r}",)),
        ),
    )


class NiftiArray(StoredArray):
    """Images [slice, y, x] of a NIfTI file, volume after volume.

    Args:
        path: The file.

    Raises:
        ValueError: If the header breaks a rule.
        OSError: If the file is truncated.
    """

    def __init__(self, path: Path) -> None:
        self.header = _header(path)
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
        x, y, n_slices, self.n_volumes = self.volume_shape
        super().__init__(path, "image", (n_slices * self.n_volumes, y, x))
        self._check_size(dtype)
        self.pixel_size, self.slice_spacing, self.affine, self.warnings = _place(self.header)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return images ``start`` to ``stop``."""
        n_slices = self.volume_shape[2]
        with _told(self.path, self.field), _opened(self.path) as file, np.errstate(all="ignore"):
            stored = ArrayProxy(file, self.header, mmap=False).reshape(self.volume_shape)
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
        stored = self.path.stat().st_size
        with self.path.open("rb") as file:
            most = stored * MAX_GZIP_RATIO if file.read(2) == GZIP else stored
        if promised > most:
            raise OSError(f"{self.path}: image must hold {self.shape} values of {dtype}: the file is truncated")


def _images(first: NiftiArray) -> tuple[StoredArray, tuple[str, ...]]:
    """Return the images of a file and of its partner, if it has one."""
    part, partner = _partner(first.path)
    if partner is None or first.is_complex:
        if part in SECOND:
            raise ValueError(f"{first.path}: image must have the other half of its pair beside it: got {part} alone")
        return first, ()
    second = NiftiArray(partner)
    if PARTNERS[part] == "imag":
        return CartesianArray(first, second), ()
    scale = phase_scale(second)
    return PolarArray(first, second, scale), (f"{partner.name} was taken for phase in {scale.name}",)


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
    candidates = [f"{before}_{token[1] or ''}{word}{after}" for word in PARTS[PARTNERS[part]]]
    if part == "phase":
        candidates.append(before + after)
    return part, _first_file(path, stem, candidates)


def _first_file(path: Path, stem: str, candidates: list[str]) -> Path | None:
    files = (path.with_name(name + path.name[len(stem) :]) for name in candidates)
    return next((file for file in files if file != path and file.is_file()), None)


def _is_mask(images: NiftiArray) -> bool:
    """Return whether images hold 0 and 1 only; a scan is told by its first slices."""
    if images.is_complex:
        return False
    return all(bool(((values == 0) | (values == 1)).all()) for values in images.chunks())


def _place(
    header: nibabel.Nifti1Header,
) -> tuple[tuple[float, float] | None, float | None, torch.Tensor | None, tuple[str, ...]]:
    """Return pixel size (y, x) and slice spacing in mm, the affine, and what is doubtful about them."""
    warnings = []
    unit = MM_OF_UNIT.get(int(header["xyzt_units"]) % 8, 1.0)
    x, y, z = (unit * abs(float(size)) for size in header["pixdim"][1:4])
    pixel_size = (y, x) if 0 < x < np.inf and 0 < y < np.inf else None
    if pixel_size is None:
        warnings.append("the header's voxel size is not positive: it is not known")
    affine = _affine(header)
    if affine is None:
        warnings.append("the header does not tell where the slices lie: orientation is not known")
        return pixel_size, z if 0 < z < np.inf else None, None, tuple(warnings)
    affine[:3] *= unit
    return pixel_size, z if 0 < z < np.inf else None, torch.tensor(affine, dtype=torch.float32), tuple(warnings)


def _affine(header: nibabel.Nifti1Header) -> np.ndarray | None:
    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        return None
    try:
        with np.errstate(all="ignore"):
            affine = np.array(header.get_best_affine(), dtype=np.float64)
            known = np.isfinite(affine).all() and np.abs(affine).max() < 1e6 and abs(np.linalg.det(affine)) > 1e-12
    except (ValueError, HeaderDataError):
        return None
    return affine if known else None


def _version(head: bytes) -> int | None:
    """Return 1 or 2 if a file's first bytes are those of a NIfTI file, compressed or not."""
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, HEADER_BYTES)
        except zlib.error:
            return None
    if head[344:348] == b"n+1\x00":
        return 1
    return 2 if head[4:8] == b"n+2\x00" else None


def _header(path: Path) -> nibabel.Nifti1Header:
    with _told(path, "header"):
        with _opened(path) as file:
            head = file.read(HEADER_BYTES)
        kind, length = (nibabel.Nifti1Header, 348) if _version(head) == 1 else (nibabel.Nifti2Header, 540)
        header = kind(head[:length], check=False)
        if int(header["datatype"]) not in data_type_codes.code:
            raise ValueError(f"its datatype {int(header['datatype'])} is not known")
        header.get_data_shape(), header.get_slope_inter(), header.get_data_offset()
        return header


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, through gzip if that is what it is."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.open(file) as unpacked:
            yield unpacked


@contextmanager
def _told(path: Path, field: str) -> Iterator[None]:
    """Tell what nibabel finds wrong in one sentence."""
    try:
        yield
    except BROKEN as error:
        raise OSError(f"{path}: {field} must be readable NIfTI: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
