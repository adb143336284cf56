"""Mice at high field to train on, and as a low-field scanner would have measured them, to reconstruct."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mri.datasets.augmentation import Augmentation
from lightning_mri.datasets.batches import LowFieldBatch
from lightning_mri.datasets.cache import CacheEntry, ImageCache, cache_name, cache_root, source_version
from lightning_mri.datasets.cached_scans import CachedScans
from lightning_mri.datasets.high_field import find_volumes, read_planes
from lightning_mri.datasets.images import filled_slices
from lightning_mri.datasets.loading import check_positive
from lightning_mri.datasets.scans import say
from lightning_mri.datasets.shares import scan_loader
from lightning_mri.datasets.slices import LowFieldDataset
from lightning_mri.datasets.splits import NamedSplit, SubjectSplit
from lightning_mri.io import files_of
from lightning_mri.io.subjects import NamedSubjects
from lightning_mri.output import fingerprint_of
from lightning_mri.phantoms.mice import Mouse
from lightning_mri.phantoms.mouse_atlas import BRAIN_RANGE_MM
from lightning_mri.physics.low_field import LowField, ModelMismatch
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import derive_seed, spread

GENERATOR = ("canvas", "fields", "mice", "mouse_atlas", "mouse_brain", "mouse_canvas", "tissues")
CONTRAST = "T2w"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MouseCohort:
    """What the slices of synthetic mice depend on."""

    seed: int  # identifies the cohort
    slices_per_subject: int  # slices of each mouse, spread over its brain
    size: int  # pixels along y and x
    pixel_size: float  # edge of a pixel in mm
    scaling: Scaling  # how the slices are scaled


class LowFieldMouse(CachedScans):
    """T2-weighted coronal mouse brains: synthetic mice by default, or a folder of high-field images.

    Training and validation yield high-field images; test and prediction yield `LowFieldBatch`, the same kind
    of images of other animals after ``degradation``, which is in mm and seconds whatever the pixels of a file are.
    Synthetic mouse i depends on the seed and i alone: the first ones test, the next ones validate, so that a larger
    cohort contains the smaller one.

    Args:
        root: Folder of high-field images in any format that can be read (NIfTI, DICOM, Bruker 2dseq, fully sampled
            k-space), of any resolution; npy files are images [slice, y, x], real or complex. All count as T2w.
            Synthetic mice if not given.
        degradation: The low-field scanner; its ``pixel_size`` is that of synthetic mice and of files that name none.
        n_subjects: Number of animals to train on; of a folder at most that many.
        n_val: Number of animals to validate on.
        n_test: Number of animals to test on; of a folder at least that many.
        split_file: YAML file of who trains, validates and tests, by name, in place of these numbers; see `NamedSplit`.
        slices_per_subject: Slices of each synthetic mouse.
        coronal_axis: Axis (of x, y, z as stored) across the coronal planes of a volume. If not given: that of thick
            slices, else the one that the header has from back to front, else y.
        size: Pixels of a synthetic slice along y and x.
        crop: Pixels (y, x) that are trained on and reconstructed.
        batch_size: Images in a training batch, and slices of one animal that are reconstructed together.
        n_workers: Processes that read and augment images.
        cache_dir: Folder for caches; the user's cache folder if not given.
        n_processes: Processes that draw or read animals; one for each core if not given.
        augmentation: Random changes of the training images.
        scaling: The scale contract of the prior to train.
        n_reconstructions: Number of slices for validation by reconstruction, and to tune baselines on.
        seed: Identifies the cohort, or the split of a folder.
        mismatch: What reconstructions get wrong about the scanner; nothing if not given.
    """

    def __init__(
        self,
        root: Path | None = None,
        degradation: LowField = LowField(),  # noqa: B008 - frozen
        n_subjects: int = 100,
        n_val: int = 4,
        n_test: int = 10,
        split_file: Path | None = None,
        slices_per_subject: int = 12,
        coronal_axis: int | None = None,
        size: int = 128,
        crop: tuple[int, int] = (128, 128),
        batch_size: int = 8,
        n_workers: int = 0,
        cache_dir: Path | None = None,
        n_processes: int | None = None,
        augmentation: Augmentation = Augmentation(transpose=0.0),  # noqa: B008 - frozen
        scaling: Scaling = Scaling(),  # noqa: B008 - frozen
        n_reconstructions: int = 4,
        seed: int = 0,
        mismatch: ModelMismatch | None = None,
    ) -> None:
        counts = {"n_subjects": n_subjects, "n_val": n_val, "n_test": n_test}
        check_positive(**counts, slices_per_subject=slices_per_subject, size=size)
        if coronal_axis not in (None, 0, 1, 2):
            raise ValueError(f"coronal_axis must be 0, 1 or 2: got {coronal_axis}")
        if split_file is not None and root is None:
            raise ValueError(f"split_file names animals of a root, which is not given: got {split_file}")
        self.named = None if split_file is None else NamedSplit.read(split_file)
        self.root, self.degradation, self.coronal_axis = root, degradation, coronal_axis
        self.n_subjects, self.n_val, self.n_test, self.seed = n_subjects, n_val, n_test, seed
        self.n_reconstructions, self.mismatch = n_reconstructions, mismatch
        self.cohort = MouseCohort(seed, slices_per_subject, size, degradation.pixel_size, scaling)
        cache = ImageCache(cache_root(cache_dir), *self._cache_settings(scaling))
        super().__init__(cache, crop, batch_size, n_workers, augmentation, scaling, n_processes=n_processes)
        self.matrix = crop

    def prepare_data(self) -> None:
        """Draw the mice, or read the files, that the cache lacks; files that cannot be read are left out."""
        if self.root is None:
            draw = partial(_draw_mouse, cohort=self.cohort, cache=self.cache)
            self.draw_missing({name: name for name in self._names()}, draw, "synthetic mice")
        elif self._changed(self.cache.entries()):  # else write nothing: the cache may be where nobody can
            with self.cache.filling() as done:
                self._read_volumes(self._changed(done))

    def setup(self, stage: str | None = None) -> None:
        """Divide the animals."""
        split = self._split
        if self.root is not None:
            say(f"{self.root}: {self._subjects(super().rows()).rule}")
        if stage == "fit" and not split["train"]:
            n = len(split["val"]) + len(split["test"])
            raise ValueError(f"{self.root}: n_val + n_test must leave an animal to train on: they take all {n}")
        super().setup(stage)

    def rows(self) -> dict[str, CacheEntry]:
        """Return the animals of the cohort or folder that are in the cache, by name."""
        rows = super().rows()
        if self.root is None:
            return rows
        of = self._subjects(rows).of
        return {name: replace(rows[name], subject=of[path]) for name, path in self._files.items() if name in rows}

    def _subjects(self, rows: Mapping[str, CacheEntry]) -> NamedSubjects:
        return NamedSubjects.found({path: rows[name].subject for name, path in self._files.items() if name in rows})

    def split_names(self) -> dict[str, list[str]]:
        """Return the animals of each side."""
        return self._split

    def test_dataloader(self) -> DataLoader[LowFieldBatch]:
        """Return low-field scans of the test animals, with their high-field images."""
        for entry in self.entries("test"):
            if air := sorted({*range(entry.n_slices)} - {*filled_slices(entry)}):
                numbers = ", ".join(map(str, air))
                say(f"{entry.source}: its slices are counted without planes {numbers}, which show air")
        return scan_loader(self.low_field("test", self.batch_size), self.n_workers)

    def reconstruction_batches(self) -> list[LowFieldBatch]:
        """Return low-field slices of the validation animals, spread evenly over them."""
        scans = self.low_field("val", 1)
        return [scans[i] for i in spread(len(scans), self.n_reconstructions)]

    def tuning_batches(self) -> list[LowFieldBatch]:
        """Return the same, to tune what the tests compare with."""
        return self.reconstruction_batches()

    def low_field(
        self, of: str | Sequence[CacheEntry], batch_size: int, mismatch: ModelMismatch | None = None
    ) -> LowFieldDataset:
        """Return the low-field scans of the animals of one side, or of these.

        Args:
            of: A side of the split, or rows of the cache.
            batch_size: Slices of one animal that are reconstructed together.
            mismatch: What the reconstruction gets wrong about the scanner; that of the module if not given.
        """
        entries = self.entries(of) if isinstance(of, str) else of
        return LowFieldDataset(
            self.cache, entries, self.matrix, self.degradation, batch_size, mismatch or self.mismatch
        )

    def _cache_settings(self, scaling: Scaling) -> tuple[str, dict[str, object]]:
        if self.root is None:
            return "synthetic-mice", {"cohort": asdict(self.cohort), "generator": source_version(*GENERATOR)}
        settings = {"scaling": asdict(scaling), "coronal_axis": self.coronal_axis}
        return "high-field", {**settings, "pixel_size": self.degradation.pixel_size}

    def _names(self) -> list[str]:
        return [f"mouse-{i:05d}" for i in range(self.n_test + self.n_val + self.n_subjects)]

    @cached_property
    def _files(self) -> dict[str, Path]:
        """The volumes of the folder, by their names in the cache."""
        assert self.root is not None
        paths = (path for path in find_volumes(self.root) if self.cache.folder not in path.parents)
        return {cache_name(path): path for path in paths}

    def _changed(self, done: dict[str, CacheEntry]) -> list[Path]:
        """Return the files that the cache lacks, or has as they were."""
        return [path for name, path in self._files.items() if not self.cache.is_current(done.get(name), path)]

    def _read_volumes(self, paths: Sequence[Path]) -> None:
        """Read volumes into the cache; those that cannot be read are left out with a warning."""
        # the function holds what it needs and no more: it is sent to other processes
        read = partial(
            _read_volume,
            cache=self.cache,
            scaling=self.scaling,
            axis=self.coronal_axis,
            pixel_size=self.degradation.pixel_size,
        )
        failures = self.cache.fill({cache_name(path): path for path in paths}, read, self.n_processes, "prepare")
        for failure in failures:
            log.warning("left out: %s", failure.reason)
        if failures and len(failures) == len(self._files):
            raise ValueError(f"{self.root}: at least one volume must be readable: {failures[0].reason}")

    @cached_property
    def _split(self) -> dict[str, list[str]]:
        if self.root is None:
            names, first = self._names(), self.n_test + self.n_val
            return {"train": names[first:], "val": names[self.n_test : first], "test": names[: self.n_test]}
        rows = self.rows()
        if self.named is not None:
            return {
                side: [row.name for row in some] for side, some in self.named.divide_scans([*rows.values()]).items()
            }
        subject_of = {name: row.subject for name, row in rows.items()}
        n_animals = len(set(subject_of.values()))
        n_left = n_animals - self.n_val - self.n_test
        if n_left < 0:
            raise ValueError(
                f"{self.root}: n_val + n_test must not exceed the number of animals:"
                f" got {self.n_val} + {self.n_test} of {n_animals}"
            )
        return SubjectSplit(self.n_val, min(self.n_subjects, n_left), self.seed).divide(subject_of)


def mouse_of(name: str, cohort: MouseCohort) -> tuple[Mouse, list[float]]:
    """Return a synthetic animal of a cohort, and the positions of its slices from bregma in mm."""
    seed = derive_seed(cohort.seed, name)
    rng = np.random.default_rng(seed)
    low, high = BRAIN_RANGE_MM
    n = cohort.slices_per_subject
    return Mouse(seed), (low + (high - low) * (np.arange(n) + rng.uniform(size=n)) / n).tolist()


def _draw_mouse(name: str, cohort: MouseCohort, cache: ImageCache) -> CacheEntry:
    mouse, offsets = mouse_of(name, cohort)
    images = torch.stack([mouse.slice(offset, (cohort.size,) * 2, cohort.pixel_size) for offset in offsets])
    source = f"synthetic {name} of seed {cohort.seed}"
    pixel_size = (cohort.pixel_size,) * 2
    return _store(images, cohort.scaling, cache, name, pixel_size=pixel_size, source=source, subject=source)


def _read_volume(path: Path, cache: ImageCache, scaling: Scaling, axis: int | None, pixel_size: float) -> CacheEntry:
    planes = read_planes(path, axis, pixel_size, CONTRAST)
    return _store(
        planes.images,
        scaling,
        cache,
        cache_name(path),
        pixel_size=planes.pixel_size,
        source=str(path),
        subject=planes.subject,
        fingerprint=fingerprint_of(*files_of(path)),
        problems=planes.warnings,
    )


def _store(
    images: Complex[Tensor, "slice y x"], scaling: Scaling, cache: ImageCache, name: str, **known: Any
) -> CacheEntry:
    """Scale and store the images of one animal; return their row, with what is known of them."""
    scales = scaling.of(images)
    # an empty slice stays empty; its scale says so
    cache.store(name, images / torch.where(scales > 0, scales, 1)[:, None, None])
    return CacheEntry(
        name=name,
        contrasts=(CONTRAST,) * len(images),
        shape=(images.shape[0], images.shape[1], images.shape[2]),
        scales=tuple(scales.tolist()),
        **known,
    )
