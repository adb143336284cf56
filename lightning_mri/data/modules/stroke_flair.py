"""A small collection of FLAIR scans to fine-tune on, such as those of stroke patients."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_mri.data.modules.fully_sampled import FullySampledScans, open_scans
from lightning_mri.data.scan import Scan
from lightning_mri.data.splits import SubjectSplit


class StrokeFLAIR(FullySampledScans):
    """FLAIR scans of a few subjects; any folder of fully sampled files will do.

    Training sets of 1, 5, 10 and 17 subjects are nested for a seed, and share the validation subjects. Scans
    of another known contrast are left out; a scan whose contrast is not known counts as this one.

    Args:
        root: Folder of scans to fine-tune on.
        n_subjects: Number of subjects to train on.
        n_val: Number of subjects to validate on.
        test_root: Folder of scans to test on; the other subjects of ``root`` if not given.
        contrast: Contrast of the scans.
        seed: Seed of the split.
        loading: Arguments of `FullySampledScans`.
    """

    def __init__(
        self,
        root: Path,
        n_subjects: int = 17,
        n_val: int = 3,
        test_root: Path | None = None,
        contrast: str = "FLAIR",
        seed: int = 0,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.root, self.test_root, self.contrast = root, test_root, contrast
        self.split = SubjectSplit(n_val, n_subjects, seed)

    def divide(self) -> Mapping[str, Sequence[Scan]]:
        """Return the scans of each side.

        Raises:
            FileNotFoundError: If there are no scans.
            ValueError: If there are too few subjects, or a test subject is also trained on.
        """
        sides = dict(self.split.divide_scans(self._wanted(self.root)))
        if self.test_root is None:
            return sides
        sides["test"] = self._wanted(self.test_root)
        seen = {scan.subject for side in ("train", "val") for scan in sides[side]}
        for scan in sides["test"]:
            if scan.subject in seen:
                raise ValueError(f"{scan.source}: subjects of test_root must not be in root: got {scan.subject}")
        return sides

    def _wanted(self, folder: Path) -> list[Scan]:
        scans = (replace(scan, contrast=scan.contrast or self.contrast) for scan in open_scans(folder))
        return [scan for scan in scans if scan.contrast == self.contrast]
