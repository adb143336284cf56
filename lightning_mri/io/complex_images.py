"""Scans that are images: complex ones from real and imaginary part, or magnitude and phase; their k-space."""

import math
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.io.arrays import ImageArray, StoredArray
from lightning_mri.io.geometry import Geometry
from lightning_mri.io.scan import MAGNITUDE_ONLY, REAL_ONLY, Scan
from lightning_mri.physics.masks import MIN_ACS

COMPLEX_IMAGES = "k-space was computed from complex images, its coils combined"

TOLERANCE, FILLED = 1.01, 0.98

GAP = 1e3
"""Ratio of power from which on the weaker lines of k-space were filled in to interpolate an image.

Between lines in order of their power it was at most 14 in measured data, and 1e12 in interpolated images, 4e3 where
they were rounded to 12 bits.
"""
LEAST = 8
"""Images are interpolated by less than that: fewer lines are strong for another reason."""


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
            rule = f"{second.field} must have the shape of its other half {first.path.name}"
            raise ValueError(f"{second.path}: {rule}: got {second.shape} and {first.shape} [slice, y, x]")
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
        rule = "phase must be in radians, degrees, in 0 ... 4095 or in -4096 ... 4095"
        raise ValueError(f"{phase.path}: {rule}: got {low:g} ... {high:g}")
    _, unit = min(filled or known, key=itemgetter(0))
    if filled:
        return unit
    return replace(unit, name=f"{unit.name} (its range, {low:g} ... {high:g}, leaves that open)")


def image_scan(
    path: Path,
    images: StoredArray,
    geometry: Geometry,
    is_complex: bool,
    warnings: tuple[str, ...],
    is_real: bool = False,
    **said: Any,
) -> Scan:
    """Return the scan of a file's images [slice, y, x], whose k-space is their transform; see `Scan.of_file`.

    Images that are not complex are magnitudes, or real parts if ``is_real``. What was filled in to interpolate complex
    images counts as not measured, as a slice in the middle of them shows it.
    """
    kspace = ImageArray(images)
    mask = torch.ones(1, *images.shape[1:], dtype=torch.bool)
    if is_complex:
        mask = _measured(kspace.with_gaps([len(images) // said.get("n_volumes", 1) // 2]))
    if not bool(mask.all()):
        sizes = ((int(mask.any(axis).sum()) for axis in (2, 1)), mask.shape[1:])
        n, m = (" x ".join(map(str, size)) for size in sizes)
        warnings = (f"the images are interpolated: k-space was measured in {n} of {m} samples alone", *warnings)
    return Scan.of_file(
        path,
        kspace,
        stored_mask=mask,
        pixel_size=geometry.pixel_size,
        slice_spacing=geometry.slice_spacing,
        affine=geometry.affine,
        magnitude_only=not is_complex,
        warnings=(
            COMPLEX_IMAGES if is_complex else REAL_ONLY if is_real else MAGNITUDE_ONLY,
            *warnings,
            *geometry.warnings,
        ),
        **said,
    )


def _measured(kspace: Complex[Tensor, "1 1 y x"]) -> Bool[Tensor, "1 y x"]:
    """Return the samples of an image's k-space that are more than the rounding of what was filled in."""
    power = kspace[0].abs().square().double()
    return _strong(power.sum(2))[..., None] & _strong(power.sum(1))[:, None]


def _strong(power: Float[Tensor, "1 n"]) -> Bool[Tensor, "1 n"]:
    """Return which lines are stronger than the widest gap in their power, all of them where there is none."""
    ordered = power[0].sort(descending=True).values
    fewest = max(MIN_ACS, len(ordered) // LEAST)
    falls = (ordered[fewest - 1 : -1] > GAP * ordered[fewest:]).nonzero()
    return power > (ordered[fewest + falls[0]] if len(falls) else -1)
