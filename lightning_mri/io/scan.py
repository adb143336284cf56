"""What a scan's file says, as it says it: k-space read a few slices at a time, mask, header, warnings."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.io.arrays import NamedArray, StoredArray
from lightning_mri.io.axes import USUAL, named_axes
from lightning_mri.io.contrasts import NO_CONTRAST
from lightning_mri.messages import count, printable
from lightning_mri.physics import combine, fft2c

UNKNOWN_READOUT = (
    "the readout direction is not known: it was taken to run along y of the image: {} x has it run along x"
)
"""Warning where the readout matters, with the option that names its axis."""
MAX_COILS_READ = 1024
"""More than any scanner has: the axes of such a file are named wrongly."""
MAGNITUDE_ONLY = "the file holds magnitude images: k-space was computed from them, without noise, phase or coils"
REAL_ONLY = (
    "the file holds real parts alone: k-space was computed from them, their sign kept, without imaginary part or coils"
)
"""The warnings that go with `Scan.magnitude_only`."""
NAN_AS_ZERO = "NaN was read as zero"
"""Warning where a format's NaN stands for no signal."""
NO_PIXEL_SIZE = "the size of a pixel is not known"
NO_HEADER = f"the file has no header: it does not name the subject; {NO_PIXEL_SIZE}; {NO_CONTRAST}"
"""Warning of files that hold numbers alone; what the user tells is left out."""
SAMPLED_ALIKE = 0.95
"""A slice with this share of the samples of all slices is sampled as they are: the others are zero by chance."""
CENTRE = 8
"""The centre is an eighth of each axis where content is judged."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan, read lazily: ``scan.kspace[2:4]`` reads two slices and no more.

    Args:
        source: File it was read from.
        name: Stem of the file's name, under which results are written.
        subject: Who was scanned; scans of one subject stay on one side of every split.
        subject_known: Whether the file tells that; otherwise ``subject`` is the file's name.
        kspace: K-space [slice, coil, y, x], y the readout (but see ``readout``), in the file's units and centred.
        reconstruction_size: Matrix (y, x) of the finished image: the header's, else that of k-space.
        contrast: Name of the contrast, None if the file does not tell.
        stored_mask: Mask that the file holds, if any: [1, y, x], or [slice, y, x] where slices differ.
        calibration: K-space as `kspace`, of lines measured apart for the coil maps alone and zero elsewhere, if any:
            their contrast may differ.
        reference: Magnitude image [slice, y, x] of the fully sampled scan that the file holds, if any.
        lesions: Mask [slice, y, x] at the matrix of the image, not 0 in lesions, if the file holds one.
        pixel_size: Size of a pixel (y, x) in mm, if known.
        slice_spacing: Distance between the centres of slices in mm, if known.
        affine: Takes indices (x, y, slice, 1) of the finished image to RAS+ coordinates in mm, as NIfTI has it,
            if the file tells where the slices lie.
        field_strength: In tesla, if known.
        noise_covariance: Covariance of the coils' noise, E eta eta^H / 2, in the squared units of k-space, where
            the file holds a noise scan.
        n_volumes: Echoes, repetitions or the like that follow each other along the slice axis, each a whole
            volume; the number of slices is a multiple of it.
        magnitude_only: Whether the file holds magnitude images, or real parts alone, and ``kspace`` is their Fourier
            transform: good for training and simulation, but no measurement.
        readout: Axis of the finished image along which the readout ran, None if the file does not tell.
        format: Name of the file's format, for people.
        warnings: What had to be guessed, one sentence each.
    """

    source: Path
    name: str
    subject: str
    kspace: StoredArray
    reconstruction_size: tuple[int, int]
    subject_known: bool = False
    contrast: str | None = None
    stored_mask: Bool[Tensor, "_masks y x"] | None = None
    calibration: StoredArray | None = None
    reference: StoredArray | None = None
    lesions: StoredArray | None = None
    pixel_size: tuple[float, float] | None = None
    slice_spacing: float | None = None
    affine: Float[Tensor, "4 4"] | None = None
    field_strength: float | None = None
    noise_covariance: Complex[Tensor, "_coil _coil"] | None = None
    n_volumes: int = 1
    magnitude_only: bool = False
    readout: Literal["y", "x"] | None = "y"
    format: str = ""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Validate what people say of their scans."""
        size, gap, n = self.pixel_size, self.slice_spacing, self.n_volumes
        if size is not None and not (np.shape(size) == (2,) and all(0 < length < math.inf for length in size)):
            raise ValueError(f"{self.source}: pixel_size must be two positive numbers of mm, (y, x): got {size}")
        if gap is not None and not 0 < gap < math.inf:
            raise ValueError(f"{self.source}: slice_spacing must be a positive number of mm: got {gap}")
        if n < 1 or self.n_slices % n:
            raise ValueError(f"{self.source}: n_volumes must divide the {self.n_slices} slices: got {n}")

    @classmethod
    def from_array(
        cls,
        kspace: np.ndarray | Tensor,
        axes: str | None = None,
        *,
        mask: np.ndarray | Tensor | None = None,
        name: str = "scan",
        **known: Any,
    ) -> "Scan":
        """Make a scan of k-space in memory, y the readout, centred and zero where not acquired.

        Args:
            kspace: Complex numbers [slice, coil, y, x], [coil, y, x] or [y, x]; or with the axes named in ``axes``.
            axes: Names of the axes, for example "coil z y x" or "t y x coil"; see `Axes`.
            mask: Acquired samples [x], [y, x] or [slice, y, x], in the order of k-space's axes; those not zero if not
                given.
            name: Name under which results are written.
            known: What else is known, by the names of `Scan`'s arguments: ``contrast``, ``pixel_size``, ``subject`` ...

        Raises:
            ValueError: If the numbers are real, or the axes, the mask or what else is known do not fit.
        """
        values, memory = _as_array(kspace), Path("memory")
        named, taken = named_axes(memory, "kspace", values.shape, axes)
        opened = partial(np.broadcast_to, values, values.shape)  # read-only, so that what is read is a copy
        stored = NamedArray(memory, named, values.shape, opened)
        check_complex(memory, "kspace", values.shape, values.dtype, "part" in named.names)
        check_kspace(memory, "kspace", stored.shape)
        usual: dict[str, Any] = {"name": name, "format": "array", "n_volumes": named.length("volume", values.shape)}
        usual["warnings"] = () if named.words in USUAL.values() else taken
        if mask is not None:
            ordered = named.mask(_as_array(mask), values.shape)
            usual["stored_mask"] = mask_from(memory, ordered, stored.shape[2:], len(stored))
        return cls.of_file(memory, stored, **{**usual, **known})

    @classmethod
    def of_file(cls, path: Path, kspace: StoredArray, *, subject: str | None = None, **said: Any) -> "Scan":
        """Return the scan of a file, named after it, as its subject is where the file tells none.

        Args:
            path: The file.
            kspace: Its k-space, also the matrix of the image unless something else is said.
            subject: Who was scanned, if the file tells.
            said: What else it says, by the names of `Scan`'s arguments.
        """
        name = printable(said.get("name", path.stem))  # which may be no text at all
        usual = {"subject": subject or name, "subject_known": bool(subject), "reconstruction_size": kspace.shape[2:]}
        return cls(source=path, kspace=kspace, **{**usual, **said, "name": name})

    def __repr__(self) -> str:
        names = ("contrast", "pixel_size", "slice_spacing", "field_strength", "warnings")
        known = "".join(f", {name}={value!r}" for name in names if (value := getattr(self, name)))
        volumes = f", {self.n_volumes} volumes" if self.n_volumes > 1 else ""
        shape = f"{count(self.n_slices, 'slice')} of {count(self.n_coils, 'coil')}, matrix {self.matrix}{volumes}"
        return f"Scan({str(self.source)!r}: {self.format}, {shape}{known})"

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return self.kspace.shape[0]

    @property
    def n_coils(self) -> int:
        """Number of coils."""
        return self.kspace.shape[1]

    @property
    def matrix(self) -> tuple[int, int]:
        """Matrix (y, x) of k-space."""
        return self.kspace.shape[2], self.kspace.shape[3]

    @cached_property
    def mask(self) -> Bool[Tensor, "_masks y x"]:
        """Which samples were acquired: [1, y, x], or [slice, y, x] where slices or frames were sampled differently.

        As the file says, else where k-space is not zero in some coil: of any slice where all slices have the same
        lines, so that a zero by chance counts as acquired, else of each. Slices of zeros alone have what any has.

        Raises:
            ValueError: If nothing was acquired.
        """
        mask = self.stored_mask
        if mask is None:
            chunks = self.kspace.chunks(gaps=True)
            mask = shared_mask(torch.cat([((kspace != 0) & kspace.isfinite()).any(dim=1) for kspace in chunks]))
        if not mask.any():
            raise ValueError(f"{self.source}: kspace must hold acquired samples: got zeros or NaN only")
        return mask

    def combined(self) -> Complex[Tensor, "slice y x"]:
        """Return the image of all its k-space, see `combine`, slice by slice."""
        parts = (self.kspace[k : k + 1] for k in range(self.n_slices))
        return torch.cat([combine(part, self.reconstruction_size, self.noise_covariance) for part in parts])

    def forget_mask(self) -> None:
        """Drop the mask that was found; it is looked for again when it is asked for."""
        vars(self).pop("mask", None)

    @property
    def union_mask(self) -> Bool[Tensor, "1 y x"]:
        """Which samples were acquired in some slice."""
        return self.mask.any(dim=0, keepdim=True)

    def mask_of(self, slices: Sequence[int]) -> Bool[Tensor, "_masks y x"]:
        """Return the mask of slices: [1, y, x] where they share it, else one of each."""
        if len(self.mask) == 1:
            return self.mask
        return one_if_equal(self.mask[list(slices)])

    def positions(self, slices: Iterable[SupportsIndex] | None = None) -> list[int]:
        """Return the numbers, 0 ... n - 1, of slices that may be counted from the end; of all if none are given.

        Raises:
            ValueError: If there is no such slice, or none at all.
        """
        try:
            chosen = list(range(self.n_slices)) if slices is None else [self.kspace.position(i) for i in slices]
        except (IndexError, TypeError) as error:
            raise ValueError(f"{self.source}: slices must be a list of its {self.n_slices}: got {slices}") from error
        if not chosen:
            raise ValueError(f"{self.source}: slices must name at least one: got none")
        return chosen

    def batches(self, slices: Sequence[int], batch_size: int) -> list[tuple[int, ...]]:
        """Cut slices into batches, in order, whose slices share one mask."""
        batches: list[list[int]] = []
        for i in slices:
            full = not batches or len(batches[-1]) == batch_size
            if full or (len(self.mask) > 1 and not self.mask[i].equal(self.mask[batches[-1][0]])):
                batches.append([])
            batches[-1].append(i)
        return [tuple(batch) for batch in batches]


def shared_mask(filled: Bool[Tensor, "slice y x"]) -> Bool[Tensor, "_masks y x"]:
    """Return the mask of slices from where they are not zero: one for all, or one of each, see `Scan.mask`."""
    union = filled.any(dim=0, keepdim=True)
    masks = torch.where(filled.flatten(1).any(dim=1)[:, None, None], filled, union)
    lines = [bool((masks.any(dim=axis) == union.any(dim=axis)).all()) for axis in (1, 2)]
    few_missing = bool(masks.flatten(1).sum(1).min() >= SAMPLED_ALIKE * union.sum())
    return union if all(lines) and few_missing else masks


def one_if_equal(masks: Bool[Tensor, "_masks y x"]) -> Bool[Tensor, "_masks y x"]:
    """Return the first of masks that are all equal, [1, y, x]; else all of them."""
    return masks[:1] if bool((masks == masks[:1]).all()) else masks


def acquired(kspace: Complex[Tensor, "*batch coil y x"]) -> Bool[Tensor, "1 y x"]:
    """Return which samples are not zero in at least one coil and slice."""
    return (kspace != 0).flatten(0, -3).any(dim=0, keepdim=True)


def is_fully_sampled(masks: Bool[Tensor, "_masks y x"]) -> bool:
    """Return whether the acquired samples of each mask fill a rectangle around the centre of k-space.

    Samples outside the rectangle are what a scanner pads with zeros, or a partial Fourier scan leaves out.
    """
    for mask in masks:
        rows, columns = mask.any(dim=1), mask.any(dim=0)
        centre = bool(rows[len(rows) // 2]) and bool(columns[len(columns) // 2])
        if not centre or int(mask.sum()) != _extent(rows) * _extent(columns):
            return False
    return True


def looks_like_kspace(values: Complex[Tensor, "coil y x"]) -> bool:
    """Return whether the energy is more concentrated at the centre than that of the Fourier transform.

    So it is in k-space, whose transform is an image. Images and coil maps are the other way round; real numbers
    are no k-space either. Zeros tell nothing and are let pass.
    """
    largest = values.abs().max()
    if not 0 < float(largest) < float("inf"):
        return True
    values = values / largest
    return bool(values.imag.any()) and _central_share(values) >= _central_share(fft2c(values))


def check_complex(path: Path, field: str, shape: Sequence[int], dtype: Any, of_parts: bool = False) -> None:
    """Refuse real numbers, unless an axis holds their parts; with a hint where one may hold them."""
    kind = np.dtype(dtype).kind
    if kind not in ("biuf" if of_parts else "c"):
        rule = "real where an axis holds its parts" if of_parts else "complex"
        pairs = kind in "iuf" and len(shape) > 2 and 2 in (shape[0], shape[-1])
        hint = ": if an axis of 2 holds real and imaginary parts, name it part (--data.axes 'coil y x part')"
        raise ValueError(f"{path}: {field} must be {rule}: got {dtype} {tuple(shape)}{hint if pairs else ''}")


def check_kspace(path: Path, field: str, shape: tuple[int, ...]) -> None:
    """Refuse a shape [slice, coil, y, x] that no scan has."""
    if 0 in shape:
        raise ValueError(f"{path}: {field} must not be empty: got shape {shape}")
    if shape[1] > MAX_COILS_READ:
        raise ValueError(f"{path}: {field} must have at most {MAX_COILS_READ} coils: got shape {shape}")


def mask_from(path: Path, values: np.ndarray, matrix: tuple[int, ...], n_slices: int = 1) -> Bool[Tensor, "_masks y x"]:
    """Return a file's mask, per column [x] or per sample [y, x], of all slices or of each, as [1 or slice, y, x].

    Of as many slices as rows, [y, x] is taken for one mask of all and not for a line of each.

    Raises:
        ValueError: If it has another shape, is no number or not finite: NaN could mean either; or if it has several
            values beside 0, as weights have.
    """
    if values.dtype.kind not in "biufc" or not np.isfinite(values).all():
        what = f"{values.dtype} {values.shape}"
        raise ValueError(f"{path}: mask must hold numbers, none of them NaN or infinite: got {what}")
    y, x = matrix
    filled = torch.from_numpy(np.asarray(values != 0))
    acquired = values[values != 0]
    others = acquired[acquired != acquired[:1]]
    if others.size:
        raise ValueError(f"{path}: mask must hold 0 and one other value: got {acquired[0]} and {others[0]}")
    for n in (1, n_slices):  # one of all before one of each
        of_columns = values.shape[-1:] == (x,) or (n == 1 and x in values.shape)
        if values.size == n * x and of_columns:
            return one_if_equal(filled.reshape(n, 1, x).expand(n, y, x)).clone()
        if values.size == n * y * x and values.shape[-2:] == (y, x):
            return one_if_equal(filled.reshape(n, y, x)).clone()
    raise ValueError(f"{path}: mask and kspace must agree on (y, x): got mask {values.shape} and kspace {matrix}")


def _as_array(values: np.ndarray | Tensor) -> np.ndarray:
    """Return an array of what may be a tensor with gradients, of conjugate numbers, or of another device."""
    return values.numpy(force=True) if isinstance(values, Tensor) else np.asarray(values)


def _central_share(values: Tensor) -> float:
    """Return the share of the energy in the middle eighth of y and x."""
    energy = values.abs().square().sum(dim=0)
    middle = [slice(n // 2 - max(1, n // (2 * CENTRE)), n // 2 + max(1, n // (2 * CENTRE)) + 1) for n in energy.shape]
    return float(energy[middle[0], middle[1]].sum() / energy.sum())


def _extent(line: Tensor) -> int:
    where = torch.nonzero(line)
    return int(where[-1] - where[0]) + 1
