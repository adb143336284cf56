"""Which scans are for training, validation and test: always whole subjects, always the same for a seed."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lightning_mri.datasets.cache import CacheEntry
from lightning_mri.files import read_yaml
from lightning_mri.io.scan import Scan
from lightning_mri.io.subjects import stem_of, subject_in
from lightning_mri.messages import first_few
from lightning_mri.tensors import derive_seed, spread

MIN_SLICES, MAX_SUBJECTS = 4, 10
FOLDERS = {"train": ("train",), "val": ("val",), "test": ("test_full", "test")}

TRAINED = "trained_subjects"
"""Entry of a model card: the digests of all subjects that the prior was trained on."""

Source = Scan | CacheEntry
"""A scan as measured, or the images that were made of one."""

Divided = TypeVar("Divided", bound=Source)

log = logging.getLogger(__name__)


def subject_digest(subject: str) -> str:
    """Return what stands for a subject in a checkpoint, which goes to others and must not name patients."""
    return hashlib.sha256(subject.encode()).hexdigest()[:16]


def trained_on(card: Mapping[str, Any], subject: str, source: str = "") -> bool:
    """Return whether a prior was trained on a subject, in this phase or an earlier one, by its model card.

    Args:
        card: The model card.
        subject: Whom a scan is of.
        source: Path of the scan, if known. Training, which saw other scans beside it, may have taken any of its folders
            for the subject, or its name.
    """
    path = Path(source).absolute()
    names = {subject, subject_in(stem_of(path)), *path.parts} if source else {subject}
    return any(subject_digest(name) in card.get(TRAINED, ()) for name in names)


@dataclass(frozen=True)
class SubjectSplit:
    """Split by subject: in a random order the first validate, the next train, the rest test.

    The order depends on the seed and on each subject's name alone. So training sets are nested: those of
    1, 5, 10 and 17 subjects are contained in each other, and share the validation subjects.

    Args:
        n_val: Number of validation subjects.
        n_train: Number of training subjects; all that are left if not given.
        seed: Seed of the order.
    """

    n_val: int
    n_train: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_val < 0 or (self.n_train or 0) < 0:
            raise ValueError(
                f"n_val and n_train (n_subjects) must not be negative: got {self.n_val} and {self.n_train}"
            )

    def divide(self, subject_of: Mapping[str, str]) -> dict[str, list[str]]:
        """Return the names of the scans of ``train``, ``val`` and ``test``, given the subject of each.

        Raises:
            ValueError: If there are too few subjects.
        """
        order = sorted(set(subject_of.values()), key=lambda name: (derive_seed(self.seed, name), name))
        n_train = max(1, len(order) - self.n_val) if self.n_train is None else self.n_train
        n_used = self.n_val + n_train
        if len(order) < n_used:
            raise ValueError(
                f"n_val {self.n_val} and n_train (n_subjects) {n_train} must not exceed the number of subjects:"
                f" got {len(order)}"
            )
        sides = {"train": order[self.n_val : n_used], "val": order[: self.n_val], "test": order[n_used:]}
        return {
            side: sorted(name for name, subject in subject_of.items() if subject in set(subjects))
            for side, subjects in sides.items()
        }

    def divide_scans(self, scans: Sequence[Divided], root: Path) -> dict[str, list[Divided]]:
        """Return the scans of ``train``, ``val`` and ``test``; scans of one subject stay together.

        Args:
            scans: The scans.
            root: Where they were found, for an error to say.

        Raises:
            ValueError: If there are too few subjects.
        """
        by_path = {str(scan.source): scan for scan in scans}
        try:
            split = self.divide({path: scan.subject for path, scan in by_path.items()})
        except ValueError as error:
            raise ValueError(f"{root}: {error}") from error
        return {side: [by_path[path] for path in paths] for side, paths in split.items()}


@dataclass(frozen=True)
class NamedSplit:
    """The split that a YAML file names: lists of subjects, scans or files under ``train``, ``val`` and ``test``.

    The ``split.yaml`` that a run leaves is such a file. Without a list of its own ``test`` is all other subjects.
    """

    path: Path
    side_of: Mapping[str, str]  # by name
    others_are_tests: bool  # whether subjects that have no name in the file are tested on, or left out

    @classmethod
    def read(cls, path: Path, tests: bool = True) -> "NamedSplit":
        """Read the file, its names of ``test`` only if they count.

        Raises:
            ValueError: If it is no such file, or a name stands on two sides.
        """
        content = read_yaml(path)
        if not isinstance(content, dict) or not {"train", "val"} <= content.keys() <= FOLDERS.keys():
            raise ValueError(f"{path} must hold lists of names called train and val, and no others but test")
        side_of: dict[str, str] = {}
        for side, names in content.items():
            if side == "test" and not tests:
                continue
            wrong = [name for name in names if not isinstance(name, str)] if isinstance(names, list) else [names]
            if wrong:
                raise ValueError(f"{path}: {side} must be a list of names, those of digits in quotes: got {wrong[0]}")
            for name in names:
                if side_of.setdefault(name, side) != side:
                    raise ValueError(f"{path}: no name may be on two sides: {name} is on {side_of[name]} and {side}")
        return cls(path, side_of, "test" not in content)

    def divide_scans(self, scans: Sequence[Divided]) -> dict[str, list[Divided]]:
        """Return the scans of ``train``, ``val`` and ``test``.

        Raises:
            ValueError: If a name is of no scan, or a subject is on two sides.
        """
        sides: dict[str, list[Divided]] = {side: [] for side in FOLDERS}
        whose, unknown, rest = dict[str, str](), set(self.side_of), list[Divided]()
        for scan in scans:
            names = _names_of(scan) & self.side_of.keys()
            unknown -= names
            for side in sorted({self.side_of[name] for name in names}):
                if whose.setdefault(scan.subject, side) != side:
                    both = f"{whose[scan.subject]} and {side}"
                    raise ValueError(f"{self.path}: no subject may be on two sides: {scan.subject} is on {both}")
                sides[side].append(scan)
            rest += [] if names else [scan]
        if unknown:
            some = first_few(sorted(unknown), 3)
            raise ValueError(f"{self.path}: every name must be of a scan that is there: none is called {some}")
        if self.others_are_tests:
            sides["test"] = [scan for scan in rest if scan.subject not in whose]
        return sides


def spread_over_subjects(scans: Sequence[Divided], n: int | None) -> list[tuple[Divided, int]]:
    """Return scan and number of some slices, as many of each subject, which begin with different scans.

    Args:
        scans: Scans to take slices from.
        n: Number of slices; if None one of each of up to 10 subjects, and 4 at least.
    """
    of: dict[str, list[Divided]] = {}
    for scan in scans:
        of.setdefault(scan.subject, []).append(scan)
    n = max(MIN_SLICES, min(len(of), MAX_SUBJECTS)) if n is None else n
    subjects = [[*of.values()][i] for i in spread(len(of), n)]
    chosen = []
    for i, (theirs, n_subject) in enumerate(zip(subjects, _shares(n, len(subjects)), strict=True)):
        first = i % len(theirs)  # subjects may have the same contrasts in the same order
        for scan, n_scan in zip([*theirs[first:], *theirs[:first]], _shares(n_subject, len(theirs)), strict=True):
            chosen += [(scan, k) for k in spread(scan.n_slices, n_scan)]
    return chosen


def _shares(n: int, parts: int) -> list[int]:
    """Return how many of n each of some parts gets."""
    return [n // parts + (part < n % parts) for part in range(parts)]


def _names_of(scan: Source) -> set[str]:
    """Return what a file may call a scan: its subject, its own name, its file's with and without the ending, its path.

    The path may start at any folder: ``P001/flair.npy`` tells files of one name apart.
    """
    path = Path(scan.source)
    paths = {"/".join(path.parts[first:]) for first in range(len(path.parts))}
    return {scan.subject, scan.name, stem_of(path), *paths}


@dataclass(frozen=True)
class FolderSplit:
    """The split that folders make, such as `multicoil_train` and `multicoil_val`.

    A subject of a later side (validation, then test) is left out of the earlier ones.
    """

    coils: str  # first part of the folders' names

    @classmethod
    def found(cls, coils: Sequence[str], scans: Sequence[Divided]) -> "FolderSplit | None":
        """Return the split of the first of these names that has both a training and a validation folder."""
        parts = {part for scan in scans for part in Path(scan.source).parts}
        return next((cls(name) for name in coils if {f"{name}_train", f"{name}_val"} <= parts), None)

    def divide_scans(self, scans: Sequence[Divided]) -> dict[str, list[Divided]]:
        """Return the scans of ``train``, ``val`` and ``test``."""
        sides = {side: _within([f"{self.coils}_{end}" for end in ends], scans) for side, ends in FOLDERS.items()}
        for side, later in (("train", ("val", "test")), ("val", ("test",))):
            held_out = {scan.subject for name in later for scan in sides[name]}
            kept = [scan for scan in sides[side] if scan.subject not in held_out]
            if n_left_out := len(sides[side]) - len(kept):
                log.warning("%d scans of %s are left out: their subjects are held out as well", n_left_out, side)
            sides[side] = kept
        return sides


def _within(folders: Sequence[str], scans: Sequence[Divided]) -> list[Divided]:
    """Return the scans below the first of these folders that holds any."""
    found = ([scan for scan in scans if folder in Path(scan.source).parts] for folder in folders)
    return next((some for some in found if some), [])
