"""A small collection of FLAIR scans to fine-tune on, such as those of stroke patients."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lightning_mri.datasets.modules.fully_sampled import FullySampledScans
from lightning_mri.datasets.modules.scan_folder import Source, open_scans, with_contrast
from lightning_mri.datasets.splits import SubjectSplit
from lightning_mri.io.scan import Scan

SUBSETS = {1: 1, 5: 5, 10: 10, 20: 17}
N_VAL = 3


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
        test_root: Folder of raw scans to test on; the other subjects of ``root`` if not given.
        contrast: Contrast of the scans.
        seed: Seed of the split.
        loading: Arguments of `FullySampledScans`.
    """

    def __init__(
        self,
        root: Path,
        n_subjects: int = 17,
        n_val: int = N_VAL,
        subset: Literal[1, 5, 10, 20] | None = None,
        test_root: Path | None = None,
        contrast: str = "FLAIR",
        seed: int = 0,
        **loading: Any,
    ) -> None:
        super().__init__(root, **loading)
        self.test_root, self.contrast = test_root, contrast
        if subset is not None:
            n_subjects, n_val = SUBSETS[subset], N_VAL
        self.split = SubjectSplit(n_val, n_subjects, seed)

    def divide(self) -> Mapping[str, Sequence[Source]]:
        """Return the scans of each side.

        Raises:
            FileNotFoundError: If there are no scans.
            ValueError: If there are too few subjects, or a test subject is also trained on.
        """
        sides: dict[str, list[Source]] = self.split.divide_scans(self._wanted(self.folder.sources()))
        if self.test_root is None:
            return sides
        sides["test"] = self._wanted(open_scans(self.test_root))
        seen = {scan.subject for side in ("train", "val") for scan in sides[side]}
        for scan in sides["test"]:
            if scan.subject in seen:
                raise ValueError(f"{scan.source}: subjects of test_root must not be in root: got {scan.subject}")
        return sides

    def _wanted(self, sources: Sequence[Source]) -> list[Source]:
        named = [
            replace(source, contrast=source.contrast or self.contrast)
            if isinstance(source, Scan)
            else with_contrast(source, self.contrast)
            for source in sources
        ]
        return [source for source in named if source.contrast == self.contrast]
