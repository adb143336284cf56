"""Images in a cache, divided into subjects to train, to validate and to test on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from lightning_mri.datasets.augmentation import Augmentation
from lightning_mri.datasets.batches import LabelledImage
from lightning_mri.datasets.cache import CacheEntry, ImageCache
from lightning_mri.datasets.images import ImageDataset, ResidentImages, image_loader, resident_loader
from lightning_mri.datasets.loading import check_positive, run_seed
from lightning_mri.datasets.parallel import run_jobs
from lightning_mri.datasets.scans import say
from lightning_mri.files import write_whole
from lightning_mri.scaling import Scaling

SPLIT = "split.yaml"


class CachedScans(LightningDataModule, ABC):
    """Loaders of images in a cache, and the record of how their subjects were divided.

    Arguments are those of `SyntheticHeads` and `FullySampledScans`.
    """

    def __init__(
        self,
        cache: ImageCache,
        crop: tuple[int, int] | None,
        batch_size: int,
        n_workers: int,
        augmentation: Augmentation,
        scaling: Scaling,
        resident: bool = False,
        n_processes: int | None = None,
    ) -> None:
        super().__init__()
        if resident and crop is None:
            raise ValueError("crop must be given where images are resident: got none")
        check_positive(batch_size=batch_size)
        self.cache, self.crop, self.batch_size, self.n_workers = cache, crop, batch_size, n_workers
        self.augmentation, self.scaling, self.resident = augmentation, scaling, resident
        self.n_processes = n_processes

    @abstractmethod
    def split_names(self) -> dict[str, list[str]]:
        """Return the names of the scans of ``train``, ``val`` and, if any, ``test``; no subject is on two sides."""

    def rows(self) -> dict[str, CacheEntry]:
        """Return what the cache holds, by name."""
        return self.cache.entries()

    def entries(self, side: str) -> list[CacheEntry]:
        """Return the cached scans of one side."""
        rows = self.rows()
        return [rows[name] for name in self.split_names()[side]]

    def subjects(self, side: str) -> list[str]:
        """Return the subjects of one side."""
        return sorted({entry.subject for entry in self.entries(side)})

    def draw_missing(self, jobs: Mapping[str, Any], draw: Callable[[Any], CacheEntry], title: str) -> None:
        """Draw the subjects that the cache lacks, in parallel.

        Args:
            jobs: What ``draw`` is called with, by the subject's name.
            draw: Stores the images of one subject and returns their row.
            title: Shown at the progress bar.
        """

        def missing(done: Mapping[str, CacheEntry]) -> list[Any]:
            return [job for name, job in jobs.items() if not self.cache.holds(done.get(name))]

        if not missing(self.cache.entries()):
            return  # and write nothing: the cache may be where nobody can
        with self.cache.filling() as done:
            for entry in run_jobs(draw, missing(done), self.n_processes, title):
                self.cache.record(entry)

    def describe(self) -> dict[str, Any]:
        """Return what is trained on as plain values, for the history of a prior."""
        entries = self.entries("train")
        contrasts = [contrast or "unknown" for entry in entries for contrast in entry.contrasts]
        return {
            "data": type(self).__name__,
            "n_scans": len(entries),
            "n_slices": len(contrasts),
            "contrasts": sorted(set(contrasts)),
            "crop": None if self.crop is None else list(self.crop),
            "batch_size": self.batch_size,
        }

    def setup(self, stage: str | None = None) -> None:
        """Write the split to the folder of the run, as `split.yaml`; warn of copies on both sides."""
        if self.trainer is None or stage != "fit" or not self.trainer.is_global_zero:
            return
        training = {entry.content: entry.source for entry in self.entries("train") if entry.content}
        for entry in self.entries("val"):
            if entry.content in training:
                say(f"WARNING: {entry.source} validates and is a copy of {training[entry.content]}, which trains")
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        logger = self.trainer.logger
        folder = Path((logger.log_dir if logger is not None else None) or self.trainer.default_root_dir)
        write_whole(folder / SPLIT, yaml.safe_dump(self.split_names(), sort_keys=False))

    def train_dataloader(self) -> DataLoader[LabelledImage]:
        """Return augmented random crops of the training scans."""
        prior = getattr(None if self.trainer is None else self.trainer.lightning_module, "prior", None)
        if prior is not None:
            self.check_scaling(prior.scaling)
        if self.resident:
            assert self.crop is not None
            device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
            images = ResidentImages(self.cache, self.entries("train"), self.crop, self.augmentation, device)
            return resident_loader(images, self.batch_size, run_seed())
        dataset = ImageDataset(self.cache, self.entries("train"), self.crop, self.augmentation)
        return image_loader(dataset, self.batch_size, self.n_workers, shuffle=True)

    def val_dataloader(self) -> DataLoader[LabelledImage]:
        """Return central crops of the validation scans, always the same."""
        return image_loader(ImageDataset(self.cache, self.entries("val"), self.crop), self.batch_size, self.n_workers)

    def check_scaling(self, scaling: Scaling) -> None:
        """Check that the images are scaled as those of a prior."""
        if scaling != self.scaling:
            raise ValueError(
                f"scaling must be the same for prior and data: got {scaling} for the prior"
                f" and {self.scaling} for the data, {type(self).__name__}"
            )
