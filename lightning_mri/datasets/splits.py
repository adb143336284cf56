"""Which scans are for training, validation and test: always whole subjects, always the same for a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from lightning_mri.tensors import derive_seed


@runtime_checkable
class OfSubject(Protocol):
    """What can be divided: it comes from somewhere, and is somebody's."""

    @property
    def source(self) -> Path | str:
        """Where it comes from, unique."""

    @property
    def subject(self) -> str:
        """Whose it is."""


Divided = TypeVar("Divided", bound=OfSubject)


@dataclass(frozen=True)
class Split:
    """Names of the scans on each side; a subject is on one side only."""

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def names(self) -> dict[str, list[str]]:
        """Return the names by side, as plain values for checkpoints."""
        return {"train": list(self.train), "val": list(self.val), "test": list(self.test)}


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

    def divide(self, subject_of: Mapping[str, str]) -> Split:
        """Divide names of scans, given the subject of each.

        Raises:
            ValueError: If there are too few subjects.
        """
        order = sorted(set(subject_of.values()), key=lambda name: (derive_seed(self.seed, name), name))
        n_train = max(1, len(order) - self.n_val) if self.n_train is None else self.n_train
        n_used = self.n_val + n_train
        if len(order) < n_used:
            raise ValueError(
                f"there must be as many subjects as are asked for:"
                f" got {len(order)} for {n_train} to train and {self.n_val} to validate on"
            )

        def scans_of(subjects: Sequence[str]) -> tuple[str, ...]:
            return tuple(sorted(name for name, subject in subject_of.items() if subject in set(subjects)))

        return Split(scans_of(order[self.n_val : n_used]), scans_of(order[: self.n_val]), scans_of(order[n_used:]))

    def divide_scans(self, scans: Sequence[Divided]) -> dict[str, list[Divided]]:
        """Return the scans of ``train``, ``val`` and ``test``; scans of one subject stay together.

        Raises:
            ValueError: If there are too few subjects.
        """
        by_path = {str(scan.source): scan for scan in scans}
        split = self.divide({path: scan.subject for path, scan in by_path.items()})
        return {side: [by_path[path] for path in paths] for side, paths in split.names().items()}
