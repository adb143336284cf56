"""Scans as the user has them, to be reconstructed."""

from pathlib import Path

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from lightning_mri.data.datasets import ScanDataset, SliceBatch, check_names, scan_loader
from lightning_mri.data.readers import find_scans, read_scan
from lightning_mri.data.scan import Scan


class Scans(LightningDataModule):
    """Any scan, or all scans in a folder, for ``predict``: every format, matrix and number of coils.

    Args:
        root: File or folder.
        batch_size: Slices of one scan that are reconstructed together.
        n_workers: Processes that read ahead.
    """

    scans: list[Scan]

    def __init__(self, root: Path, batch_size: int = 8, n_workers: int = 0) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive: got {batch_size}")
        self.root, self.batch_size, self.n_workers = root, batch_size, n_workers

    def setup(self, stage: str | None = None) -> None:
        """Open every scan, so that a file that breaks a rule is named before anything is computed."""
        self.scans = [read_scan(path) for path in find_scans(self.root)]
        check_names(self.scans)

    def predict_dataloader(self) -> DataLoader[SliceBatch]:
        """Return the slices of each scan, some at a time."""
        return scan_loader(ScanDataset(self.scans, self.batch_size), self.n_workers)
