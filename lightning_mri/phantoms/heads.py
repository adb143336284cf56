"""Synthetic heads: slices and volumes of a subject under a contrast, as a scanner would measure them."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Complex, Float, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from lightning_mri.phantoms.anatomy import Anatomy, Composition
from lightning_mri.phantoms.atlas import BRAIN_CENTRE
from lightning_mri.phantoms.contrasts import GradientEcho
from lightning_mri.phantoms.fields import Plane, SmoothField, field
from lightning_mri.phantoms.geometry import OVERSAMPLING, Geometry
from lightning_mri.phantoms.lesions import LesionKind
from lightning_mri.phantoms.protocol import Protocol
from lightning_mri.phantoms.tissues import REFERENCE_FIELD, Tissue, TissueValues
from lightning_mri.tensors import derive_seed

FIELD_STRENGTHS = (1.5, 3.0)
MOSTLY = 0.4  # share of a lesion from which a point counts as one
MIDDLE = Geometry()


class SyntheticSlice(NamedTuple):
    """A slice as it is measured, and what is known about it.

    ``image`` is in arbitrary units, ``lesions`` holds the `LesionKind` of each pixel, 0 where there is none,
    ``pixel_size`` is in mm.
    """

    image: Complex[Tensor, "y x"]
    contrast: str
    lesions: UInt8[Tensor, "y x"]
    pixel_size: tuple[float, float]


class Head:
    """One synthetic subject; everything about it follows from the seed.

    Args:
        seed: A number or a name, such as a subject id.
        lesions: Whether the subject has lesions; if not given, one subject in four has.
        field_strength: Of the scanner, in tesla; if not given, 1.5 or 3.
    """

    def __init__(self, seed: int | str, lesions: bool | None = None, field_strength: float | None = None) -> None:
        self.seed = derive_seed("head", seed)
        self.anatomy = Anatomy(self.seed, lesions)
        rng = np.random.default_rng(derive_seed(self.seed, "values"))
        scanner = float(rng.choice(FIELD_STRENGTHS))
        self.field_strength = scanner if field_strength is None else field_strength
        self.values = TissueValues.draw(rng, self.field_strength)

    def slice(self, contrast: str, geometry: Geometry = MIDDLE, scan: int = 0) -> SyntheticSlice:
        """Return one slice.

        Args:
            contrast: One of `CONTRASTS`.
            geometry: Where the slice lies.
            scan: Number of the scan; slices of one scan share timings, shading and phase.
        """
        return self._scan(self._protocol(contrast, scan), geometry)

    def slices(
        self,
        contrast: str,
        n_slices: int,
        spacing_mm: float = 5.0,
        geometry: Geometry = MIDDLE,
        scan: int = 0,
    ) -> Iterator[SyntheticSlice]:
        """Yield the slices of a volume one by one, with their lesion masks."""
        protocol = self._protocol(contrast, scan)
        for k in range(n_slices):
            offset = geometry.offset_mm + (k - (n_slices - 1) / 2) * spacing_mm
            yield self._scan(protocol, replace(geometry, offset_mm=offset))

    def _protocol(self, contrast: str, scan: int) -> Protocol:
        """Return what the slices of one scan share."""
        return Protocol(contrast, derive_seed(self.seed, "scan", scan), self.field_strength)

    def _scan(self, protocol: Protocol, geometry: Geometry) -> SyntheticSlice:
        """Return one slice of a scan."""
        planes = geometry.planes()
        compositions = [self.anatomy.compose(plane) for plane in planes]
        signals = [self._signal(protocol, p, c) for p, c in zip(planes, compositions, strict=True)]
        signal = torch.stack(signals).mean(0)
        lesions = torch.stack([c.fractions[[Tissue.LESION, Tissue.GLIOSIS]] for c in compositions]).mean(0)
        signal = signal * torch.polar(protocol.shading(planes[0], compositions[0].depth), protocol.phase(planes[0]))
        if isinstance(protocol.sequence, GradientEcho):
            disturbance = _susceptibility(planes[0]) * protocol.sequence.te / 10 * self.field_strength / REFERENCE_FIELD
            signal = signal * torch.polar(torch.exp(-disturbance), 2 * disturbance)
        elif protocol.echo_planar:
            shift = _susceptibility(planes[0]) * protocol.echo_planar / planes[0].spacing[0]
            signal, lesions = _displaced(signal, lesions, shift)
        image = protocol.measure(signal, geometry.shape)
        return SyntheticSlice(image, protocol.contrast, _lesion_mask(lesions, geometry.shape), geometry.pixel_size)

    def _signal(self, protocol: Protocol, plane: Plane, composition: Composition) -> Complex[Tensor, "y x"]:
        """Return the signal of each point, with the texture of tissue."""
        signal = protocol.signal(self.values)
        parts = torch.einsum("ct,tyx->cyx", torch.view_as_real(signal).T.contiguous(), composition.fractions)
        fine, coarse = (texture.on(plane)[0] for texture in self._textures)
        outside = torch.sigmoid(-composition.depth - 4)  # fat and muscle are coarser than the brain
        texture = 1 + (protocol.texture + 0.06 * outside) * (0.6 * fine + coarse)
        texture = texture * (1 + protocol.detail * composition.detail).clamp(min=0.1)
        return torch.complex(parts[0] * texture, parts[1] * texture)

    @cached_property
    def _textures(self) -> list[SmoothField]:
        return [field(self.seed, f"texture-{cell}", cell, 1, 48) for cell in (4.0, 12.0)]


def _lesion_mask(shares: Float[Tensor, "kind v u"], shape: tuple[int, int]) -> UInt8[Tensor, "y x"]:
    """Return the kind of lesion at the middle of each pixel; the centre is point n of 2 n, and pixel n // 2 of n."""
    first = [n % OVERSAMPLING for n in shape]
    acute, gliosis = shares[:, first[0] :: OVERSAMPLING, first[1] :: OVERSAMPLING]
    mask = torch.zeros(shape, dtype=torch.uint8)
    mask[gliosis > MOSTLY] = LesionKind.GLIOSIS
    mask[acute > MOSTLY] = LesionKind.ACUTE
    return mask


def _displaced(
    image: Complex[Tensor, "y x"], shares: Float[Tensor, "kind y x"], shift: Float[Tensor, "y x"]
) -> tuple[Complex[Tensor, "y x"], Float[Tensor, "kind y x"]]:
    """Return both as an echo-planar readout places them: ``shift`` points along y, brighter where they pile up."""
    n, m = image.shape
    rows = torch.arange(n)[:, None] + shift
    grid = torch.stack([torch.linspace(-1, 1, m).expand(n, m), rows / (n - 1) * 2 - 1], dim=-1)
    layers = torch.cat([torch.view_as_real(image).movedim(-1, 0), shares])
    moved = grid_sample(layers[None], grid[None], padding_mode="border", align_corners=True)[0]
    density = torch.gradient(rows, dim=0)[0].clamp(0, 3)
    return torch.complex(moved[0], moved[1]) * density, moved[2:]


def _susceptibility(plane: Plane) -> Float[Tensor, "y x"]:
    """Return the disturbance of the field by the air of sinuses and ears, 1 at its strongest."""
    x, y, z = plane.points + BRAIN_CENTRE[:, None, None]
    nose = torch.exp(-((x / 20) ** 2) - ((y - 35) / 25) ** 2 - ((z + 32) / 16) ** 2)
    ears = torch.exp(-(((x.abs() - 52) / 14) ** 2) - ((y + 25) / 16) ** 2 - ((z + 34) / 14) ** 2)
    return nose + 0.6 * ears
