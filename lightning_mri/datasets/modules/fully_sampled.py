"""Fully sampled scans, divided by subject: a cache of images to train on, k-space to test on."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from torch.utils.data import DataLoader

from lightning_mri.datasets.augmentation import Augmentation
from lightning_mri.datasets.cache import CacheEntry, cache_root
from lightning_mri.datasets.datasets import (
    UNKNOWN_CONTRAST,
    SliceBatch,
    UndersampledDataset,
    check_names,
    scan_loader,
    undersample,
)
from lightning_mri.datasets.modules.cached_images import CachedImages
from lightning_mri.datasets.modules.scan_folder import Source, open_folder
from lightning_mri.datasets.preparation import Preparation
from lightning_mri.datasets.simulate import undersampled_slice
from lightning_mri.io.preview import spread
from lightning_mri.io.scan import Scan
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced, SamplingPattern
from lightning_mri.scaling import Scaling


class FullySampledScans(CachedImages):
    """Loaders for scans that a subclass divides into training, validation and test.

    ``root`` is a folder of raw scans, of which images are made before training, or what ``prepare`` made of one.
    From a prepared folder, validation by reconstruction simulates an array of coils around the images; tests
    need raw scans.

    Args:
        root: Folder of scans, raw or prepared.
        crop: Pixels (y, x) of the random part of an image that is trained on; None for whole images.
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
        resident: Whether the training images stay in the memory of the device that trains, see `ResidentImages`.
    """

    def __init__(
        self,
        root: Path,
        crop: tuple[int, int] | None = (320, 320),
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
        resident: bool = False,
    ) -> None:
        self.root, self.folder = root, open_folder(root, Preparation(scaling), cache_root(cache_dir))
        super().__init__(self.folder.cache, crop, batch_size, n_workers, augmentation, scaling, resident)
        self.slices_together, self.n_processes = slices_together, n_processes
        self.pattern, self.accelerations = pattern, tuple(accelerations)
        self.n_reconstructions = n_reconstructions

    @abstractmethod
    def divide(self) -> Mapping[str, Sequence[Source]]:
        """Return the scans of ``train``, ``val`` and ``test``; no subject is on two sides."""

    @cached_property
    def scans(self) -> dict[str, tuple[Source, ...]]:
        """The scans of each side."""
        divided = self.divide()
        return {side: tuple(divided[side]) for side in ("train", "val", "test")}

    def prepare_data(self) -> None:
        """Make the images that the cache lacks, for training and validation."""
        if self.trainer is not None and self.trainer.testing:
            return
        self.folder.prepare([*self.scans["train"], *self.scans["val"]], self.n_processes)

    def setup(self, stage: str | None = None) -> None:
        """Check that there is something to do.

        Raises:
            ValueError: If a side that this stage needs has no scans.
        """
        for side in ("test",) if stage == "test" else ("train", "val"):
            if not self.scans[side]:
                raise ValueError(f"data must hold scans for {side}: found none on that side of the split")
        super().setup(stage)

    def entries(self, side: str) -> list[CacheEntry]:
        """Return the cached scans of one side.

        Raises:
            ValueError: If none of them could be prepared.
        """
        entries = self.folder.entries(self.scans[side])
        if not entries:
            raise ValueError(f"data must hold scans for {side}: none of {len(self.scans[side])} could be prepared")
        return entries

    def split_names(self) -> dict[str, list[str]]:
        """Return the names of the scans on each side."""
        return {side: [scan.name for scan in scans] for side, scans in self.scans.items()}

    def test_dataloader(self) -> DataLoader[SliceBatch]:
        """Return the test scans at each acceleration, with their references.

        Raises:
            ValueError: If there are only prepared images to test on.
        """
        raw = [scan for scan in self.scans["test"] if isinstance(scan, Scan)]
        if len(raw) < len(self.scans["test"]):
            raise ValueError(f"{self.root}: tests need k-space: got a prepared folder, which holds images")
        check_names(raw)
        return scan_loader(
            UndersampledDataset(raw, self.slices_together, self.pattern, self.accelerations), self.n_workers
        )

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
            self._undersampled(scan, k, acceleration)
            for acceleration in accelerations
            for scan, k in chosen[: self.n_reconstructions]
        ]

    def _undersampled(self, source: Source, k: int, acceleration: float) -> SliceBatch:
        if isinstance(source, Scan):
            return undersample(source, (k,), self.pattern, acceleration)
        batch = undersampled_slice(
            self.cache.read(source, k),
            f"{source.name}-{k}",
            source.contrasts[k] or UNKNOWN_CONTRAST,
            replace(self.pattern, acceleration=acceleration),
            Scanner(oversampling=1),
            source.pixel_size or (1.0, 1.0),
        )
        return replace(batch, subject=source.subject)
