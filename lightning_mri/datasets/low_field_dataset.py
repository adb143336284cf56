"""What DataLoaders yield of low-field scans: batches of slices, measured or simulated from a cache of images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor
from torch.utils.data import Dataset

from lightning_mri.datasets.cache import CacheEntry, ImageCache
from lightning_mri.datasets.datasets import ImageDataset, slice_groups
from lightning_mri.physics import GaussianLikelihood, achieved_acceleration
from lightning_mri.physics.low_field import LowField, ModelMismatch, Volume, mask_of
from lightning_mri.tensors import derive_seed


@dataclass(frozen=True, eq=False)
class LowFieldBatch:
    """Slices of one subject as a low-field scanner measured them, simulated with what was there.

    Args:
        scan: Name of the scan.
        source: Where its images come from.
        slices: Which of the scan's slices that show something these are.
        n_slices: How many of them the scan has.
        likelihood: Measurement, operator and noise level, in units of the reference where there is one.
        reference: The high-field images, where a scan was simulated.
        contrast: Name of the contrast.
        subject: Who was scanned.
        pixel_size: Size of a pixel (y, x) in mm.
        warnings: What is doubtful about it, one sentence each.
        slice_spacing: Distance between the centres of slices in mm, if known.
        affine: As in `Scan`.
        n_volumes: As in `Scan`.
        magnitude_only: As in `Scan`.
    """

    scan: str
    source: str
    slices: tuple[int, ...]
    n_slices: int
    likelihood: GaussianLikelihood
    reference: Complex[Tensor, "slice y x"] | None
    contrast: str | None
    subject: str
    pixel_size: tuple[float, float] | None
    warnings: tuple[str, ...] = ()
    slice_spacing: float | None = None
    affine: Float[Tensor, "4 4"] | None = None
    n_volumes: int = 1
    magnitude_only: bool = False

    @property
    def kspace(self) -> Complex[Tensor, "slice 1 y x"]:
        """The measurement."""
        return self.likelihood.y

    @property
    def mask(self) -> Bool[Tensor, "slice 1 y x"]:
        """Acquired samples of each slice."""
        return mask_of(self.likelihood.A)

    @property
    def acceleration(self) -> float:
        """Nominal acceleration."""
        return achieved_acceleration(self.mask)

    @property
    def reconstruction_size(self) -> tuple[int, int]:
        """Matrix (y, x) of the finished image."""
        return self.likelihood.y.shape[-2], self.likelihood.y.shape[-1]

    def to(self, device: torch.device | str, **options: Any) -> "LowFieldBatch":
        """Return the batch with its tensors on another device."""
        reference = None if self.reference is None else self.reference.to(device, **options)
        return replace(self, likelihood=self.likelihood.to(device), reference=reference)


class LowFieldDataset(Dataset[LowFieldBatch]):
    """High-field images of a cache, degraded, ``batch_size`` consecutive slices of one subject at a time.

    A slice's noise follows from its subject and position, and the B0 field from the subject: the same in every
    run, and the same noise in every regime.

    Args:
        cache: Where the images are.
        entries: Subjects to scan.
        crop: Matrix (y, x).
        degradation: The scanner.
        batch_size: Number of slices that are reconstructed together.
        misjudged: What the reconstruction gets wrong about the scanner; nothing if not given.
    """

    def __init__(
        self,
        cache: ImageCache,
        entries: Sequence[CacheEntry],
        crop: tuple[int, int],
        degradation: LowField,
        batch_size: int,
        misjudged: ModelMismatch | None = None,
    ) -> None:
        self.degradation, self.misjudged = degradation, misjudged
        scans = [ImageDataset(cache, [entry], crop) for entry in entries]
        self.items = [(images, part) for images in scans for part in slice_groups(len(images), batch_size)]

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.items)

    def __getitem__(self, index: int) -> LowFieldBatch:
        """Read and degrade the slices of one batch."""
        images, part = self.items[index]
        entry = images.slices[part[0]][0]
        planes = [images.slices[i][1] for i in part]
        reference = torch.stack([entry.scales[k] * images[i].image for i, k in zip(part, planes, strict=True)])
        seeds = [derive_seed("low-field", entry.name, k) for k in planes]
        last = max(entry.shape[0] - 1, 1)
        volume = Volume(derive_seed("low-field", entry.name), tuple(2 * k / last - 1 for k in planes))
        likelihood = self.degradation.degrade(reference, seeds, volume)
        if self.misjudged is not None:
            likelihood = self.misjudged.judge(likelihood, self.degradation, seeds, volume)
        return LowFieldBatch(
            scan=entry.name,
            source=entry.source,
            slices=part,
            n_slices=len(images),
            likelihood=likelihood,
            reference=reference,
            contrast=entry.contrasts[planes[0]],
            subject=entry.subject,
            pixel_size=(self.degradation.pixel_size,) * 2,
            warnings=entry.problems,
        )
