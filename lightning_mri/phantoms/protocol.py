"""What the slices of one scan of a head share: pulse sequence, shading, phase and measured k-space."""

import math
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.phantoms.contrasts import DiffusionEcho, draw_sequence
from lightning_mri.phantoms.fields import Plane, SmoothField, field, log_uniform
from lightning_mri.phantoms.geometry import OVERSAMPLING
from lightning_mri.phantoms.tissues import REFERENCE_FIELD, Tissue, TissueValues
from lightning_mri.physics.fourier import fft2c, ifft2c
from lightning_mri.tensors import centre_crop, derive_seed

FAT_SUPPRESSED = {"FLAIR": 0.35, "T1w-post": 0.35, "DWI": 1.0}  # share of the scans


class Protocol:
    """What one scan's slices share: pulse sequence, bias, phase and the window of k-space that was measured."""

    def __init__(self, contrast: str, seed: int, field_strength: float = REFERENCE_FIELD) -> None:
        self.contrast = contrast
        self.seed = seed
        self.field_strength = field_strength
        rng = np.random.default_rng(derive_seed(seed, "protocol", contrast))
        self.sequence = draw_sequence(contrast, rng, field_strength)
        self.dose = rng.uniform(0.5, 1.3) if contrast == "T1w-post" else 0.0
        suppressed = rng.random() < FAT_SUPPRESSED.get(contrast, 0.12)
        self.fat = rng.uniform(0.08, 0.35) * (0.3 if contrast == "DWI" else 1) if suppressed else 1.0
        self.texture = rng.uniform(0, 0.05)
        self.detail = rng.uniform(-0.2, 0.8)
        self.bias, self.edge = 0.25 * rng.uniform(), rng.uniform(-0.1, 0.9)
        self.phase_strength, self.phase_offset = log_uniform(rng, 0.3, 1.6), rng.uniform(-math.pi, math.pi)
        self.phase_ripple = rng.uniform(0, 0.15)
        self.phase_slope = rng.uniform(-0.02, 0.02, 3) * (rng.random() < 0.3)
        self.windows = [self._draw_window(rng) for _ in range(2)]
        self.echo_planar = rng.uniform(2, 7) * rng.choice([-1, 1]) if isinstance(self.sequence, DiffusionEcho) else 0.0

    def _draw_window(self, rng: np.random.Generator) -> tuple[float, float]:
        """Return the measured share of the matrix along one axis and the depth of its taper."""
        low, full = (0.4, 0.0) if self.contrast == "DWI" else (0.55, 0.6)  # echo-planar matrices are small
        width = 1.0 if rng.random() < full else rng.uniform(low, 1)
        return width, rng.uniform(0, 0.5) * (rng.random() < 0.5)

    @cached_property
    def _fields(self) -> dict[str, SmoothField]:
        sizes = {"bias": (90.0, 1, 16), "phase": (110.0, 2, 16), "ripple": (20.0, 1, 32)}
        return {name: field(self.seed, name, *size) for name, size in sizes.items()}

    def signal(self, values: TissueValues) -> Complex[Tensor, " tissue"]:
        """Return each tissue's signal, the brightest 1."""
        values = values.enhanced(self.dose) if self.dose else values
        signal = self.sequence.signal(values)
        signal[[Tissue.FAT, Tissue.MARROW]] *= self.fat
        return torch.polar(signal / signal.max(), self.sequence.phase(values))

    def shading(self, plane: Plane, depth: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Return the receive coils' shading: a smooth field, and brighter towards the surface."""
        smooth = self._fields["bias"].on(plane)[0]
        return torch.exp(self.bias * smooth + self.edge * ((30 - depth) / 35).clamp(-2, 2) / 2)

    def phase(self, plane: Plane) -> Float[Tensor, "y x"]:
        """Return the phase in rad: of a smooth complex field, which may reach 0, ripples and a slope."""
        real, imag = self.phase_strength * self._fields["phase"].on(plane)
        ripple = self.phase_ripple * self._fields["ripple"].on(plane)[0]
        slope = torch.einsum("c,cyx->yx", torch.tensor(self.phase_slope, dtype=torch.float32), plane.points)
        return torch.atan2(imag, real + 1) + ripple + slope + self.phase_offset

    def measure(self, image: Complex[Tensor, "v u"], shape: tuple[int, int]) -> Complex[Tensor, "y x"]:
        """Return the image from the central part of its k-space, ringing as truncated measurements do."""
        kspace = centre_crop(fft2c(image), shape)
        for axis, (width, taper) in enumerate(self.windows):
            n = shape[axis]
            position = (torch.arange(n) - n // 2).abs() / (n / 2)
            window = (position <= width) * (1 - taper * (1 - torch.cos(math.pi * position / width)))
            kspace = kspace * (window[:, None] if axis == 0 else window)
        return ifft2c(kspace) / OVERSAMPLING
