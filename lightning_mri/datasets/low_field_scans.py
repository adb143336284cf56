"""Measured low-field scans, with what is known of the scanner that made them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_mri.datasets.batches import LowFieldBatch
from lightning_mri.datasets.scans import Scans
from lightning_mri.io import read_scan
from lightning_mri.io.geometry import misplacement
from lightning_mri.io.scan import NAN_AS_ZERO, UNKNOWN_READOUT, Scan
from lightning_mri.physics import GaussianLikelihood, Phase, estimate_noise_std, ifft2c, sense
from lightning_mri.physics.low_field import LowField
from lightning_mri.physics.spectra import REAL
from lightning_mri.tensors import centre_crop, centre_pad


class LowFieldScans(Scans):
    """Low-field scans of one coil, for ``predict``: a file or a folder of any format that can be read.

    Blur and decay have to be known of the scanner and its protocol, or estimated beforehand (`estimate_scanner`,
    ``inspect --like``). The noise level is estimated from the edge of k-space and the background of the image, unless
    it is given. B0 has to be measured: without a map, its phase stays in the image. A scan that cannot be used stops
    no other.

    Args:
        root: File or folder.
        degradation: Blur, decay and readout time of the scanner, and the echo time if there is a map of B0. What it
            says of pixels, noise and the largest B0 is for simulation.
        noise_std: Noise of each real channel of k-space, in the file's units; estimated if not given.
        field: Map of B0 in Hz, in the matrix of the finished image and the order of its slices: real images as NIfTI,
            DICOM or Bruker 2dseq, or their k-space in any format. For one scan of one volume alone. Where it is NaN
            in NIfTI it counts as 0 Hz, with a warning.
        reading: Arguments of `Scans`.
    """

    def __init__(
        self,
        root: Path,
        degradation: LowField = LowField(),  # noqa: B008 - frozen
        noise_std: float | None = None,
        field: Path | None = None,
        **reading: Any,
    ) -> None:
        super().__init__(root, **reading)
        if noise_std is not None and not 0 < noise_std < math.inf:
            raise ValueError(f"noise_std must be finite and positive: got {noise_std}")
        if degradation.b0_hz:
            raise ValueError(
                "degradation.b0_hz must be 0 for measured scans, whose field is known by a map or not at all:"
                f" got {degradation.b0_hz}"
            )
        if degradation.pattern is not None:
            raise ValueError("degradation.pattern must be left out for measured scans: their mask is found in the file")
        if field is not None and not degradation.te_s:
            raise ValueError("degradation.te_s must be positive where there is a map of B0: got 0")
        self.degradation, self.noise_std, self.field = degradation, noise_std, field

    def setup(self, stage: str | None = None) -> None:
        """Open every scan and the map, and check that the degradation can be applied."""
        super().setup(stage)
        if self.field is not None and len(self.scans) > 1:
            raise ValueError(f"field must be of the one scan to reconstruct: got {len(self.scans)} scans")
        # after the checks, none of which depends on what is warned of: a refusal would name it
        self.scans = [replace(scan, warnings=(*scan.warnings, *self._guesses(scan))) for scan in self.scans]

    def read(self, path: Path) -> Scan:
        """Open a scan with the readout that is given."""
        scan = super().read(path)
        return replace(scan, readout=self.degradation.readout or scan.readout)

    def _guesses(self, scan: Scan) -> Iterator[str]:
        """Yield a warning where the decay may run along the other axis, and where the map has gaps."""
        if self.degradation.t2star_s is not None and not scan.readout:
            yield UNKNOWN_READOUT.format("--data.degradation.readout")
        if self.field is not None and NAN_AS_ZERO in read_scan(self.field).warnings:
            yield f"{self.field}: NaN in the map of B0 was read as 0 Hz"

    def check(self, scan: Scan) -> None:
        """Check that the scanner can have made a scan, and that the map fits it."""
        if scan.n_coils != 1:
            raise ValueError(f"{scan.source}: a low-field scan must have one coil: got {scan.n_coils}")
        if scan.pixel_size is None and self.degradation.fwhm_mm:
            raise ValueError(
                f"{scan.source}: pixel_size must be in the file or given, since degradation.fwhm_mm is in mm: it is not"
            )
        if self.field is not None:
            _check_field(read_scan(self.field), scan)
        try:
            self.degradation.damping(scan.matrix, scan.pixel_size)
        except ValueError as error:
            raise ValueError(f"{scan.source}: {error}") from error

    def reading(self) -> Callable[[Scan, tuple[int, ...]], LowFieldBatch]:
        """Return what makes a batch."""
        field = None if self.field is None else read_scan(self.field)
        return MeasuredLowField(self.degradation, self.noise_std, field)


@dataclass(frozen=True, eq=False)
class MeasuredLowField:
    """Makes batches of measured slices with what is known of their scanner, without a reference."""

    degradation: LowField  # blur, decay, readout and echo time
    noise_std: float | None = None  # noise of each real channel; estimated from each slice if not given
    field: Scan | None = None  # map of B0 in Hz, as a scan

    def __call__(self, scan: Scan, part: tuple[int, ...]) -> LowFieldBatch:
        """Read some slices."""
        mask = scan.mask_of(part)[:, None].expand(len(part), 1, *scan.matrix)
        y = torch.where(mask, scan.kspace.with_gaps(part), 0)
        maps = torch.ones(len(part), 1, 1, *scan.matrix, dtype=torch.complex64)
        phase = None
        if self.field is not None:
            phase = Phase.b0(centre_pad(_hertz(self.field, part), scan.matrix), self.degradation.te_s)
        A = sense(maps, mask, self._scanner(scan).damping(scan.matrix, scan.pixel_size), phase)
        noise_std = _noise_std(y, mask) if self.noise_std is None else torch.full((len(part),), self.noise_std)
        return LowFieldBatch.of(scan, part, likelihood=GaussianLikelihood(A, y, noise_std))

    def _scanner(self, scan: Scan) -> LowField:
        """Return the scanner with the axis of the scan's readout, and the time that all of the matrix would take."""
        known = self.degradation
        axis = known.readout or scan.readout or "y"
        read = scan.union_mask[0].any(1 if axis == "y" else 0)  # but for rows that a partial echo leaves out
        return replace(known, readout=axis, readout_s=known.readout_s / float(read.float().mean()))


def _noise_std(y: Tensor, mask: Tensor) -> Tensor:
    """Return the noise level of each slice; 1 where there is nothing to estimate it from."""
    usable = y.isfinite().flatten(1).all(1) & (y != 0).flatten(1).any(1)
    noise_std = torch.ones(len(y))
    if bool(usable.any()):
        noise_std[usable] = estimate_noise_std(y[usable], mask[usable])
    return noise_std


def _check_field(field: Scan, scan: Scan) -> None:
    """Check that a map fits, and that the scan has a phase."""
    if scan.magnitude_only:
        raise ValueError(
            f"{scan.source}: it must hold complex data, since a map of B0 models their phase: it holds magnitudes alone"
        )
    if scan.n_volumes > 1:
        raise ValueError(
            f"{scan.source}: it must hold one volume where there is a map of B0, since each echo has its own"
            f" degradation.te_s (give each as a scan of its own): got {scan.n_volumes}"
        )
    theirs, ours = ((one.n_slices, one.n_coils, *one.reconstruction_size) for one in (field, scan))
    if theirs != ours:
        raise ValueError(
            f"{field.source}: field must have the slices and matrix of the image: got [slice, coil, y, x] {theirs}"
            f" and {ours}"
        )
    shape = (scan.n_slices // scan.n_volumes, *scan.reconstruction_size)
    if (distance := misplacement(scan.affine, field.affine, shape)) is not None:
        raise ValueError(
            f"{field.source}: field must lie where the scan does: got voxels that are up to {distance:.3g} mm apart"
        )


def _hertz(field: Scan, part: tuple[int, ...]) -> Tensor:
    """Return a map of B0, which was read as k-space, as a real image."""
    image = centre_crop(ifft2c(field.kspace[list(part)]), field.reconstruction_size)[:, 0]
    if float(image.imag.abs().max()) > REAL * float(image.real.abs().max()):
        raise ValueError(f"{field.source}: field must be a real image in Hz: got a complex one")
    return image.real
