"""Fully sampled scans in a folder, raw or prepared: the same questions, the same answers."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_mri.datasets.cache import CacheEntry, ImageCache, is_prepared
from lightning_mri.datasets.preparation import Preparation, build_cache, find_raw, read_settings, ready_entries
from lightning_mri.io import read_scan
from lightning_mri.io.scan import Scan
from lightning_mri.scaling import Scaling

Source = Scan | CacheEntry

log = logging.getLogger(__name__)


class ScanFolder(ABC):
    """Scans below a folder, to divide and to train on."""

    cache: ImageCache

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether there is a folder of that name with scans in it."""

    @abstractmethod
    def sources(self, name: str | None = None) -> list[Source]:
        """Return the scans below a folder of that name, or all.

        Raises:
            FileNotFoundError: If there are none.
            ValueError: If none can be read.
        """

    @abstractmethod
    def prepare(self, sources: Sequence[Source], n_processes: int | None) -> None:
        """Make the images that the cache lacks."""

    @abstractmethod
    def entries(self, sources: Sequence[Source]) -> list[CacheEntry]:
        """Return the rows of these scans in the cache, with their contrasts."""


@dataclass(frozen=True)
class RawFolder(ScanFolder):
    """Scans as measured.

    Args:
        root: The folder, or one file.
        preparation: How images are made of them.
        cache: Where the images go.
    """

    root: Path
    preparation: Preparation
    cache: ImageCache

    def has(self, name: str) -> bool:
        """Return whether there is a folder of that name."""
        return (self.root / name).is_dir()

    def sources(self, name: str | None = None) -> list[Source]:
        """Open the scans; those that cannot be read are left out with a warning."""
        return list(open_scans(self.root if name is None else self.root / name))

    def prepare(self, sources: Sequence[Source], n_processes: int | None) -> None:
        """Make the images that the cache lacks; scans that cannot be prepared are left out with a warning."""
        done = build_cache([Path(source.source) for source in sources], self.cache, self.preparation, n_processes)
        for failure in done.failures:
            log.warning("left out: %s", failure.reason)

    def entries(self, sources: Sequence[Source]) -> list[CacheEntry]:
        """Return the rows of those scans that could be prepared."""
        ready = ready_entries([Path(source.source) for source in sources], self.cache)
        return [
            with_contrast(ready[Path(source.source)], source.contrast)
            for source in sources
            if Path(source.source) in ready
        ]


@dataclass(frozen=True)
class PreparedFolder(ScanFolder):
    """What `prepare_folder` wrote.

    Args:
        root: The folder.
        scaling: The scale contract that it must have been prepared with.
        cache: Its images.
    """

    root: Path
    scaling: Scaling
    cache: ImageCache

    def has(self, name: str) -> bool:
        """Return whether scans came from a folder of that name."""
        return any(name in Path(entry.folder).parts for entry in self.cache.entries().values())

    def sources(self, name: str | None = None) -> list[Source]:
        """Return the rows of the manifest, copies of one scan under one subject."""
        self._check_scaling()
        entries = one_subject_each(self.cache.entries().values())
        found: list[Source] = [entry for entry in entries if name is None or name in Path(entry.folder).parts]
        if not found:
            raise FileNotFoundError(f"{self.root}: the prepared folder must hold scans of {name}: found none")
        return found

    def prepare(self, sources: Sequence[Source], n_processes: int | None) -> None:
        """Do nothing: all is prepared."""

    def entries(self, sources: Sequence[Source]) -> list[CacheEntry]:
        """Return the rows themselves."""
        return [source for source in sources if isinstance(source, CacheEntry)]

    def _check_scaling(self) -> None:
        theirs = read_settings(self.root).get("scaling")
        if theirs != self.scaling.describe():
            raise ValueError(
                f"{self.root}: scaling must be the one that the folder was prepared with, {theirs}:"
                f" got {self.scaling.describe()}"
            )


def open_folder(root: Path, preparation: Preparation, cache_root: Path) -> ScanFolder:
    """Return a folder of scans; it is a prepared one if it has a manifest."""
    if is_prepared(root):
        return PreparedFolder(root, preparation.scaling, preparation.cache(root.parent, root.name))
    return RawFolder(root, preparation, preparation.cache(cache_root))


def open_scans(root: Path) -> list[Scan]:
    """Open all scans of a folder, or one file; those that cannot be read are left out with a warning.

    Raises:
        FileNotFoundError: If there is no scan.
        ValueError: If none can be read.
    """
    scans, refused = [], []
    for path in find_raw(root):
        try:
            scans.append(read_scan(path))
        except (OSError, ValueError) as error:
            refused.append(error)
            log.warning("left out: %s", error)
    if not scans:
        raise ValueError(f"{root}: at least one scan must be readable: {refused[0]}")
    return scans


def with_contrast(entry: CacheEntry, contrast: str | None) -> CacheEntry:
    """Return a row whose slices of unknown contrast have this one."""
    return replace(entry, contrasts=tuple(known or contrast for known in entry.contrasts))


def one_subject_each(entries: Iterable[CacheEntry]) -> list[CacheEntry]:
    """Return rows by name, those of the same content with the same subject, that no copy be on two sides."""
    rows = sorted(entries, key=lambda entry: entry.name)
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row.content or row.name, row.subject)
    return [replace(row, subject=first[row.content or row.name]) for row in rows]
