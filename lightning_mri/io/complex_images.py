"""Scans that are images: complex ones from real and imaginary part, or magnitude and phase; their k-space."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lightning_mri.io.geometry import Geometry
from lightning_mri.io.scan import MAGNITUDE_ONLY, ImageArray, Scan, StoredArray

COMPLEX_IMAGES = "k-space was computed from complex images, its coils combined"

TOLERANCE = 1.01
LEVELS = 4096
"""Grey levels in which scanners write a turn, or half a turn, of phase."""


class CartesianArray(StoredArray):
    """Images real + i imaginary.

    Args:
        real: Real parts.
        imaginary: Imaginary parts.

    Raises:
        ValueError: If the shapes differ.
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
    """How stored phase becomes radians, phase = factor * stored + offset.

    Args:
        factor: In radians.
        offset: In radians.
        name: What the stored numbers are, for people.
    """

    factor: float
    offset: float
    name: str


class PolarArray(StoredArray):
    """Images magnitude * exp(i phase).

    Args:
        magnitude: Magnitudes.
        phase: Phases as stored.
        scale: How they become radians.

    Raises:
        ValueError: If the shapes differ.
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

    Radians; thousandths of a radian, as GE writes them; -4096 ... 4095 for half a turn each way or
    0 ... 4095 for a whole turn from -pi, as Siemens does.

    Raises:
        ValueError: If the range is none of these.
        OSError: If the phase cannot be read.
    """
    low, high = 0.0, 0.0
    for values in phase.chunks():
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    largest = max(-low, high)
    if largest <= TOLERANCE * math.pi or (low >= 0 and high <= TOLERANCE * 2 * math.pi):
        return PhaseScale(1, 0, "radians")
    if low < 0 and 0.98 <= largest / (1000 * math.pi) <= 1.001:
        return PhaseScale(1e-3, 0, "thousandths of a radian")
    if low < 0 and largest <= LEVELS:
        return PhaseScale(math.pi / LEVELS, 0, "-4096 ... 4095 for -pi ... pi")
    if low >= 0 and high <= LEVELS:
        return PhaseScale(2 * math.pi / LEVELS, -math.pi, "0 ... 4095 for -pi ... pi")
    raise ValueError(
        f"{phase.path}: phase must be in radians, in 0 ... 4095 or in -4096 ... 4095: got {low:g} ... {high:g}"
    )


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
