"""Images of a cache to train on: read one at a time, or kept in the memory of the device that trains."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Complex, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_mri.datasets.augmentation import Augmentation
from lightning_mri.datasets.batches import UNKNOWN_CONTRAST, ImageBatch, LabelledImage
from lightning_mri.datasets.cache import CacheEntry, ImageCache
from lightning_mri.datasets.loading import MakesBatches, ResumableLoader, WholeBatches, run_seed
from lightning_mri.tensors import centre_crop, centre_pad

EMPTY = 0.1
"""A slice whose scale is below this part of its scan's largest shows air, and is not trained on."""


def filled_slices(entry: CacheEntry) -> list[int]:
    """Return the slices of a scan that show more than air."""
    least = EMPTY * max(entry.scales, default=0)
    return [index for index, scale in enumerate(entry.scales) if scale > 0 and scale >= least]


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
        self.slices = [(entry, index) for entry in entries for index in filled_slices(entry)]

    def __len__(self) -> int:
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
        return LabelledImage(centre_pad(image, self.crop or inside), self.contrast(index), inside, entry.pixel_size)

    def contrast(self, index: int) -> str:
        """Return the contrast of an image."""
        entry, position = self.slices[index]
        return entry.contrasts[position] or UNKNOWN_CONTRAST


class ResidentImages(ImageDataset, MakesBatches):
    """An `ImageDataset` whose images are read once, and changed and cut on a device, a batch at a time.

    A GPU trains on small images faster than processes hand them over. 10,000 images of 144 x 144 take 1.7 GB.
    """

    def __init__(
        self,
        cache: ImageCache,
        entries: Sequence[CacheEntry],
        crop: tuple[int, int],
        augmentation: Augmentation,
        device: torch.device,
    ) -> None:
        super().__init__(cache, entries, crop, augmentation)
        for entry, _ in self.slices:
            if entry.shape[1] < crop[0] or entry.shape[2] < crop[1]:
                raise ValueError(
                    f"crop must not exceed the images where they are resident: got {tuple(crop)} for {entry.name} of"
                    f" {entry.shape[1:]}"
                )
        self.inside: Int[Tensor, "image 2"] = torch.tensor([entry.shape[1:] for entry, _ in self.slices])
        rows, columns = self.inside.amax(0).tolist()
        self.images: Complex[Tensor, "image y x"] = torch.zeros(
            len(self.slices), rows, columns, dtype=torch.complex64, device=device
        )
        for number, (entry, index) in enumerate(self.slices):
            self.images[number, : entry.shape[1], : entry.shape[2]] = cache.read(entry, index).to(device)

    def batch(self, indices: Sequence[int]) -> ImageBatch:
        """Return a changed part of each of these images; draws from the global random source of the CPU."""
        assert self.augmentation is not None
        assert self.crop is not None
        images = self.images[torch.tensor(indices, device=self.images.device)]
        parts = self.augmentation.batch(images, self.inside[indices], self.crop)
        sizes = _all_known([self.slices[index][0].pixel_size for index in indices])
        return ImageBatch(parts, tuple(self.contrast(index) for index in indices), None, sizes)


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
    return DataLoader(dataset, batch_size, sampler=WholeBatches(dataset, batch_size), **loading)


def resident_loader(dataset: ResidentImages, batch_size: int, seed: int) -> ResumableLoader[LabelledImage]:
    """Return a loader that hands over the dataset's batches as they are."""
    return ResumableLoader(dataset, batch_size, seed, collate_fn=lambda batch: batch)


def _stack(images: Sequence[LabelledImage]) -> ImageBatch:
    """Batch images, with zeros around those that are smaller than the largest."""
    rows, columns = zip(*(one.image.shape for one in images), strict=True)
    size = (max(rows), max(columns))
    batch = torch.stack([centre_pad(one.image, size) for one in images])
    support = None
    if any(one.inside != size for one in images):
        support = torch.stack([centre_pad(torch.ones(one.inside) > 0, size) for one in images])
    contrasts, pixel_sizes = tuple(one.contrast for one in images), _all_known([one.pixel_size for one in images])
    return ImageBatch(batch, contrasts, support, pixel_sizes)


def _all_known(sizes: Sequence[tuple[float, float] | None]) -> tuple[tuple[float, float], ...] | None:
    known = tuple(size for size in sizes if size is not None)
    return known if len(known) == len(sizes) else None
