"""Fully sampled scans in a folder, divided by subject: images to train on, k-space to test on."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch.utils.data import DataLoader

from lightning_mri.datasets.augmentation import Augmentation
from lightning_mri.datasets.batches import UNKNOWN_CONTRAST, SliceBatch
from lightning_mri.datasets.cache import CacheEntry, cache_root
from lightning_mri.datasets.cached_scans import CachedScans
from lightning_mri.datasets.preparation import (
    Preparation,
    build_cache,
    read_settings,
    ready_entries,
    with_subjects,
)
from lightning_mri.datasets.scans import say, with_distinct_names, with_subjects_found
from lightning_mri.datasets.shares import scan_loader
from lightning_mri.datasets.slices import UndersampledDataset, undersample, undersampled_slice
from lightning_mri.datasets.splits import Divided, FolderSplit, NamedSplit, Source, SubjectSplit, spread_over_subjects
from lightning_mri.io import find_scans
from lightning_mri.io.contrasts import plain_contrast
from lightning_mri.io.failures import Failure
from lightning_mri.io.prepared import is_prepared
from lightning_mri.io.scan import Scan
from lightning_mri.io.subjects import TEST_FOLDER
from lightning_mri.messages import count
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced, SamplingPattern
from lightning_mri.scaling import Scaling

SUBSETS = {1: 1, 5: 5, 10: 10, 20: 17}
N_VAL = 3

log = logging.getLogger(__name__)


class FullySampledScans(CachedScans):
    """Fully sampled scans of a folder, divided by subject; see `FastMRIBrain` and `StrokeFLAIR` for special ones.

    ``root`` is a folder of raw scans, of which images are made before training, or what ``prepare`` made of one.
    From a prepared folder, validation by reconstruction simulates an array of coils around the images; tests
    need raw scans.

    Scans below a folder of tests, such as `multicoil_test`, are tested on and nothing else, unless ``split_file`` names
    them.

    Args:
        root: Folder of scans, raw or prepared.
        split: How the subjects are divided.
        split_file: YAML file of who trains, validates and tests, by name, in place of ``split``; see `NamedSplit`.
        include: Contrasts to use; all if not given.
        exclude: Contrasts to leave out, such as FLAIR for pre-training.
        unknown: Contrast of the scans whose files do not name one.
        test_root: Folder of raw scans to test on; the remaining subjects of ``root`` if not given.
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
        n_reconstructions: Number of validation slices to reconstruct, as many of each subject; if not given one of each
            of up to 10 subjects, and 4 at least.
        resident: Whether the training images stay in the memory of the device that trains.
        preparation: Arguments of `Preparation`.
    """

    coils: ClassVar[tuple[str, ...]] = ()
    """First part of the names of folders that are a split, such as `multicoil_train`; the one to prefer first."""

    def __init__(
        self,
        root: Path,
        split: SubjectSplit = SubjectSplit(n_val=10),  # noqa: B008 - frozen
        split_file: Path | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        unknown: str | None = None,
        test_root: Path | None = None,
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
        n_reconstructions: int | None = None,
        resident: bool = False,
        **preparation: Any,
    ) -> None:
        self.preparation = Preparation(scaling, **preparation)
        where = (root.parent, root.name) if is_prepared(root) else (cache_root(cache_dir),)
        cache = self.preparation.cache(*where)
        super().__init__(cache, crop, batch_size, n_workers, augmentation, scaling, resident, n_processes)
        self.root, self.test_root = root, test_root
        self.split = split if split_file is None else NamedSplit.read(split_file, tests=test_root is None)
        self.include = None if include is None else [plain_contrast(name) for name in include]
        self.exclude = [plain_contrast(name) for name in exclude]
        self.unknown = None if unknown is None else plain_contrast(unknown)
        self.slices_together = slices_together
        self.pattern, self.accelerations = pattern, tuple(accelerations)
        self.n_reconstructions = n_reconstructions

    @cached_property
    def scans(self) -> dict[str, list[Source]]:
        """The scans of ``train``, ``val`` and ``test``; no subject is on two sides."""
        prepared = self.cache.folder == self.root
        sources: Sequence[Source] = self._prepared_scans() if prepared else open_raw(self.root, self.preparation)
        sides = self._divided(self._chosen(sources), FolderSplit.found(self.coils, sources))
        if self.test_root is None:
            return sides
        sides["test"] = self._chosen(open_raw(self.test_root, self.preparation))
        known = {scan.subject for side in ("train", "val") for scan in sides[side]}
        for scan in sides["test"]:
            if scan.subject in known:
                raise ValueError(f"{scan.source}: subjects of test_root must not be in root: got {scan.subject}")
        return sides

    def prepare_data(self) -> None:
        """Make the images that the cache lacks; scans that cannot be prepared are left out with a warning."""
        if self.trainer is not None and self.trainer.testing:
            return
        raw = _paths([*self.scans["train"], *self.scans["val"]])
        if len(ready_entries(raw, self.cache)) < len(raw):
            for failure in build_cache(raw, self.cache, self.preparation, self.n_processes).failures:
                log.warning("left out: %s", failure.reason)

    def setup(self, stage: str | None = None) -> None:
        """Check that there is something to do."""
        root = (stage == "test" and self.test_root) or self.root
        for side in ("test",) if stage == "test" else ("train", "val"):
            if not self.scans[side]:
                raise ValueError(f"{root}: data must hold scans for {side}: found none by n_val, n_subjects or split")
        super().setup(stage)

    def entries(self, side: str) -> list[CacheEntry]:
        """Return the cached scans of one side."""
        ready = ready_entries(_paths(self.scans[side]), self.cache)
        entries = []
        for source in self.scans[side]:
            if isinstance(source, CacheEntry):
                entries.append(source)
            elif row := ready.get(source.source):
                entries.append(replace(with_contrast(row, source.contrast), subject=source.subject))
        if not entries:
            raise ValueError(f"data must hold scans for {side}: none of {len(self.scans[side])} could be prepared")
        return entries

    def split_names(self) -> dict[str, list[str]]:
        """Return the names of the scans on each side; their paths below the folder where several have one name."""
        counts = Counter(scan.name for scans in self.scans.values() for scan in scans)

        def name(scan: Source) -> str:
            return scan.name if counts[scan.name] == 1 else self._below(scan.source).as_posix()

        return {side: [name(scan) for scan in scans] for side, scans in self.scans.items()}

    def test_dataloader(self) -> DataLoader[SliceBatch]:
        """Return the test scans at each acceleration, with their references."""
        raw = [scan for scan in self.scans["test"] if isinstance(scan, Scan)]
        if len(raw) < len(self.scans["test"]):
            raise ValueError(f"{self.root}: tests need k-space: got a prepared folder, which holds images")
        scans = with_distinct_names(raw)
        return scan_loader(
            UndersampledDataset(scans, self.slices_together, self.pattern, self.accelerations), self.n_workers
        )

    def reconstruction_batches(self) -> list[SliceBatch]:
        """Return a few validation slices at the pattern's acceleration, with their references."""
        return self._held_out([self.pattern.acceleration])

    def tuning_batches(self) -> list[SliceBatch]:
        """Return the same slices at each acceleration of the tests, to tune what they are compared with."""
        return self._held_out(self.accelerations)

    def _prepared_scans(self) -> list[CacheEntry]:
        """Return the rows of a prepared folder by name, copies of one scan under one subject."""
        theirs, usual = read_settings(self.root), Preparation().cache(self.root).settings
        for name, ours in self.cache.settings.items():
            if theirs.get(name) != ours and (name == "scaling" or ours != usual[name]):
                was = f"{name} must be the one it was prepared with, {theirs.get(name)}"
                raise ValueError(f"{self.root}: {was}: got {ours}; prepare the scans anew for another")
        rows = [row for _, row in sorted(self.cache.entries().items())]
        if not rows:
            raise FileNotFoundError(f"{self.root}: the prepared folder must hold scans: found none")
        entries, rule = with_subjects(rows)
        say(f"{self.root}: {rule}")
        return list(entries)

    def _divided(self, scans: Sequence[Source], folders: FolderSplit | None) -> dict[str, list[Source]]:
        """Return the scans of each side, as a file says or folders do; one of tests never trains or validates."""
        if isinstance(self.split, NamedSplit):
            return self.split.divide_scans(scans)
        if folders is not None:
            return folders.divide_scans(scans)
        tests = [scan for scan in scans if self._is_test(scan)]
        held_out = {scan.subject for scan in tests}
        if tests:
            say(f"{self.root}: {count(len(held_out), 'subject')} for tests alone, as a folder of their scans says")
        sides = self.split.divide_scans([scan for scan in scans if scan.subject not in held_out], self.root)
        return {**sides, "test": [*sides["test"], *tests]}

    def _below(self, source: Path | str) -> Path:
        """Return the path of a scan below the root, its whole path where it lies elsewhere."""
        path = Path(source)
        return path.relative_to(self.root) if path.is_relative_to(self.root) else path

    def _is_test(self, source: Source) -> bool:
        """Return whether a scan lies in a folder of tests below what was given as root, then or in `prepare`."""
        below = self._below(source.source) if isinstance(source, Scan) else Path(source.path)
        return any(TEST_FOLDER.fullmatch(folder) for folder in below.parent.parts)

    def _chosen(self, sources: Sequence[Source]) -> list[Source]:
        """Return the scans of the contrasts to use, those of unknown contrast with the one they count as.

        Raises:
            ValueError: If there is none.
        """
        named = [with_contrast(source, self.unknown) for source in sources]
        chosen = [
            source
            for source in named
            if (self.include is None or source.contrast in self.include) and source.contrast not in self.exclude
        ]
        if not chosen:
            found = ", ".join(sorted({source.contrast or "unknown" for source in named}))
            asked = f"include {', '.join(self.include or ['all'])}, exclude {', '.join(self.exclude) or 'none'}"
            raise ValueError(f"{self.root}: include and exclude must leave scans: got {asked} of contrasts {found}")
        return chosen

    def _held_out(self, accelerations: Sequence[float]) -> list[SliceBatch]:
        chosen = spread_over_subjects(self.scans["val"], self.n_reconstructions)
        return [self._undersampled(*place, acceleration) for acceleration in accelerations for place in chosen]

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


class FastMRIBrain(FullySampledScans):
    """Brain scans of many coils: T1w, T1w-post, T2w and FLAIR, in `multicoil_train` and the like.

    Such folders are the split, with `multicoil_test_full`, or else `multicoil_test`, for tests. A subject of the
    validation or test folder that also appears in training is left out of training. Any other folder is divided by
    ``split``. A prepared folder remembers where its scans came from. Options are those of `FullySampledScans`.
    """

    coils = ("multicoil",)


class FastMRIKnee(FullySampledScans):
    """Knee scans, PD and fat-suppressed PDFS, in `multicoil_train` and the like, or else in `singlecoil_train`.

    See `FastMRIBrain`.
    """

    coils = ("multicoil", "singlecoil")


class StrokeFLAIR(FullySampledScans):
    """FLAIR scans of a few subjects; any folder of fully sampled files will do, raw or prepared.

    Training sets of 1, 5, 10 and 17 subjects are nested for a seed, and share the validation subjects. Scans
    of another known contrast are left out; a scan whose contrast is not known counts as this one.

    Args:
        root: Folder of scans to fine-tune on, raw or prepared.
        n_subjects: Number of subjects to train on.
        n_val: Number of subjects to validate on.
        subset: Named subset of a collection, in place of these two numbers: 1, 5 or 10 subjects to train on and
            the 3 that all subsets validate on, or all 20, which are 17 to train on and those 3.
        contrast: Contrast of the scans.
        seed: Seed of the split.
        loading: Arguments of `FullySampledScans`; a ``split_file`` names the subjects in place of numbers and seed.
    """

    def __init__(
        self,
        root: Path,
        n_subjects: int = 17,
        n_val: int = N_VAL,
        subset: Literal[1, 5, 10, 20] | None = None,
        contrast: str = "FLAIR",
        seed: int = 0,
        **loading: Any,
    ) -> None:
        if subset is not None:
            n_subjects, n_val = SUBSETS[subset], N_VAL
            if loading.get("split_file") is not None:
                raise ValueError(f"subset must not be given with a split_file, which names the subjects: got {subset}")
        split = SubjectSplit(n_val, n_subjects, seed)
        super().__init__(root, split=split, include=(contrast,), exclude=(), unknown=contrast, **loading)


def open_raw(root: Path, preparation: Preparation = Preparation()) -> list[Scan]:  # noqa: B008 - frozen
    """Open all scans of a folder, or one file; those that cannot be read are left out with a warning."""
    scans: list[Scan] = []
    failed: list[Failure] = []
    for path in find_scans(root):
        try:
            scans.append(preparation.read(path))
        except Exception as error:
            failed.append(Failure.of(path, error))
            log.warning("left out: %s", failed[-1].reason, exc_info=failed[-1].traceback != "")
    if not scans:
        raise ValueError(f"{root}: at least one scan must be readable: {failed[0].reason}")
    return with_subjects_found(root, scans)


def with_contrast(source: Divided, contrast: str | None) -> Divided:
    """Return a scan whose slices of unknown contrast have this one."""
    if isinstance(source, Scan):
        return replace(source, contrast=source.contrast or contrast)
    return replace(source, contrasts=tuple(known or contrast for known in source.contrasts))


def _paths(sources: Iterable[Source]) -> list[Path]:
    return [source.source for source in sources if isinstance(source, Scan)]
