"""Scans as the user has them, to be reconstructed."""

import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch.utils.data import DataLoader
from tqdm import tqdm

from lightning_mri.datasets.batches import Failed
from lightning_mri.datasets.loading import check_positive
from lightning_mri.datasets.shares import Claim, scan_loader
from lightning_mri.datasets.slices import ScanDataset, measured
from lightning_mri.io import find_scans, read_scan
from lightning_mri.io.failures import AllFailed, naming_guesses
from lightning_mri.io.scan import Scan
from lightning_mri.io.subjects import NamedSubjects, stem_of
from lightning_mri.messages import printable

BAR_AFTER_S = 3


class MeasuredScans(LightningDataModule, ABC):
    """A scan, or all scans in a folder, for ``predict``. A scan that cannot be used stops no other.

    Attributes:
        scans: Those that can be reconstructed.
        failures: Those that cannot.
        claim: Lets processes help each other, see `scan_loader`.
    """

    scans: list[Scan]
    failures: list[Failed]
    claim: Claim | None = None

    def __init__(self, root: Path, batch_size: int = 4, n_workers: int = 0) -> None:
        super().__init__()
        check_positive(batch_size=batch_size)
        self.root, self.batch_size, self.n_workers = root, batch_size, n_workers

    @abstractmethod
    def check(self, scan: Scan) -> None:
        """Check that a scan can be reconstructed, before anything is computed."""

    @abstractmethod
    def reading(self) -> Callable[[Scan, tuple[int, ...]], Any]:
        """Return what makes a batch of some slices of a scan; it is sent to the processes that read ahead."""

    def read(self, path: Path) -> Scan:
        """Open a scan."""
        return read_scan(path)

    def setup(self, stage: str | None = None) -> None:
        """Open every scan, so that a file that breaks a rule is named before anything is computed."""
        self.scans, self.failures = [], []
        # a bar of the first process in a terminal, while it lasts
        hidden = True if getattr(rank_zero_only, "rank", 0) else None
        for path in tqdm(find_scans(self.root), "reading headers", leave=False, disable=hidden, delay=BAR_AFTER_S):
            try:
                scan = self.read(path)
                with naming_guesses(scan.warnings):
                    self.check(scan)
                self.scans.append(scan)
            except Exception as error:
                name = printable(mirrored(path, stem_of(path), self.root))
                self.failures.append(Failed.by(error, name, str(path)))
        if not self.scans:
            raise AllFailed(self.failures)
        named = [replace(scan, name=printable(mirrored(scan.source, scan.name, self.root))) for scan in self.scans]
        # a subject that no file names is one of the scan's own: `P001/flair` and `P002/flair` are not both of "flair"
        self.scans = [
            scan if scan.subject_known else replace(scan, subject=scan.name) for scan in with_distinct_names(named)
        ]
        # what an earlier run left of a scan that fails is removed by its name: `a.h5` may be broken and `a.npy` not
        counts = Counter([*(scan.name for scan in self.scans), *(failure.scan for failure in self.failures)])
        for index, failure in enumerate(self.failures):
            if counts[failure.scan] > 1:
                path = Path(failure.source)
                self.failures[index] = replace(failure, scan=printable(mirrored(path, path.name, self.root)))

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the slices of each scan, some at a time; those that cannot be read come as `Failed`."""
        return scan_loader(ScanDataset(self.scans, self.batch_size, self.reading()), self.n_workers, self.claim)


class Scans(MeasuredScans):
    """Any scan, or all scans in a folder, for ``predict``: every format, matrix and number of coils.

    A scan that cannot be opened stops no other.

    Args:
        root: File or folder.
        batch_size: Slices of one scan that are reconstructed together.
        n_workers: Processes that read ahead.
        axes: Names of the axes of NumPy, MATLAB and HDF5 files, for example "coil z y x".
        measurement: Name of the measurement to read, of ISMRMRD files that hold several.
        pixel_size: Size of a pixel (y, x) in mm, of files that name none.
        slice_spacing: Distance between the centres of slices in mm, of files that name none.
        contrast: Name of the contrast, instead of that which the files name.
    """

    def __init__(
        self,
        root: Path,
        batch_size: int = 4,
        n_workers: int = 0,
        axes: str | None = None,
        measurement: str | None = None,
        pixel_size: tuple[float, float] | None = None,
        slice_spacing: float | None = None,
        contrast: str | None = None,
    ) -> None:
        super().__init__(root, batch_size, n_workers)
        self.axes, self.measurement, self.contrast = axes, measurement, contrast
        self.pixel_size, self.slice_spacing = pixel_size, slice_spacing

    def read(self, path: Path) -> Scan:
        """Open a scan, with what was said about it."""
        return read_scan(
            path,
            axes=self.axes,
            measurement=self.measurement,
            pixel_size=self.pixel_size,
            slice_spacing=self.slice_spacing,
            contrast=self.contrast,
        )

    def check(self, scan: Scan) -> None:
        """Accept every scan."""

    def reading(self) -> Callable[[Scan, tuple[int, ...]], Any]:
        """Return slices as they were measured."""
        return measured


def with_subjects_found(root: Path, scans: Sequence[Scan]) -> list[Scan]:
    """Return scans with their subjects by the one rule of training and tests (`NamedSubjects`), and tell it."""
    subjects = NamedSubjects.found({scan.source: scan.subject if scan.subject_known else "" for scan in scans})
    say(f"{root}: {subjects.rule}")
    return [replace(scan, subject=subjects.of[scan.source]) for scan in scans]


@rank_zero_only
def say(text: str) -> None:
    """Tell the user something about the data, once for all processes."""
    print(text, file=sys.stderr)


def mirrored(path: Path, name: str, root: Path) -> str:
    """Return a scan's name with its folders below ``root`` before it, so that results mirror the input."""
    folders = path.parent.relative_to(root).parts if root in path.parents else ()
    return "/".join([*folders, name])


def with_distinct_names(scans: Sequence[Scan]) -> list[Scan]:
    """Return scans none of which has another's name: equal ones get their file's ending, or their whole path."""
    counts = Counter(scan.name for scan in scans)
    by_file = [
        replace(scan, name=mirrored(Path(scan.name), scan.source.name, Path())) if counts[scan.name] > 1 else scan
        for scan in scans
    ]
    counts = Counter(scan.name for scan in by_file)
    return [
        replace(scan, name=scan.source.as_posix().lstrip("/")) if counts[scan.name] > 1 else scan for scan in by_file
    ]
