"""What the DataLoaders yield: batches of images to train on, and batches of slices to reconstruct."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_mri.datasets.augmentation import Augmentation
from lightning_mri.datasets.cache import CacheEntry, ImageCache
from lightning_mri.datasets.loading import ResumableLoader, run_seed
from lightning_mri.io.scan import Scan, acquired, is_fully_sampled
from lightning_mri.physics import SamplingPattern
from lightning_mri.physics.combine import combine
from lightning_mri.tensors import centre_crop, centre_pad, derive_seed

UNKNOWN_CONTRAST = "other"
EMPTY = 0.1
"""A slice whose scale is below this part of its scan's largest shows air, and is not trained on."""


class LabelledImage(NamedTuple):
    """One image, in image units, the name of its contrast, and the size (y, x) without zeros around it."""

    image: Complex[Tensor, "y x"]
    contrast: str
    inside: tuple[int, int]


class ImageBatch(NamedTuple):
    """Images [batch, y, x], in image units, the names of their contrasts, and where the images are.

    Smaller images have zeros around them, which are no image: ``support`` is False there, and a loss must not
    count them. It is None where nothing was padded.
    """

    image: Complex[Tensor, "batch y x"]
    contrast: tuple[str, ...]
    support: Bool[Tensor, "batch y x"] | None = None


class ImageDataset(Dataset[LabelledImage]):
    """Images of a cache, cut or padded to one size; without one, each at its own.

    Args:
        cache: Where the images are.
        entries: Scans to take slices from.
        crop: Size (y, x); larger images are cut, smaller ones get zeros around them. None keeps every image whole.
        augmentation: Random changes; with them the cut is anywhere, without it is central.
    """

    def __init__(
        self,
        cache: ImageCache,
        entries: Sequence[CacheEntry],
        crop: tuple[int, int] | None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.cache, self.crop, self.augmentation = cache, crop, augmentation
        self.slices = [
            (entry, index)
            for entry in entries
            for index, scale in enumerate(entry.scales)
            if scale > 0 and scale >= EMPTY * max(entry.scales)
        ]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.slices)

    def __getitem__(self, index: int) -> LabelledImage:
        """Read one image; augmentation draws from the global random source, which `ResumableLoader` seeds."""
        entry, position = self.slices[index]
        image = self.cache.read(entry, position)
        if self.augmentation is not None:
            image = self.augmentation(image, size=self.crop)
        elif self.crop is not None:
            image = centre_crop(image, (min(image.shape[0], self.crop[0]), min(image.shape[1], self.crop[1])))
        inside = (image.shape[0], image.shape[1])
        return LabelledImage(_pad(image, self.crop or inside), self.contrast(index), inside)

    def contrast(self, index: int) -> str:
        """Return the contrast of an image."""
        entry, position = self.slices[index]
        return entry.contrasts[position] or UNKNOWN_CONTRAST


def image_loader(
    dataset: Dataset[LabelledImage], batch_size: int, n_workers: int = 0, shuffle: bool = False
) -> DataLoader[LabelledImage]:
    """Return a loader of `ImageBatch`; when shuffled, a last smaller batch is left out unless it is alone.

    The shuffled one is a `ResumableLoader`: order and augmentation follow from the seed of the run.
    """
    loading: dict[str, Any] = {
        "num_workers": n_workers,
        "collate_fn": _stack,
        "pin_memory": torch.cuda.is_available(),
        "persistent_workers": n_workers > 0,
    }
    if shuffle:
        return ResumableLoader(dataset, batch_size, run_seed(), **loading)
    return DataLoader(dataset, batch_size, **loading)


@dataclass(frozen=True, eq=False)
class SliceBatch:
    """Consecutive slices of one scan, as measured, to be reconstructed together.

    Args:
        scan: Name of the scan.
        source: File it came from.
        slices: Which slices of the scan these are.
        n_slices: How many the scan has.
        kspace: Measured k-space in the file's units, zero where not acquired.
        mask: Acquired samples.
        contrast: Name of the contrast, None if it is not known.
        reconstruction_size: Matrix (y, x) of the finished image.
        reference: Image [slice, y, x] of the fully sampled scan at that matrix, to compare with.
        acceleration: Nominal acceleration of a simulated mask, None for a mask as found.
        subject: Who was scanned.
        pixel_size: Size of a pixel (y, x) in mm, if known.
        slice_spacing: Distance between slices in mm, if known.
        affine: Takes indices (x, y, slice, 1) of the scan's finished image to RAS+ coordinates in mm, if known.
        n_volumes: Volumes that follow each other along the scan's slices.
        noise_covariance: Covariance of the coils' noise, E eta eta^H / 2, where a noise scan told it.
        magnitude_only: Whether k-space was computed from magnitude images.
        warnings: What had to be guessed about the scan.
    """

    scan: str
    source: str
    slices: tuple[int, ...]
    n_slices: int
    kspace: Complex[Tensor, "slice coil v u"]
    mask: Bool[Tensor, "1 v u"]
    contrast: str | None
    reconstruction_size: tuple[int, int]
    reference: Complex[Tensor, "slice y x"] | None = None
    acceleration: float | None = None
    subject: str = ""
    pixel_size: tuple[float, float] | None = None
    slice_spacing: float | None = None
    affine: Float[Tensor, "4 4"] | None = None
    n_volumes: int = 1
    noise_covariance: Complex[Tensor, "_coil _coil"] | None = None
    magnitude_only: bool = False
    warnings: tuple[str, ...] = ()

    def to(self, device: torch.device | str, **options: Any) -> "SliceBatch":
        """Return the batch with its tensors on another device."""
        reference = None if self.reference is None else self.reference.to(device, **options)
        kspace, mask = self.kspace.to(device, **options), self.mask.to(device, **options)
        return replace(self, kspace=kspace, mask=mask, reference=reference)


@dataclass(frozen=True)
class Failed:
    """Slices that cannot be reconstructed: it stands where their batch, or what came of it, would.

    Args:
        scan: Name of the scan.
        source: File it came from.
        slices: Which slices of the scan these are.
        n_slices: How many the scan has.
        reason: One sentence that names the file.
    """

    scan: str
    source: str
    slices: tuple[int, ...]
    n_slices: int
    reason: str

    def to(self, device: torch.device | str, **options: Any) -> "Failed":
        """Return itself: there is nothing to move."""
        return self


def measured(scan: Scan, part: tuple[int, ...]) -> SliceBatch:
    """Return slices of a scan as they were measured.

    Args:
        scan: The scan.
        part: Slices to read.
    """
    return _batch(scan, part, torch.where(scan.mask, scan.kspace[part], 0), scan.mask)


class ScanDataset(Dataset[Any]):
    """Scans as they were measured, ``batch_size`` consecutive slices of one scan at a time.

    The composition of a batch depends on the scan and ``batch_size`` alone, not on the number of processes.
    The mask of every scan is found when the first of its batches is read. Slices that cannot be read come as
    `Failed`, so that they stop no other scan.

    Args:
        scans: Scans to reconstruct.
        batch_size: Number of slices that are reconstructed together.
        make: Reads slices of a scan and makes a batch of them; it may refuse them with a `ValueError`.
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        batch_size: int,
        make: Callable[[Scan, tuple[int, ...]], Any] = measured,
    ) -> None:
        self.make = make
        self.items = [(scan, part) for scan in scans for part in slice_groups(scan.n_slices, batch_size)]

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        """Read the slices of one batch."""
        scan, part = self.items[index]
        try:
            return self.make(scan, part)
        except (ValueError, OSError) as error:
            return Failed(scan.name, str(scan.source), part, scan.n_slices, str(error))


class UndersampledDataset(Dataset[SliceBatch]):
    """Fully sampled scans, each undersampled at each acceleration, with the reference to compare with.

    The mask follows from the scan's name and the acceleration, and is the same for all its slices. Samples
    that the mask leaves out are zero before anything else sees them. The reference is the coil-combined image
    of the fully sampled scan (`combine`), with maps from its own calibration lines.

    Args:
        scans: Fully sampled scans.
        batch_size: Number of slices that are reconstructed together.
        pattern: Sampling pattern; its acceleration is replaced by each of ``accelerations``.
        accelerations: Nominal accelerations.
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        batch_size: int,
        pattern: SamplingPattern,
        accelerations: Sequence[float],
    ) -> None:
        self.pattern = pattern
        self.items = [
            (scan, part, acceleration)
            for scan in scans
            for acceleration in accelerations
            for part in slice_groups(scan.n_slices, batch_size)
        ]

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.items)

    def __getitem__(self, index: int) -> SliceBatch:
        """Read the slices of one batch, and undersample them."""
        scan, part, acceleration = self.items[index]
        return undersample(scan, part, self.pattern, acceleration)


def undersample(scan: Scan, part: tuple[int, ...], pattern: SamplingPattern, acceleration: float) -> SliceBatch:
    """Return slices of a fully sampled scan as if it had been accelerated, with their reference.

    Args:
        scan: Fully sampled scan.
        part: Slices to read.
        pattern: Sampling pattern.
        acceleration: Nominal acceleration that replaces the pattern's.

    Raises:
        ValueError: If the scan is not fully sampled.
    """
    kspace = scan.kspace[part]
    found = acquired(kspace) if scan.stored_mask is None else scan.stored_mask
    if not is_fully_sampled(found):
        raise ValueError(
            f"{scan.source}: kspace must be fully sampled to have a reference:"
            f" got {int(found.sum())} of {found.numel()} samples"
        )
    mask = simulated_mask(pattern, scan.name, scan.matrix, acceleration) & found
    batch = _batch(scan, part, torch.where(mask, kspace, 0), mask)
    reference = combine(kspace, scan.reconstruction_size, noise_covariance=scan.noise_covariance)
    return replace(batch, acceleration=float(acceleration), reference=reference)


def slice_groups(n_slices: int, batch_size: int) -> list[tuple[int, ...]]:
    """Return the slices of a scan in groups of ``batch_size``, the last one perhaps smaller."""
    return [tuple(range(start, min(start + batch_size, n_slices))) for start in range(0, n_slices, batch_size)]


def simulated_mask(
    pattern: SamplingPattern, scan: str, matrix: tuple[int, int], acceleration: float
) -> Bool[Tensor, "1 y x"]:
    """Draw the mask of a scan at an acceleration; the same for every slice, in every process and run."""
    return replace(pattern, acceleration=acceleration).draw(matrix, derive_seed("mask", scan, f"{acceleration:g}"))


def scan_loader(dataset: Dataset[Any], n_workers: int = 0) -> DataLoader[Any]:
    """Return a loader that yields the batches of a dataset as they are."""
    return DataLoader(dataset, batch_size=None, num_workers=n_workers)


def check_names(scans: Sequence[Scan]) -> None:
    """Refuse scans whose results would overwrite each other.

    Raises:
        ValueError: If two files have the same stem.
    """
    seen: dict[str, Path] = {}
    for scan in scans:
        if scan.name in seen:
            raise ValueError(
                f"{scan.source}: the file's stem must be unique, since results are named after it:"
                f" {seen[scan.name]} has the same"
            )
        seen[scan.name] = scan.source


def _batch(scan: Scan, part: tuple[int, ...], kspace: Tensor, mask: Tensor) -> SliceBatch:
    return SliceBatch(
        **header_of(scan, part),
        kspace=kspace,
        mask=mask,
        reconstruction_size=scan.reconstruction_size,
        noise_covariance=scan.noise_covariance,
    )


def header_of(scan: Scan, part: tuple[int, ...]) -> dict[str, Any]:
    """Return what every batch of measured slices passes on about its scan."""
    names = ("n_slices", "contrast", "subject", "pixel_size", "slice_spacing", "affine", "n_volumes")
    passed = {name: getattr(scan, name) for name in (*names, "magnitude_only", "warnings")}
    return {"scan": scan.name, "source": str(scan.source), "slices": part, **passed}


def _stack(images: Sequence[LabelledImage]) -> ImageBatch:
    """Batch images, with zeros around those that are smaller than the largest."""
    rows, columns = zip(*(one.image.shape for one in images), strict=True)
    size = (max(rows), max(columns))
    batch, contrast = torch.stack([_pad(one.image, size) for one in images]), tuple(one.contrast for one in images)
    if all(one.inside == size for one in images):
        return ImageBatch(batch, contrast)
    return ImageBatch(batch, contrast, torch.stack([_pad(torch.ones(one.inside) > 0, size) for one in images]))


def _pad(image: Tensor, size: tuple[int, int]) -> Tensor:
    return image if tuple(image.shape) == size else centre_pad(image, size)
