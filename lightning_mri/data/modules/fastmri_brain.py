"""fastMRI's brain scans, in the folders of the published data or in any other."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_mri.data.modules.fully_sampled import FullySampledScans, open_scans
from lightning_mri.data.scan import Scan
from lightning_mri.data.splits import SubjectSplit

TRAIN, VAL = "multicoil_train", "multicoil_val"
TEST = ("multicoil_test_full", "multicoil_test")

log = logging.getLogger(__name__)


class FastMRIBrain(FullySampledScans):
    """Multi-coil brain scans with the contrasts that are asked for.

    Where ``root`` has fastMRI's folders `multicoil_train` and `multicoil_val`, they are the split, and
    `multicoil_test_full`, or else `multicoil_test`, is for tests. A subject of the validation or test folder
    that also appears in training is left out of training. Any other folder is divided by subject.

    Args:
        root: Folder of scans.
        include: Contrasts to use; all if not given.
        exclude: Contrasts to leave out, such as FLAIR for pre-training.
        split: How to divide a folder that has no split of its own.
        loading: Arguments of `FullySampledScans`.
    """

    def __init__(
        self,
        root: Path,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        split: SubjectSplit = SubjectSplit(n_val=10),  # noqa: B008 - frozen
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.root, self.include, self.exclude, self.split = root, include, tuple(exclude), split

    def divide(self) -> Mapping[str, Sequence[Scan]]:
        """Return the scans of each side.

        Raises:
            FileNotFoundError: If there are no scans.
            ValueError: If there are too few subjects.
        """
        if (self.root / TRAIN).is_dir() and (self.root / VAL).is_dir():
            return self._official()
        return self.split.divide_scans(self._wanted(self.root))

    def _official(self) -> dict[str, list[Scan]]:
        test = next((self.root / name for name in TEST if (self.root / name).is_dir()), None)
        sides = {
            "train": self._wanted(self.root / TRAIN),
            "val": self._wanted(self.root / VAL),
            "test": [] if test is None else self._wanted(test),
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

    def _wanted(self, folder: Path) -> list[Scan]:
        scans = open_scans(folder)
        return [
            scan
            for scan in scans
            if (self.include is None or scan.contrast in self.include) and scan.contrast not in self.exclude
        ]
