"""fastMRI's brain and knee scans, in the folders of the published data or in any other."""

import logging
from abc import ABC
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lightning_mri.datasets.modules.fully_sampled import FullySampledScans
from lightning_mri.datasets.modules.scan_folder import Source
from lightning_mri.datasets.splits import SubjectSplit

FOLDERS = {"train": ("train",), "val": ("val",), "test": ("test_full", "test")}

log = logging.getLogger(__name__)


class FastMRI(FullySampledScans, ABC):
    """Scans with the contrasts that are asked for, in fastMRI's split where there is one.

    Where ``root`` has folders such as `multicoil_train` and `multicoil_val`, they are the split, and
    `multicoil_test_full`, or else `multicoil_test`, is for tests. A subject of the validation or test folder
    that also appears in training is left out of training. Any other folder is divided by subject. A prepared
    folder remembers where its scans came from.

    Args:
        root: Folder of scans, raw or prepared.
        include: Contrasts to use; all if not given.
        exclude: Contrasts to leave out, such as FLAIR for pre-training.
        split: How to divide a folder that has no split of its own.
        loading: Arguments of `FullySampledScans`.
    """

    coils: ClassVar[tuple[str, ...]]
    """First part of the names of fastMRI's folders, the one to prefer first."""

    def __init__(
        self,
        root: Path,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        split: SubjectSplit = SubjectSplit(n_val=10),  # noqa: B008 - frozen
        **loading: Any,
    ) -> None:
        super().__init__(root, **loading)
        self.include, self.exclude, self.split = include, tuple(exclude), split

    def divide(self) -> Mapping[str, Sequence[Source]]:
        """Return the scans of each side.

        Raises:
            FileNotFoundError: If there are no scans.
            ValueError: If there are too few subjects.
        """
        for coils in self.coils:
            if all(self.folder.has(f"{coils}_{side}") for side in ("train", "val")):
                return self._official(coils)
        return self.split.divide_scans(self._wanted())

    def _official(self, coils: str) -> dict[str, list[Source]]:
        folders = {side: [f"{coils}_{ending}" for ending in endings] for side, endings in FOLDERS.items()}
        sides = {
            side: next((self._wanted(name) for name in names if self.folder.has(name)), [])
            for side, names in folders.items()
        }
        for side, later in (("train", ("val", "test")), ("val", ("test",))):
            held_out = {scan.subject for name in later for scan in sides[name]}
            kept = [scan for scan in sides[side] if scan.subject not in held_out]
            if len(kept) < len(sides[side]):
                log.warning(
                    "%d scans of %s are left out, since their subjects are held out as well",
                    len(sides[side]) - len(kept),
                    side,
                )
            sides[side] = kept
        return sides

    def _wanted(self, name: str | None = None) -> list[Source]:
        return [
            scan
            for scan in self.folder.sources(name)
            if (self.include is None or scan.contrast in self.include) and scan.contrast not in self.exclude
        ]


class FastMRIBrain(FastMRI):
    """Brain scans of many coils: T1w, T1w-post, T2w and FLAIR, in `multicoil_train` and the like."""

    coils = ("multicoil",)


class FastMRIKnee(FastMRI):
    """Knee scans, PD and fat-suppressed PDFS, in `multicoil_train` and the like, or else in `singlecoil_train`."""

    coils = ("multicoil", "singlecoil")
