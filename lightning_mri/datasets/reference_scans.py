"""Fully sampled scans of any contrast, to see how well they are reconstructed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from lightning_mri.datasets.batches import SliceBatch
from lightning_mri.datasets.scans import Scans, with_subjects_found
from lightning_mri.datasets.shares import scan_loader
from lightning_mri.datasets.slices import UndersampledDataset, check_accelerations, undersample
from lightning_mri.io.scan import Scan
from lightning_mri.physics import Equispaced, SamplingPattern


class ReferenceScans(Scans):
    """Any fully sampled scan, or all in a folder, for ``test``: undersampled here, and compared with all of it.

    Scans that are not fully sampled count as failed. Baselines keep their default settings, since there are
    no other subjects to choose them on; `FullySampledScans` has some.

    Args:
        root: File or folder.
        pattern: Sampling pattern of the tests.
        accelerations: Nominal accelerations of the tests.
        batch_size: Slices of one scan that are reconstructed together.
        reading: Arguments of `Scans`.
    """

    def __init__(
        self,
        root: Path,
        pattern: SamplingPattern = Equispaced(4, 16),  # noqa: B008 - frozen
        accelerations: Sequence[float] = (4.0,),
        batch_size: int = 4,
        **reading: Any,
    ) -> None:
        super().__init__(root, batch_size, **reading)
        self.pattern, self.accelerations = pattern, tuple(accelerations)
        self._roomy: set[tuple[int, int]] = set()  # matrices with room for all: Poisson discs take half a second

    def check(self, scan: Scan) -> None:
        """Accept scans whose first slice is fully sampled, and whose matrix has room for all accelerations."""
        if scan.matrix not in self._roomy:
            check_accelerations(scan, self.pattern, self.accelerations)
            self._roomy.add(scan.matrix)
        undersample(scan, (0,), self.pattern, self.accelerations[0])

    def setup(self, stage: str | None = None) -> None:
        """Open every scan; tests count subjects as training does, while a prediction takes each scan for itself."""
        super().setup(stage)
        if stage != "predict":
            self.scans = with_subjects_found(self.root, self.scans)

    def test_dataloader(self) -> DataLoader[SliceBatch]:
        """Return the scans at each acceleration, with their references."""
        dataset = UndersampledDataset(self.scans, self.batch_size, self.pattern, self.accelerations)
        return scan_loader(dataset, self.n_workers)
