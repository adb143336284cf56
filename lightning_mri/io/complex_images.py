"""Scans that are images: complex ones from real and imaginary part, or magnitude and phase; their k-space."""

import math
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np
import torch

from lightning_mri.io.arrays import ImageArray, StoredArray
from lightning_mri.io.geometry import Geometry
from lightning_mri.io.scan import MAGNITUDE_ONLY, Scan

COMPLEX_IMAGES = "k-space was computed from complex images, its coils combined"

TOLERANCE, FILLED = 1.01, 0.98


class CartesianArray(StoredArray):
    """Images real + i imaginary.

    Args:
        real: Real parts.
        imaginary: Imaginary parts.
    """

    def __init__(self, real: StoredArray, imaginary: StoredArray) -> None:
        _check_shapes(real, imaginary)
        super().__init__(real.path, real.field, real.shape)
        self.real, self.imaginary = real, imaginary

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return images ``start`` to ``stop``."""
        return self.real[start:stop].numpy() + 1j * self.imaginary[start:stop].numpy()


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


class PolarArray(StoredArray):
    """Images magnitude * exp(i phase).

    Args:
        magnitude: Magnitudes.
        phase: Phases as stored.
        scale: How they become radians.
    """

    def __init__(self, magnitude: StoredArray, phase: StoredArray, scale: PhaseScale) -> None:
        _check_shapes(magnitude, phase)
        super().__init__(magnitude.path, magnitude.field, magnitude.shape)
        self.magnitude, self.phase, self.scale = magnitude, phase, scale

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return images ``start`` to ``stop``."""
        phase = self.scale.factor * self.phase[start:stop].numpy() + self.scale.offset
        return self.magnitude[start:stop].numpy() * np.exp(1j * phase)


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
    images: StoredArray, geometry: Geometry, is_complex: bool, warnings: tuple[str, ...], **fields: Any
) -> Scan:
    """Return the scan of images, whose k-space is their Fourier transform.

    Args:
        images: Images [slice, y, x].
        geometry: Where they lie.
        is_complex: Whether they have a phase.
        warnings: What had to be guessed, beside what the geometry says.
        fields: Other fields of `Scan`.
    """
    return Scan(
        kspace=ImageArray(images),
        reconstruction_size=(images.shape[1], images.shape[2]),
        stored_mask=torch.ones(1, *images.shape[1:], dtype=torch.bool),
        pixel_size=geometry.pixel_size,
        slice_spacing=geometry.slice_spacing,
        affine=geometry.affine,
        magnitude_only=not is_complex,
        warnings=(COMPLEX_IMAGES if is_complex else MAGNITUDE_ONLY, *warnings, *geometry.warnings),
        **fields,
    )


def _check_shapes(first: StoredArray, second: StoredArray) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"{second.path}: {second.field} must have the shape of its other half {first.path.name}:"
            f" got {second.shape} and {first.shape} [slice, y, x]"
        )
