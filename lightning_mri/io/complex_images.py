"""Scans that are images: complex ones from real and imaginary part, or magnitude and phase; their k-space."""

import math
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_mri.io.arrays import ImageArray, StoredArray
from lightning_mri.io.geometry import Geometry
from lightning_mri.io.scan import MAGNITUDE_ONLY, Scan

COMPLEX_IMAGES = "k-space was computed from complex images, its coils combined"

TOLERANCE, FILLED = 1.01, 0.98


@dataclass(frozen=True)
class PhaseScale:
    """How stored phase becomes radians, phase = factor * stored + offset."""

    factor: float  # in radians
    offset: float  # in radians
    name: str  # what the stored numbers are, for people


UNITS = (
    (PhaseScale(1, 0, "radians"), math.pi, True),
    (PhaseScale(1, 0, "radians"), 2 * math.pi, False),
    (PhaseScale(math.pi / 180, 0, "degrees"), 180, True),
    (PhaseScale(math.pi / 180, 0, "degrees"), 360, False),
    (PhaseScale(1e-3, 0, "thousandths of a radian"), 1000 * math.pi, True),
    (PhaseScale(math.pi / 4096, 0, "-4096 ... 4095 for -pi ... pi"), 4096, True),
    (PhaseScale(2 * math.pi / 4096, -math.pi, "0 ... 4095 for -pi ... pi"), 4096, False),
    (PhaseScale(1e-3, 0, "thousandths of a radian"), 2000 * math.pi, False),
)
"""What scanners store, its largest number, and whether there are negative ones, too."""


class ComplexArray(StoredArray):
    """Images of two halves: real + i imaginary; or magnitude * exp(i phase) where a scale says what phase is."""

    def __init__(self, first: StoredArray, second: StoredArray, scale: PhaseScale | None = None) -> None:
        if first.shape != second.shape:
            raise ValueError(
                f"{second.path}: {second.field} must have the shape of its other half {first.path.name}:"
                f" got {second.shape} and {first.shape} [slice, y, x]"
            )
        super().__init__(first.path, first.field, first.shape)
        self.first, self.second, self.scale = first, second, scale

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return images ``start`` to ``stop``."""
        first, second = (part.with_gaps(range(start, stop)).numpy() for part in (self.first, self.second))
        if self.scale is None:
            return first + 1j * second
        return first * np.exp(1j * (self.scale.factor * second + self.scale.offset))


def polar(magnitude: StoredArray, phase: StoredArray) -> tuple[StoredArray, tuple[str, ...]]:
    """Return images of a magnitude and a phase, and the warning that says what stored phase was taken for."""
    scale = phase_scale(phase)
    return ComplexArray(magnitude, phase, scale), (f"phase ({phase.path.name}) was taken to be in {scale.name}",)


def phase_scale(phase: StoredArray) -> PhaseScale:
    """Tell from the range of stored phase what its numbers are.

    The unit whose range the numbers fill, as the noise of air does: radians, degrees, thousandths of a radian, as
    GE writes them, -4096 ... 4095 for half a turn each way or 0 ... 4095 for a whole turn from -pi, as Siemens
    does. Where they fill none, the smallest range that holds them.
    """
    low, high = 0.0, 0.0
    for values in phase.chunks():
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    largest, is_signed = max(-low, high), -low > (TOLERANCE - 1) * high
    known = [(limit, unit) for unit, limit, signed in UNITS if signed == is_signed and largest <= TOLERANCE * limit]
    filled = [(limit, unit) for limit, unit in known if FILLED * limit <= largest]
    if not known:
        raise ValueError(
            f"{phase.path}: phase must be in radians, degrees, in 0 ... 4095 or in -4096 ... 4095:"
            f" got {low:g} ... {high:g}"
        )
    _, unit = min(filled or known, key=itemgetter(0))
    if filled or unit.name == "radians":
        return unit
    return replace(unit, name=f"{unit.name} (its range, {low:g} ... {high:g}, leaves that open)")


def image_scan(
    path: Path, images: StoredArray, geometry: Geometry, is_complex: bool, warnings: tuple[str, ...], **said: Any
) -> Scan:
    """Return the scan of a file's images [slice, y, x], whose k-space is their transform; see `Scan.of_file`."""
    return Scan.of_file(
        path,
        ImageArray(images),
        stored_mask=torch.ones(1, *images.shape[1:], dtype=torch.bool),
        pixel_size=geometry.pixel_size,
        slice_spacing=geometry.slice_spacing,
        affine=geometry.affine,
        magnitude_only=not is_complex,
        warnings=(COMPLEX_IMAGES if is_complex else MAGNITUDE_ONLY, *warnings, *geometry.warnings),
        **said,
    )
