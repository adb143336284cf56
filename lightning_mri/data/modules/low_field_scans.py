"""Measured low-field scans, with what is known of the scanner that made them."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_mri.data.datasets import Failed, check_names, scan_loader, slice_groups
from lightning_mri.data.low_field import LowField, LowFieldBatch
from lightning_mri.data.readers import find_scans, read_scan
from lightning_mri.data.scan import Scan
from lightning_mri.physics import GaussianLikelihood, estimate_noise_std, sense


class LowFieldScans(LightningDataModule):
    """Low-field scans of one coil, for ``predict``: a file or a folder of any format that can be read.

    Blur and decay cannot be found in a scan: an image that was blurred looks like the image of a smoother object.
    They have to be known of the scanner and its protocol. The noise level can: it is estimated from the edge of
    k-space and the background of the image, unless it is given. A B0 field is not modelled, since that of the scan
    is not known; its phase stays in the image.

    Args:
        root: File or folder.
        degradation: Blur, decay and readout time of the scanner. Pixels are those of the scan's header; what it
            says of noise and B0 is for simulation.
        noise_std: Noise of each real channel of k-space, in the file's units; estimated if not given.
        batch_size: Slices of one scan that are reconstructed together.
        n_workers: Processes that read ahead.

    Raises:
        ValueError: If a number is out of range, or the degradation holds what a measured scan must not.
    """

    scans: list[Scan]

    def __init__(
        self,
        root: Path,
        degradation: LowField = LowField(),  # noqa: B008 - frozen
        noise_std: float | None = None,
        batch_size: int = 8,
        n_workers: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive: got {batch_size}")
        if noise_std is not None and not 0 < noise_std < math.inf:
            raise ValueError(f"noise_std must be finite and positive: got {noise_std}")
        if degradation.b0_hz:
            raise ValueError(
                f"degradation.b0_hz must be 0 for measured scans, whose field is not known: got {degradation.b0_hz}"
            )
        if degradation.pattern is not None:
            raise ValueError("degradation.pattern must be left out for measured scans: their mask is found in the file")
        self.root, self.degradation, self.noise_std = root, degradation, noise_std
        self.batch_size, self.n_workers = batch_size, n_workers

    def setup(self, stage: str | None = None) -> None:
        """Open every scan, and check that the degradation can be applied to it.

        Raises:
            FileNotFoundError: If there is no scan.
            ValueError: If a file breaks a rule, has several coils, does not tell its pixel size where that is
                needed, or is smaller than the blur.
        """
        self.scans = [read_scan(path) for path in find_scans(self.root)]
        check_names(self.scans)
        for scan in self.scans:
            _check(scan, self.degradation)

    def predict_dataloader(self) -> DataLoader[LowFieldBatch | Failed]:
        """Return the slices of each scan, some at a time."""
        dataset = MeasuredLowField(self.scans, self.degradation, self.noise_std, self.batch_size)
        return scan_loader(dataset, self.n_workers)


class MeasuredLowField(Dataset[LowFieldBatch | Failed]):
    """Slices of low-field scans, ``batch_size`` consecutive ones of one scan at a time, without a reference.

    Args:
        scans: Scans of one coil.
        degradation: Blur, decay and readout time.
        noise_std: Noise of each real channel; estimated from each slice if not given.
        batch_size: Number of slices that are reconstructed together.
    """

    def __init__(self, scans: Sequence[Scan], degradation: LowField, noise_std: float | None, batch_size: int) -> None:
        self.degradation, self.noise_std = degradation, noise_std
        self.items = [(scan, part) for scan in scans for part in slice_groups(scan.n_slices, batch_size)]

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.items)

    def __getitem__(self, index: int) -> LowFieldBatch | Failed:
        """Read the slices of one batch; those that cannot be read come as `Failed`."""
        scan, part = self.items[index]
        try:
            likelihood = self._likelihood(scan, torch.where(scan.mask, scan.kspace[part], 0))
        except (ValueError, OSError) as error:
            return Failed(scan.name, str(scan.source), part, scan.n_slices, str(error))
        return LowFieldBatch(
            scan=scan.name,
            source=str(scan.source),
            slices=part,
            n_slices=scan.n_slices,
            likelihood=likelihood,
            reference=None,
            contrast=scan.contrast,
            subject=scan.subject,
            pixel_size=scan.pixel_size,
            doubts=scan.doubts,
            slice_spacing=scan.slice_spacing,
            affine=scan.affine,
            n_volumes=scan.n_volumes,
            magnitude_only=scan.magnitude_only,
        )

    def _likelihood(self, scan: Scan, y: Tensor) -> GaussianLikelihood:
        maps = torch.ones(len(y), 1, 1, *scan.matrix, dtype=torch.complex64)
        mask = scan.mask.expand(len(y), 1, *scan.matrix)
        A = sense(maps, mask, self.degradation.damping(scan.matrix, scan.pixel_size))
        known = None if self.noise_std is None else torch.full((len(y),), self.noise_std)
        return GaussianLikelihood(A, y, estimate_noise_std(y, mask) if known is None else known)


def _check(scan: Scan, degradation: LowField) -> None:
    if scan.n_coils != 1:
        raise ValueError(f"{scan.source}: a low-field scan must have one coil: got {scan.n_coils}")
    if scan.pixel_size is None and degradation.fwhm_mm:
        raise ValueError(
            f"{scan.source}: pixel_size must be in the file, since degradation.fwhm_mm is in mm: it does not tell"
        )
    try:
        degradation.damping(scan.matrix, scan.pixel_size)
    except ValueError as error:
        raise ValueError(f"{scan.source}: {error}") from error
