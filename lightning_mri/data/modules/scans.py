"""Scans as the user has them, to be reconstructed."""

from pathlib import Path

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from lightning_mri.data.datasets import Failed, ScanDataset, SliceBatch, check_names, scan_loader
from lightning_mri.data.readers import find_scans, read_scan
from lightning_mri.data.scan import Scan


class Scans(LightningDataModule):
    """Any scan, or all scans in a folder, for ``predict``: every format, matrix and number of coils.

    A scan that cannot be opened stops no other.

    Args:
        root: File or folder.
        batch_size: Slices of one scan that are reconstructed together.
        n_workers: Processes that read ahead.
    """

    scans: list[Scan]
    failures: list[Failed]

    def __init__(self, root: Path, batch_size: int = 8, n_workers: int = 0) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive: got {batch_size}")
        self.root, self.batch_size, self.n_workers = root, batch_size, n_workers

    def setup(self, stage: str | None = None) -> None:
        """Open every scan, so that a file that breaks a rule is named before anything is computed.

        Raises:
            FileNotFoundError: If there is no scan.
            ValueError: If none can be opened, or two scans have one name.
        """
        self.scans, self.failures = [], []
        for path in find_scans(self.root):
            try:
                self.scans.append(read_scan(path))
            except (ValueError, OSError) as error:
                self.failures.append(Failed(path.stem, str(path), (), 0, str(error)))
        if not self.scans:
            raise ValueError("; ".join(failure.reason for failure in self.failures))
        check_names(self.scans)

    def predict_dataloader(self) -> DataLoader[SliceBatch | Failed]:
        """Return the slices of each scan, some at a time."""
        return scan_loader(ScanDataset(self.scans, self.batch_size), self.n_workers)
