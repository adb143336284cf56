"""What a low-field scan shows of its scanner, compared with images of such objects at high field."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.io import Scan, find_scans, read_scan
from lightning_mri.io.failures import naming_guesses
from lightning_mri.io.scan import UNKNOWN_READOUT
from lightning_mri.physics import MeasuredSpectrum, ScannerEstimate, Spectrum, estimate_scanner, ifft2c
from lightning_mri.reconstruction.findings import ScannerFindings
from lightning_mri.reconstruction.inspection import Inspection
from lightning_mri.tensors import spread

N_SLICES = 8
SAME_SIZE = 0.01
"""Relative difference below which two pixel sizes are one: headers round them."""


def estimate_scanner_of(scan: Scan, readout_s: float, reference: Spectrum | None = None) -> ScannerEstimate:
    """Estimate noise, blur and decay of the scanner; see `estimate_scanner`.

    Args:
        scan: Complex data of one coil.
        readout_s: Duration of the readout in s, of the samples that were acquired.
        reference: Spectrum of such objects at high field.

    Raises:
        ValueError: If the scan has several coils, holds magnitudes alone, or does not give its pixel size.
    """
    if scan.n_coils != 1 or scan.magnitude_only:
        kind = "magnitudes alone" if scan.magnitude_only else f"{scan.n_coils} coils"
        raise ValueError(f"{scan.source}: the scan must be complex, of one coil: got {kind}")
    measured = (_some_slices(scan), scan.union_mask, _pixel_size(scan))
    return estimate_scanner(*measured, readout_s, reference, scan.readout or "y")


def reference_spectrum(root: Path) -> MeasuredSpectrum:
    """Measure the spectrum of high-field images, one scan an object.

    Args:
        root: Folder of scans of one coil, or images, in the orientation and matrix of one another.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If one has several coils or another pixel size than the others, or they are fewer than two.
    """
    scans = [read_scan(path) for path in find_scans(root)]
    first = _pixel_size(scans[0])
    for scan in scans:
        with naming_guesses(scan.warnings):
            if scan.n_coils != 1:
                raise ValueError(f"{scan.source}: a reference must be images, or of one coil: got {scan.n_coils} coils")
        size = _pixel_size(scan)
        if max(abs(a / b - 1) for a, b in zip(size, first, strict=True)) > SAME_SIZE:
            raise ValueError(f"{scan.source}: references must have one pixel size: got {size} and {first} mm")
    return MeasuredSpectrum.of([ifft2c(_some_slices(scan))[:, 0] for scan in scans], first)


def with_scanner(inspection: Inspection, readout_s: float, reference: Spectrum) -> Inspection:
    """Return an inspection with what the scan shows of its scanner added, and what cannot be known.

    Args:
        inspection: What was found in a scan.
        readout_s: Duration of the readout in s.
        reference: Spectrum of such objects at high field.

    Raises:
        ValueError: If the scan does not allow it.
    """
    found = estimate_scanner_of(inspection.scan, readout_s, reference)
    estimates: dict[str, Any] = {}
    for name in ("fwhm_mm", "r2star_hz", "readout_decay_hz"):
        value = getattr(found, name)
        estimates[name] = None if value is None else value.value
        estimates[f"{name}_error"] = None if value is None else value.standard_error
    level = float(found.noise_std.square().mean().sqrt())
    known = {**vars(inspection.findings), "noise_std": level, "noise_error": found.noise_error}
    unknown = () if inspection.scan.readout else (UNKNOWN_READOUT.format("--readout"),)
    warnings = (*inspection.warnings, *unknown, *found.warnings)
    return replace(inspection, findings=ScannerFindings(**known, **estimates), warnings=warnings)


def _pixel_size(scan: Scan) -> tuple[float, float]:
    if scan.pixel_size is None:
        raise ValueError(f"{scan.source}: pixel_size must be in the file, since blur is in mm: it is missing")
    return scan.pixel_size


def _some_slices(scan: Scan) -> Complex[Tensor, "slice 1 y x"]:
    """Return evenly spaced slices that hold signal, eight at most."""
    kspace = scan.kspace[spread(scan.n_slices, N_SLICES)]
    filled = (kspace != 0).flatten(1).any(1)
    if not bool(filled.any()):
        raise ValueError(f"{scan.source}: it must hold signal: got zeros only in {len(kspace)} slices")
    return torch.where(scan.union_mask, kspace, 0)[filled]
