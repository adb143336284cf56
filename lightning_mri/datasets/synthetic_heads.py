"""Synthetic heads to train a prior on, drawn when they are first asked for."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from lightning_mri.datasets.augmentation import Augmentation
from lightning_mri.datasets.batches import SliceBatch
from lightning_mri.datasets.cache import CacheEntry, ImageCache, cache_root, source_version
from lightning_mri.datasets.cached_scans import CachedScans
from lightning_mri.datasets.loading import check_positive
from lightning_mri.datasets.slices import undersampled_slice
from lightning_mri.phantoms import LABELS, Geometry, Head, Scanner, training_slices
from lightning_mri.phantoms.coils import FIELD_OF_VIEW_MM
from lightning_mri.phantoms.training import SLICES_PER_SUBJECT
from lightning_mri.physics import Equispaced, SamplingPattern
from lightning_mri.scaling import Scaling

GENERATOR = (
    *("anatomy", "atlas", "canvas", "contrasts", "face", "fields", "geometry", "heads"),
    *("lesions", "protocol", "tissues", "training", "vessels"),
)


@dataclass(frozen=True)
class HeadCohort:
    """What the slices of synthetic subjects depend on."""

    seed: int  # identifies the cohort
    slices_per_subject: int  # slices of each subject
    contrasts: tuple[str, ...]  # contrasts that may appear
    size: int  # pixels along y and x


class SyntheticHeads(CachedScans):
    """Heads drawn from the MNI152 atlas, in a cache that is filled in parallel and goes on where it stopped.

    Subject i depends on the seed and i alone: a larger cohort contains the smaller one, and the validation
    subjects are never among the others.

    Args:
        n_subjects: Number of subjects to train on.
        n_val: Number of subjects to validate on.
        slices_per_subject: Slices of each subject, each with its own geometry and contrast; 8 at most.
        contrasts: Contrasts that may appear.
        size: Pixels of a slice along y and x.
        crop: Pixels (y, x) of the random part that is trained on; None for whole slices.
        batch_size: Images in a batch.
        n_workers: Processes that read and augment images.
        cache_dir: Folder for caches; the user's cache folder if not given.
        n_processes: Processes that draw heads; one for each core if not given.
        augmentation: Random changes of the images.
        pattern: Sampling pattern for validation by reconstruction.
        n_reconstructions: Number of slices for it.
        seed: Identifies the cohort.
        resident: Whether the training images stay in the memory of the device that trains, and are augmented there
            in batches: for a GPU and a network that trains faster than processes can hand over small images.
    """

    def __init__(
        self,
        n_subjects: int = 1250,
        n_val: int = 8,
        slices_per_subject: int = SLICES_PER_SUBJECT,
        contrasts: Sequence[str] = LABELS,
        size: int = 144,
        crop: tuple[int, int] | None = (128, 128),
        batch_size: int = 8,
        n_workers: int = 0,
        cache_dir: Path | None = None,
        n_processes: int | None = None,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - frozen
        pattern: SamplingPattern = Equispaced(4, 12),  # noqa: B008 - frozen
        n_reconstructions: int = 4,
        seed: int = 0,
        resident: bool = False,
    ) -> None:
        if not 1 <= slices_per_subject <= SLICES_PER_SUBJECT:
            raise ValueError(f"slices_per_subject must be between 1 and {SLICES_PER_SUBJECT}: got {slices_per_subject}")
        check_positive(n_subjects=n_subjects, n_val=n_val)
        self.cohort = HeadCohort(seed, slices_per_subject, tuple(contrasts), size)
        settings = {"cohort": asdict(self.cohort), "generator": source_version(*GENERATOR)}
        cache = ImageCache(cache_root(cache_dir), "synthetic-heads", settings)
        super().__init__(cache, crop, batch_size, n_workers, augmentation, Scaling(), resident, n_processes)
        self.n_subjects, self.n_val = n_subjects, n_val
        self.pattern, self.n_reconstructions = pattern, n_reconstructions

    def prepare_data(self) -> None:
        """Draw the subjects that the cache lacks."""
        jobs = {subject_name(i): i for i in range(self.n_val + self.n_subjects)}
        self.draw_missing(jobs, partial(_draw_subject, cohort=self.cohort, cache=self.cache), "synthetic heads")

    def split_names(self) -> dict[str, list[str]]:
        """Return the subjects of each side: the first ones validate."""
        names = [subject_name(i) for i in range(self.n_val + self.n_subjects)]
        return {"train": names[self.n_val :], "val": names[: self.n_val]}

    def reconstruction_batches(self) -> list[SliceBatch]:
        """Return axial slices of further subjects, undersampled, with their references."""
        return [self._reconstruction_batch(k) for k in range(self.n_reconstructions)]

    def _reconstruction_batch(self, k: int) -> SliceBatch:
        size, name = self.cohort.size, f"validation-{self.cohort.seed}-{k}"
        geometry = Geometry((size, size), (FIELD_OF_VIEW_MM / size,) * 2)
        contrast = self.cohort.contrasts[k % len(self.cohort.contrasts)]
        image = Head(name).slice(contrast, geometry).image
        return undersampled_slice(image, name, contrast, self.pattern, Scanner(n_coils=4), geometry.pixel_size)


def subject_name(index: int) -> str:
    """Return the name of a synthetic subject."""
    return f"head-{index:06d}"


def _draw_subject(index: int, cohort: HeadCohort, cache: ImageCache) -> CacheEntry:
    first = index * SLICES_PER_SUBJECT
    drawn = list(training_slices(cohort.seed, cohort.slices_per_subject, cohort.contrasts, cohort.size, first))
    name = subject_name(index)
    cache.store(name, torch.stack([one.image for one in drawn]))
    source = f"synthetic head {index} of seed {cohort.seed}"
    return CacheEntry(
        name=name,
        subject=source,
        contrasts=tuple(one.contrast for one in drawn),
        shape=(len(drawn), cohort.size, cohort.size),
        scales=(1.0,) * len(drawn),
        source=source,
    )
