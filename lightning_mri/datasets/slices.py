"""Slices to reconstruct, a few of one scan at a time: as measured, undersampled, or degraded to low field."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Complex
from torch import Tensor
from torch.utils.data import Dataset

from lightning_mri.datasets.batches import Failed, LowFieldBatch, SliceBatch
from lightning_mri.datasets.cache import CacheEntry, ImageCache
from lightning_mri.datasets.images import ImageDataset
from lightning_mri.io.scan import Scan, acquired, is_fully_sampled
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import SamplingPattern
from lightning_mri.physics.combination import combine
from lightning_mri.physics.low_field import LowField, ModelMismatch, Volume
from lightning_mri.tensors import derive_seed


def measured(scan: Scan, part: tuple[int, ...]) -> SliceBatch:
    """Return slices of a scan as they were measured."""
    mask = scan.mask_of(part)
    return _batch(scan, part, torch.where(mask[:, None], scan.kspace.with_gaps(part), 0), mask)


class Batches(Dataset[Any]):
    """Batches that are made when they are asked for, ``make(*item)`` of each item.

    Attributes:
        costs: What each batch costs to reconstruct, relative to the others, see `scan_loader`.
    """

    def __init__(self, items: Sequence[tuple[Any, ...]], make: Callable[..., Any], costs: Sequence[int]) -> None:
        self.items, self.make, self.costs = items, make, costs

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        """Make one batch."""
        return self.make(*self.items[index])


class ScanDataset(Batches):
    """Scans as they were measured, ``batch_size`` consecutive slices of one scan at a time.

    The composition of a batch depends on the scan and ``batch_size`` alone, not on the number of processes.
    The mask of every scan is found when the first of its batches is read, and kept until another scan is read. Slices
    that cannot be read come as `Failed`, so that they stop no other scan.

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
        items = [(scan, part) for scan in scans for part in slice_groups(scan.n_slices, batch_size)]
        super().__init__(items, make, [len(part) * math.prod(scan.matrix) for scan, part in items])
        self.last: Scan | None = None

    def __getitem__(self, index: int) -> Any:
        """Read the slices of one batch."""
        scan, part = self.items[index]
        if self.last is not None and self.last is not scan:
            self.last.forget_mask()
        self.last = scan
        try:
            batch = super().__getitem__(index)
            if not isinstance(batch, SliceBatch | LowFieldBatch):
                kind = type(batch).__name__
                raise ValueError(f"{scan.source}: reading must make SliceBatch or LowFieldBatch: got {kind}")
            return batch
        except Exception as error:
            return Failed.by(error, scan.name, str(scan.source), part, scan.n_slices)


class UndersampledDataset(Batches):
    """Fully sampled scans, each undersampled at each acceleration, with the reference to compare with.

    The mask follows from the scan's name and the acceleration, and is the same for all its slices. Samples
    that the mask leaves out are zero before anything else sees them. The reference is the coil-combined image
    of the fully sampled scan (`combine`), with maps from its own calibration lines.

    Args:
        scans: Fully sampled scans.
        batch_size: Number of slices that are reconstructed together.
        pattern: Sampling pattern; its acceleration is replaced by each of ``accelerations``.
        accelerations: Nominal accelerations.

    Raises:
        ValueError: If a scan's matrix has no room for one of them.
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        batch_size: int,
        pattern: SamplingPattern,
        accelerations: Sequence[float],
    ) -> None:
        for scan in {scan.matrix: scan for scan in scans}.values():
            check_accelerations(scan, pattern, accelerations)
        items = [
            (scan, part, pattern, acceleration)
            for scan in scans
            for acceleration in accelerations
            for part in slice_groups(scan.n_slices, batch_size)
        ]
        super().__init__(items, undersample, [len(part) * math.prod(scan.matrix) for scan, part, _, _ in items])


def items_of(loader: Any, data: Any) -> Sequence[tuple[Any, ...]]:
    """Return scan and slices of each batch of a loader."""
    dataset = getattr(loader, "dataset", None)
    if not isinstance(dataset, Batches):
        kind = type(loader if dataset is None else dataset).__name__
        raise ValueError(
            f"{type(data).__name__} must load an UndersampledDataset or other Batches of scans: got {kind}"
        )
    return dataset.items


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
    kspace = scan.kspace.with_gaps(part)
    found = (acquired(kspace) if scan.stored_mask is None else scan.mask_of(part)).all(0, keepdim=True)
    if not is_fully_sampled(found):
        raise ValueError(
            f"{scan.source}: kspace must be fully sampled to have a reference:"
            f" got {int(found.sum())} of {found.numel()} samples"
        )
    mask = simulated_mask(pattern, scan.name, scan.matrix, acceleration) & found
    finite = kspace.isfinite().flatten(1).all(1)[:, None, None, None]  # what has no reference cannot be tested on
    measured = torch.where(mask[:, None], torch.where(finite, kspace, torch.nan), 0)
    batch = _batch(scan, part, measured, mask)
    reference = combine(
        torch.where(finite, kspace, 0), scan.reconstruction_size, noise_covariance=scan.noise_covariance
    )
    lesions = None if scan.lesions is None else scan.lesions[list(part)] != 0
    return replace(batch, acceleration=float(acceleration), reference=reference, lesions=lesions)


def undersampled_slice(
    image: Complex[Tensor, "y x"],
    name: str,
    contrast: str,
    pattern: SamplingPattern,
    scanner: Scanner,
    pixel_size: tuple[float, float],
) -> SliceBatch:
    """Scan one image with a simulated array and undersample it; the fully sampled scan is the reference."""
    kspace = scanner.measure(image[None], derive_seed("scan", name), pixel_size)
    matrix, size = (kspace.shape[-2], kspace.shape[-1]), (image.shape[-2], image.shape[-1])
    mask = simulated_mask(pattern, name, matrix, pattern.acceleration)
    return SliceBatch(
        scan=name,
        source="synthetic",
        slices=(0,),
        n_slices=1,
        kspace=torch.where(mask, kspace, 0),
        mask=mask,
        contrast=contrast,
        reconstruction_size=size,
        reference=combine(kspace, size),
        acceleration=pattern.acceleration,
        subject=name,
        pixel_size=pixel_size,
    )


class LowFieldDataset(Batches):
    """High-field images of a cache, degraded, ``batch_size`` consecutive slices of one subject at a time.

    A slice's noise follows from its subject and position, and the B0 field from the subject: the same in every
    run, and the same noise in every regime.

    Args:
        cache: Where the images are.
        entries: Subjects to scan.
        crop: Matrix (y, x).
        degradation: The scanner, in mm and seconds; its own ``pixel_size`` counts where an image has none.
        batch_size: Number of slices that are reconstructed together.
        mismatch: What the reconstruction gets wrong about the scanner; nothing if not given.
    """

    def __init__(
        self,
        cache: ImageCache,
        entries: Sequence[CacheEntry],
        crop: tuple[int, int],
        degradation: LowField,
        batch_size: int,
        mismatch: ModelMismatch | None = None,
    ) -> None:
        self.crop, self.degradation, self.mismatch = crop, degradation, mismatch
        scans = [ImageDataset(cache, [entry], crop) for entry in entries]
        items = [(images, part) for images in scans for part in slice_groups(len(images), batch_size)]
        super().__init__(items, self._degraded, [len(part) for _, part in items])

    def _degraded(self, images: ImageDataset, part: tuple[int, ...]) -> LowFieldBatch:
        entry = images.slices[part[0]][0]
        planes = [images.slices[i][1] for i in part]
        reference = torch.stack([entry.scales[k] * images[i].image for i, k in zip(part, planes, strict=True)])
        seeds = [derive_seed("low-field", entry.name, k) for k in planes]
        last = max(entry.shape[0] - 1, 1)
        volume = Volume(derive_seed("low-field", entry.name), tuple(2 * k / last - 1 for k in planes))
        pixel_size = entry.pixel_size or (self.degradation.pixel_size,) * 2
        measured = (seeds, volume, [pixel_size] * len(part))
        likelihood = self.degradation.degrade(reference, *measured)
        if self.mismatch is not None:
            likelihood = self.mismatch.apply(likelihood, self.degradation, *measured)
        return LowFieldBatch(
            scan=entry.name,
            source=entry.source,
            slices=part,
            n_slices=len(images),
            likelihood=likelihood,
            reconstruction_size=self.crop,
            reference=reference,
            contrast=entry.contrasts[planes[0]],
            subject=entry.subject,
            pixel_size=pixel_size,
            warnings=entry.problems,
        )


def slice_groups(n_slices: int, batch_size: int) -> list[tuple[int, ...]]:
    """Return the slices of a scan in groups of ``batch_size``, the last one perhaps smaller."""
    return [tuple(range(start, min(start + batch_size, n_slices))) for start in range(0, n_slices, batch_size)]


def simulated_mask(
    pattern: SamplingPattern, scan: str, matrix: tuple[int, int], acceleration: float
) -> Bool[Tensor, "1 y x"]:
    """Draw the mask of a scan at an acceleration; the same for every slice, in every process and run.

    Raises:
        ValueError: If the matrix has no room for it.
    """
    try:
        return replace(pattern, acceleration=acceleration).draw(matrix, derive_seed("mask", scan, f"{acceleration:g}"))
    except ValueError as error:
        size = " x ".join(map(str, matrix))
        raise ValueError(f"{scan}: data.pattern must fit its k-space of {size}: {error}") from error


def check_accelerations(scan: Scan, pattern: SamplingPattern, accelerations: Sequence[float]) -> None:
    """Refuse accelerations that the matrix of a scan has no room for, before any of them is computed."""
    for acceleration in accelerations:
        simulated_mask(pattern, scan.name, scan.matrix, acceleration)


def _batch(scan: Scan, part: tuple[int, ...], kspace: Tensor, mask: Tensor) -> SliceBatch:
    return SliceBatch.of(
        scan,
        part,
        kspace=kspace,
        mask=mask,
        noise_covariance=scan.noise_covariance,
        calibration=None if scan.calibration is None else scan.calibration[list(part)],
    )
