"""Fully sampled scans, divided by subject: a cache of images to train on, k-space to test on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from lightning_mri.data.augmentation import Augmentation
from lightning_mri.data.cache import CacheEntry, ImageCache, build_cache, cache_root
from lightning_mri.data.datasets import (
    ImageDataset,
    LabelledImage,
    SliceBatch,
    UndersampledDataset,
    check_names,
    image_loader,
    scan_loader,
    undersample,
)
from lightning_mri.data.readers import find_scans, read_scan
from lightning_mri.data.scan import Scan
from lightning_mri.data.writers.preview import spread
from lightning_mri.physics import Equispaced, SamplingPattern
from lightning_mri.scaling import Scaling


class FullySampledScans(LightningDataModule, ABC):
    """Loaders for scans that a subclass divides into training, validation and test.

    Args:
        crop: Pixels (y, x) of the random part of an image that is trained on.
        batch_size: Images in a batch of training and validation.
        slices_together: Slices of one test scan that are reconstructed together.
        n_workers: Processes that read and augment images.
        cache_dir: Folder for caches; the user's cache folder if not given.
        n_processes: Processes that prepare the cache; one for each core if not given.
        scaling: The scale contract of the prior to train.
        augmentation: Random changes of the training images.
        pattern: Sampling pattern for tests and for validation by reconstruction.
        accelerations: Nominal accelerations of the tests.
        n_reconstructions: Number of validation slices to reconstruct.
    """

    def __init__(
        self,
        crop: tuple[int, int] = (320, 320),
        batch_size: int = 8,
        slices_together: int = 8,
        n_workers: int = 0,
        cache_dir: Path | None = None,
        n_processes: int | None = None,
        scaling: Scaling = Scaling(),  # noqa: B008 - frozen
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - frozen
        pattern: SamplingPattern = Equispaced(4, 16),  # noqa: B008 - frozen
        accelerations: Sequence[float] = (4.0,),
        n_reconstructions: int = 4,
    ) -> None:
        super().__init__()
        self.crop, self.batch_size, self.slices_together = crop, batch_size, slices_together
        self.n_workers, self.n_processes = n_workers, n_processes
        self.scaling, self.augmentation = scaling, augmentation
        self.pattern, self.accelerations = pattern, tuple(accelerations)
        self.n_reconstructions = n_reconstructions
        self.cache = ImageCache(cache_root(cache_dir), "scans", {"scaling": scaling.describe()})

    @abstractmethod
    def divide(self) -> Mapping[str, Sequence[Scan]]:
        """Return the scans of ``train``, ``val`` and ``test``; no subject is on two sides."""

    @cached_property
    def scans(self) -> dict[str, tuple[Scan, ...]]:
        """The scans of each side."""
        divided = self.divide()
        return {side: tuple(divided[side]) for side in ("train", "val", "test")}

    def prepare_data(self) -> None:
        """Make the images that the cache lacks, for training and validation."""
        if self.trainer is not None and self.trainer.testing:
            return
        scans = [*self.scans["train"], *self.scans["val"]]
        build_cache([scan.source for scan in scans], self.cache, self.scaling, self.n_processes)

    def setup(self, stage: str | None = None) -> None:
        """Check that there is something to do.

        Raises:
            ValueError: If a side that this stage needs has no scans.
        """
        for side in ("test",) if stage == "test" else ("train", "val"):
            if not self.scans[side]:
                raise ValueError(f"data must hold scans for {side}: found none on that side of the split")

    def split_names(self) -> dict[str, list[str]]:
        """Return the names of the scans on each side."""
        return {side: [scan.name for scan in scans] for side, scans in self.scans.items()}

    def train_dataloader(self) -> DataLoader[LabelledImage]:
        """Return augmented random crops of the training scans."""
        dataset = ImageDataset(self.cache, self._entries("train"), self.crop, self.augmentation)
        return image_loader(dataset, self.batch_size, self.n_workers, shuffle=True)

    def val_dataloader(self) -> DataLoader[LabelledImage]:
        """Return central crops of the validation scans, always the same."""
        dataset = ImageDataset(self.cache, self._entries("val"), self.crop)
        return image_loader(dataset, self.batch_size, self.n_workers)

    def test_dataloader(self) -> DataLoader[SliceBatch]:
        """Return the test scans at each acceleration, with their references."""
        check_names(self.scans["test"])
        dataset = UndersampledDataset(self.scans["test"], self.slices_together, self.pattern, self.accelerations)
        return scan_loader(dataset, self.n_workers)

    def reconstruction_batches(self) -> list[SliceBatch]:
        """Return a few validation slices at the pattern's acceleration, with their references."""
        return self._held_out([self.pattern.acceleration])

    def tuning_batches(self) -> list[SliceBatch]:
        """Return the same slices at each acceleration of the tests, to tune what they are compared with."""
        return self._held_out(self.accelerations)

    def _held_out(self, accelerations: Sequence[float]) -> list[SliceBatch]:
        scans = self.scans["val"]
        n_each = -(-self.n_reconstructions // max(1, len(scans)))
        chosen = [(scan, k) for scan in scans for k in spread(scan.n_slices, n_each)]
        return [
            undersample(scan, (k,), self.pattern, acceleration)
            for acceleration in accelerations
            for scan, k in chosen[: self.n_reconstructions]
        ]

    def _entries(self, side: str) -> list[CacheEntry]:
        scans = self.scans[side]
        entries = build_cache([scan.source for scan in scans], self.cache, self.scaling, 1)
        return [
            replace(entry, contrasts=tuple(contrast or scan.contrast for contrast in entry.contrasts))
            for entry, scan in zip(entries, scans, strict=True)
        ]


def open_scans(root: Path) -> list[Scan]:
    """Open all scans of a folder, or one file.

    Raises:
        FileNotFoundError: If there is no scan.
    """
    return [read_scan(path) for path in find_scans(root)]
