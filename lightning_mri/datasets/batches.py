"""What the loaders yield: batches of images to train on, and slices of one scan to reconstruct together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.io.failures import Failure
from lightning_mri.io.scan import Scan
from lightning_mri.physics import GaussianLikelihood, achieved_acceleration

UNKNOWN_CONTRAST = "other"

S = TypeVar("S", bound="Slices")


class LabelledImage(NamedTuple):
    """One image, in image units, the name of its contrast, the size (y, x) without zeros around it, and of a pixel."""

    image: Complex[Tensor, "y x"]
    contrast: str
    inside: tuple[int, int]
    pixel_size: tuple[float, float] | None = None


class ImageBatch(NamedTuple):
    """Images [batch, y, x], in image units, the names of their contrasts, and where the images are.

    Smaller images have zeros around them, which are no image: ``support`` is False there, and a loss must not
    count them. It is None where nothing was padded. ``pixel_sizes`` are those (y, x) of each image in mm, as stored
    before any exchange of axes; None where they are not all known.
    """

    image: Complex[Tensor, "batch y x"]
    contrast: tuple[str, ...]
    support: Bool[Tensor, "batch y x"] | None = None
    pixel_sizes: tuple[tuple[float, float], ...] | None = None


def check_images(batch: Any, data: Any, method: str) -> None:
    """Make sure that a loader of somebody's data module yields what a prior is trained and validated on.

    Raises:
        ValueError: If it does not.
    """
    is_batch = isinstance(batch, ImageBatch)
    if is_batch and batch.image.is_complex() and batch.image.ndim == 3 and len(batch.contrast) == len(batch.image):
        return
    got = type(batch).__name__
    if is_batch:
        got += f" of {batch.image.dtype} {[*batch.image.shape]} and {len(batch.contrast)} contrasts"
    raise ValueError(
        f"{type(data).__name__}.{method} must yield ImageBatch, complex images [batch, y, x] and a contrast of each:"
        f" got {got}"
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Slices:
    """Slices of one scan, and what its file says of it.

    Args:
        scan: Name of the scan.
        source: File it came from.
        slices: Which slices of the scan these are.
        n_slices: How many the scan has.
        contrast: Name of the contrast, None if it is not known.
        reconstruction_size: Matrix (y, x) of the finished image.
        reference: Image [slice, y, x] of the fully sampled scan, to compare with.
        lesions: Where its lesions are, if that is known.
        subject: Who was scanned.
        pixel_size: Size of a pixel (y, x) in mm, if known.
        slice_spacing: Distance between the centres of slices in mm, if known.
        affine: As in `Scan`.
        n_volumes: As in `Scan`.
        magnitude_only: As in `Scan`.
        warnings: What had to be guessed about the scan, one sentence each.
    """

    scan: str
    source: str
    slices: tuple[int, ...]
    n_slices: int
    contrast: str | None
    reconstruction_size: tuple[int, int]
    reference: Complex[Tensor, "slice y x"] | None = None
    lesions: Bool[Tensor, "slice y x"] | None = None
    subject: str = ""
    pixel_size: tuple[float, float] | None = None
    slice_spacing: float | None = None
    affine: Float[Tensor, "4 4"] | None = None
    n_volumes: int = 1
    magnitude_only: bool = False
    warnings: tuple[str, ...] = ()

    per_slice: ClassVar[tuple[str, ...]] = ("reference", "lesions")

    @classmethod
    def of(cls: type[S], scan: Scan, part: tuple[int, ...], **measurement: Any) -> S:
        """Return slices of a scan, given what was measured of them."""
        names = ("n_slices", "contrast", "reconstruction_size", "subject", "pixel_size", "slice_spacing", "affine")
        passed = {name: getattr(scan, name) for name in (*names, "n_volumes", "magnitude_only", "warnings")}
        return cls(scan=scan.name, source=str(scan.source), slices=part, **passed, **measurement)

    def to(self: S, device: torch.device | str) -> S:
        """Return the batch with what is computed with on another device."""
        return replace(self, **{name: part.to(device) for name, part in self._parts().items()})

    def _parts(self) -> dict[str, Any]:
        """Return what there is for each slice to compute with."""
        found = {name: getattr(self, name) for name in self.per_slice}
        return {name: part for name, part in found.items() if part is not None}

    def split(self: S) -> list[S]:
        """Return batches whose slices share one mask: usually the batch itself."""
        return [self]

    def rows(self: S, rows: Sequence[int]) -> S:
        """Return some of the slices, by their places in the batch."""
        parts = {name: part for name, part in self._parts().items() if name != "mask" or len(part) > 1}
        chosen = {name: part.rows([*rows]) if name == "likelihood" else part[[*rows]] for name, part in parts.items()}
        return replace(self, slices=tuple(self.slices[row] for row in rows), **chosen)


@dataclass(frozen=True, eq=False, kw_only=True)
class SliceBatch(Slices):
    """Consecutive slices of one scan, as measured by one or many coils.

    Args:
        kspace: Measured k-space in the file's units, zero where not acquired.
        mask: Acquired samples: one mask, or one of each slice where they differ.
        acceleration: Nominal acceleration of a simulated mask, None for a mask as found.
        noise_covariance: Covariance of the coils' noise, E eta eta^H / 2, where there was a noise scan.
        calibration: K-space of lines measured apart for the coil maps alone, if any.
    """

    kspace: Complex[Tensor, "slice coil v u"]
    mask: Bool[Tensor, "_masks v u"]
    acceleration: float | None = None
    noise_covariance: Complex[Tensor, "_coil _coil"] | None = None
    calibration: Complex[Tensor, "slice coil v u"] | None = None

    per_slice: ClassVar[tuple[str, ...]] = (*Slices.per_slice, "kspace", "mask", "calibration")

    def split(self) -> list["SliceBatch"]:
        """Return batches whose slices share one mask: usually the batch itself."""
        if len(self.mask) == 1:
            return [self]
        starts = [i for i in range(len(self.mask)) if i == 0 or not self.mask[i].equal(self.mask[i - 1])]
        parts = [self.rows(range(*ends)) for ends in pairwise([*starts, len(self.mask)])]
        return [replace(part, mask=part.mask[:1]) for part in parts]


@dataclass(frozen=True, eq=False, kw_only=True)
class LowFieldBatch(Slices):
    """Slices of one scan with what is known of the scanner that measured them, at low field or by another operator.

    Args:
        likelihood: Measurement, operator and noise level, in units of the reference where there is one.
    """

    likelihood: GaussianLikelihood

    per_slice: ClassVar[tuple[str, ...]] = (*Slices.per_slice, "likelihood")

    @property
    def kspace(self) -> Complex[Tensor, "slice 1 y x"]:
        """The measurement."""
        return self.likelihood.y

    @property
    def mask(self) -> Bool[Tensor, "slice 1 y x"]:
        """Acquired samples of each slice."""
        return self.likelihood.acquired

    @property
    def acceleration(self) -> float:
        """Achieved acceleration."""
        return achieved_acceleration(self.mask)


@dataclass(frozen=True)
class Failed(Failure):
    """Slices that cannot be reconstructed, in place of their batch.

    Args:
        scan: Name of the scan.
        slices: Which slices of the scan these are.
        n_slices: How many the scan has.
    """

    scan: str = ""
    slices: tuple[int, ...] = ()
    n_slices: int = 0

    @classmethod
    def by(
        cls, error: Exception, scan: str, source: Path | str, slices: tuple[int, ...] = (), n_slices: int = 0
    ) -> "Failed":
        """Return what failed by an error."""
        failure = Failure.of(source, error)
        return cls(failure.source, failure.reason, failure.traceback, scan, slices, n_slices)

    def to(self, device: torch.device | str) -> "Failed":
        """Return itself: there is nothing to move."""
        return self
