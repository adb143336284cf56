"""Synthetic mice: coronal T2-weighted slices of a parametric mouse head, brain and surroundings.

The anatomy is `mouse_atlas`: bodies, each an ellipse whose centre, radii and tilt change along the head, and layers
at a depth below the cerebrum's surface. A mouse gets its own size, posture, warp, ventricles, relaxation times and
protocol. Coordinates are in mm from bregma: x to the side, y up, z to the nose.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.phantoms.fields import Plane, SmoothField, field, log_uniform
from lightning_mri.phantoms.mouse_atlas import HEAD, RELAXATION, SURROUNDINGS, VENTRICLES, VESSELS, MouseTissue
from lightning_mri.phantoms.mouse_brain import Brain, paint_brain
from lightning_mri.phantoms.mouse_canvas import MouseCanvas, band
from lightning_mri.physics.fourier import fft2c, ifft2c
from lightning_mri.tensors import centre_crop, derive_seed

SUPERSAMPLING = 2  # pixels are computed finer and cut out of k-space, as a scanner does, with its Gibbs ringing

# feature size in mm, channels, lattice nodes
FIELDS = {
    "warp": (5.0, 3, 16),
    "warp-fine": (1.6, 3, 32),
    "fine": (0.26, 1, 72),
    "coarse": (1.2, 1, 48),
    "soft tissue": (1.6, 3, 40),
    "fat": (4.0, 3, 16),
    "fibres": (0.45, 1, 48),
    "meninges": (1.0, 2, 48),
    "folia": (1.3, 1, 32),
    "shading": (9.0, 1, 12),
    "phase": (10.0, 1, 12),
}


@dataclass(frozen=True)
class Mouse:
    """A synthetic mouse; everything about it follows from its seed.

    Args:
        seed: Number of the animal.
    """

    seed: int

    def slice(
        self,
        offset_mm: float,
        shape: tuple[int, int] = (128, 128),
        pixel_size: float = 0.15,
        thickness_mm: float = 0.3,
    ) -> Complex[Tensor, "y x"]:
        """Return a coronal T2-weighted image, dorsal side up, noise-free, signal relative to that of water.

        Args:
            offset_mm: Position from bregma, positive to the nose; the brain is in `BRAIN_RANGE_MM`.
            shape: Image size (y, x).
            pixel_size: Edge of a pixel in mm.
            thickness_mm: Slice thickness, over which tissues are averaged.
        """
        fine = self._plane(offset_mm, shape, pixel_size, thickness_mm)
        signal = torch.einsum("t,tyx->yx", self.signals, self.fractions(offset_mm, shape, pixel_size, thickness_mm))
        texture = 1 + self.texture * (self._fields["fine"].on(fine)[0] + 0.4 * self._fields["coarse"].on(fine)[0])
        image = torch.polar(signal * texture.clamp(min=0.3) * self._shading(fine), self._phase(fine))
        return ifft2c(centre_crop(fft2c(image), shape) * self._window(shape)) / SUPERSAMPLING

    def fractions(
        self,
        offset_mm: float,
        shape: tuple[int, int] = (128, 128),
        pixel_size: float = 0.15,
        thickness_mm: float = 0.3,
    ) -> Float[Tensor, "tissue v u"]:
        """Return how much of each `MouseTissue` is in each point of the finer grid of `slice`."""
        parts = []
        for shift in (-0.25, 0.25):
            plane = self._plane(offset_mm + shift * thickness_mm, shape, pixel_size, thickness_mm)
            parts.append(self._paint(plane))
        return torch.stack(parts).mean(0)

    @cached_property
    def signals(self) -> Float[Tensor, " tissue"]:
        """Spin-echo signal of each tissue in this animal, density (1 - exp(-TR / T1)) exp(-TE / T2)."""
        rng = self._rng("contrast")
        t1, t2, density = np.array([RELAXATION[tissue] for tissue in MouseTissue]).T * np.exp(
            np.array([[0.03], [0.04], [0.02]]) * rng.standard_normal((3, len(MouseTissue)))
        )
        echo, repetition = log_uniform(rng, 22, 55), rng.uniform(2.5, 6)
        signal = density * (1 - np.exp(-repetition / t1)) * np.exp(-echo / t2)
        signal[MouseTissue.FAT] *= rng.uniform(0.4, 1.6)  # brightened by the echo train, darkened by fat suppression
        return torch.from_numpy(signal.astype(np.float32))

    @cached_property
    def texture(self) -> float:
        """Relative variation of the signal within a tissue."""
        return float(self._rng("texture").uniform(0.03, 0.09))

    @cached_property
    def _pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrix and shift from scanner to head coordinates: size, roll, yaw, pitch and position."""
        rng = self._rng("pose")
        roll, yaw, pitch = np.clip(rng.standard_normal(3), -2, 2) * np.radians([3.0, 2.0, 2.5])
        rotation = np.array([[1, roll, yaw], [-roll, 1, pitch], [-yaw, -pitch, 1]])
        size = np.exp(0.03 * rng.standard_normal()) * np.exp(0.02 * rng.standard_normal(3))
        return rotation / size[:, None], np.clip(rng.standard_normal(3), -2, 2) * np.array([0.3, 0.4, 0.2])

    @cached_property
    def _ventricle_size(self) -> float:
        return log_uniform(self._rng("ventricles"), 0.5, 1.8)

    @cached_property
    def _fields(self) -> dict[str, SmoothField]:
        """Random fields by name: feature size in mm, channels, nodes."""
        return {name: field(self.seed, name, *size) for name, size in FIELDS.items()}

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, "mouse", name))

    def _plane(self, offset_mm: float, shape: tuple[int, int], pixel_size: float, thickness_mm: float) -> Plane:
        """Return the points of a slice in head coordinates, `SUPERSAMPLING` times as fine as its pixels."""
        if min(shape) < 1 or not (pixel_size > 0 and thickness_mm > 0):
            raise ValueError(
                "shape, pixel_size and thickness_mm must be positive: "
                f"got {tuple(shape)}, {pixel_size} and {thickness_mm}"
            )
        spacing = pixel_size / SUPERSAMPLING
        rows, columns = ((torch.arange(n * SUPERSAMPLING) - n * SUPERSAMPLING // 2) * spacing for n in shape)
        y, x = torch.meshgrid(-rows - 0.4, columns, indexing="ij")
        points = torch.stack([x, y, torch.full_like(x, offset_mm)])
        matrix, shift = (torch.from_numpy(part.astype(np.float32)) for part in self._pose)
        return Plane(torch.einsum("ij,jyx->iyx", matrix, points) + shift[:, None, None], (spacing, spacing))

    def _window(self, shape: tuple[int, int]) -> Float[Tensor, "y x"]:
        """Return the filter of this animal's reconstruction: some scanners tame the Gibbs ringing."""
        share = self._rng("window").uniform(0, 0.3)
        hann = [0.5 + 0.5 * torch.cos(math.pi * (torch.arange(n) - n // 2) / (n / 2)) for n in shape]
        return torch.outer(*(1 - share + share * part for part in hann))

    def _shading(self, plane: Plane) -> Float[Tensor, "y x"]:
        """Return the receive field: brighter towards the dorsal surface coil, and smoothly uneven."""
        rng = self._rng("shading")
        fall = rng.uniform(0.0, 0.12)
        uneven = self._fields["shading"].on(plane)[0]
        return torch.exp(fall * (plane.points[1] - 1).clamp(-9, 3) + rng.uniform(0.02, 0.1) * uneven)

    def _phase(self, plane: Plane) -> Float[Tensor, "y x"]:
        """Return the phase: coil and eddy currents, smooth, and susceptibility near the middle ears."""
        rng = self._rng("phase")
        smooth = rng.uniform(0.2, 0.8) * self._fields["phase"].on(plane)[0]
        x, y, z = plane.points
        ears = (x.abs() - 3.4).square() + (y + 3.9).square() + (z + 5.0).square()
        dipole = ((z + 5.0).square() * 3 - ears) / (ears + 1.5) ** 2.5
        ramp = (rng.uniform(-0.1, 0.1, 2) * np.array([1.0, 1.0])).astype(np.float32)
        return smooth + rng.uniform(0, 4) * dipole + ramp[0] * x + ramp[1] * y + rng.uniform(-math.pi, math.pi)

    def _paint(self, plane: Plane) -> Float[Tensor, "tissue y x"]:
        points = plane.points
        slow = self._fields["warp"].on(plane)
        fast = self._fields["warp-fine"].on(plane)
        canvas = MouseCanvas(points + 0.12 * slow + 0.035 * fast, plane.step)
        brain = Brain(canvas)
        self._paint_head(canvas, plane, brain)
        self._paint_brain(canvas, plane, brain)
        return canvas.fractions

    def _paint_head(self, canvas: MouseCanvas, plane: Plane, brain: Brain) -> None:
        """Paint skin, fat, muscle, glands, eyes, ears and skull."""
        rng = self._rng("head")
        surface = canvas.dome(HEAD, 0.5, 2.3)
        head, below = canvas.cover(surface), canvas.below(surface)
        fibres, patches, marrow = self._fields["soft tissue"].on(plane)
        uneven, folding, gaps = self._fields["fat"].on(plane)
        canvas.paint(MouseTissue.MUSCLE, head)
        canvas.paint(MouseTissue.GLAND, 0.12 * head * torch.sigmoid(3 * patches))
        canvas.paint(MouseTissue.MENINGES, 0.25 * head * torch.sigmoid(4 * fibres - 3))
        # muscles lie in sheets under the skin, with fat between them here and there
        sheet = torch.cos(2 * math.pi * (below / 2.4 + 0.45 * folding + 0.1 * fibres + rng.uniform()))
        fascia = torch.sigmoid(40 * (sheet - 0.97)) * torch.sigmoid(3 * (gaps + 0.4 * patches))
        canvas.paint(MouseTissue.FAT, head * fascia * rng.uniform(0.3, 0.8))
        canvas.paint(MouseTissue.GLAND, head * 0.7 * torch.sigmoid(6 * (patches - 1.7) - canvas.y - 5))
        fat = rng.uniform(0.05, 0.45) * (1 + 0.9 * uneven).clamp(min=0)
        canvas.paint(MouseTissue.FAT, head * torch.sigmoid((0.4 + fat - below) / 0.06))
        for body in SURROUNDINGS:
            canvas.paint_body(body, within=head)
        canvas.paint(MouseTissue.SKIN, head * torch.sigmoid((0.38 - below) / 0.05))
        thickness = rng.uniform(0.18, 0.3) * (1 + 0.45 * uneven).clamp(min=0.4) + 0.09 * (-canvas.y - 0.5).clamp(min=0)
        outside = -brain.depth - brain.gap
        canvas.paint(MouseTissue.BONE, torch.sigmoid((thickness - outside) / (0.4 * canvas.spacing)))
        spongy = band(outside, 0.3 * thickness, 0.75 * thickness, 0.04) * torch.sigmoid(5 * marrow)
        canvas.paint(MouseTissue.MARROW, 0.7 * spongy)

    def _paint_brain(self, canvas: MouseCanvas, plane: Plane, brain: Brain) -> None:
        """Paint meninges, the parts of the brain and the ventricles."""
        wet, vessels = self._fields["meninges"].on(plane)
        cavity = torch.sigmoid((brain.depth + brain.gap) / (0.4 * canvas.spacing))
        canvas.paint(MouseTissue.MENINGES, cavity)
        canvas.paint(MouseTissue.FLUID, cavity * torch.sigmoid(4 * (wet - 0.3)) * 0.7)
        paint_brain(canvas, brain, self._fields["fibres"].on(plane)[0], self._fields["folia"].on(plane)[0])
        for ventricle in VENTRICLES:
            canvas.paint_body(ventricle, widening=self._ventricle_size)
        for vessel in VESSELS:
            canvas.paint_body(vessel)
        inside = torch.sigmoid(brain.depth / 0.1)
        canvas.paint(MouseTissue.MENINGES, 0.5 * inside * torch.sigmoid(10 * (vessels - 2.9)))
