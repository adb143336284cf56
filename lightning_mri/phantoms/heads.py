"""Synthetic heads: slices and volumes of a subject under a contrast, as a scanner would measure them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Complex, Float, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from lightning_mri.phantoms.anatomy import Anatomy, Composition
from lightning_mri.phantoms.atlas import BRAIN_CENTRE
from lightning_mri.phantoms.contrasts import DiffusionEcho, GradientEcho, draw_sequence
from lightning_mri.phantoms.fields import Plane, SmoothField, field, length, log_uniform
from lightning_mri.phantoms.lesions import LesionKind
from lightning_mri.phantoms.tissues import REFERENCE_FIELD, Tissue, TissueValues
from lightning_mri.physics.fourier import fft2c, ifft2c
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import centre_crop, complex_noise, derive_seed

OVERSAMPLING = 2
FIELD_STRENGTHS = (1.5, 3.0)
THIN = 1.5  # mm; thinner slices are computed as one plane
MOSTLY = 0.4  # share of a lesion from which a point counts as one
SLICES_PER_SUBJECT = 8
FAT_SUPPRESSED = {"FLAIR": 0.35, "T1w-post": 0.35, "DWI": 1.0}  # share of the scans
TRAINING_SHARES = {"T1w": 0.2, "T1w-post": 0.13, "T2w": 0.2, "PD": 0.09, "FLAIR": 0.15, "other": 0.23}
LABELS = tuple(TRAINING_SHARES)
# what `other` stands for in training; None is no head. DWI, whose fluid is as dark as in FLAIR, is kept out of it
OTHERS = {"SWI": 0.35, "other": 0.35, None: 0.3}
# directions of the image's rows (growing y), columns (growing x) and of the slice axis, in head coordinates
ORIENTATIONS = {
    "axial": ((0, -1, 0), (-1, 0, 0), (0, 0, 1)),
    "sagittal": ((0, 0, -1), (0, -1, 0), (1, 0, 0)),
    "coronal": ((0, 0, -1), (-1, 0, 0), (0, 1, 0)),
}


@dataclass(frozen=True)
class Geometry:
    """Where a slice lies in the head; the default is axial through the middle of the brain.

    Args:
        shape: Pixels along y and x.
        pixel_size: Their size in mm.
        offset_mm: Position along the slice axis, from the middle of the brain.
        orientation: ``axial``, ``sagittal`` or ``coronal``.
        tilt: Rotation in degrees about the rows', the columns' and the slice axis.
        shift_mm: Displacement of the field of view along y and x.
        thickness_mm: Thickness of the slice.
    """

    shape: tuple[int, int] = (144, 144)
    pixel_size: tuple[float, float] = (1.6, 1.6)
    offset_mm: float = 0.0
    orientation: str = "axial"
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_mm: tuple[float, float] = (0.0, 0.0)
    thickness_mm: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no slice.

        Raises:
            ValueError: If the orientation is unknown or a size is not positive.
        """
        if self.orientation not in ORIENTATIONS:
            raise ValueError(f"orientation must be one of {', '.join(ORIENTATIONS)}: got {self.orientation!r}")
        if min(self.shape) < 2 or min(self.pixel_size) <= 0 or self.thickness_mm < 0:
            raise ValueError(
                "shape must be at least 2 x 2, pixel_size positive and thickness_mm not negative: "
                f"got {self.shape}, {self.pixel_size} and {self.thickness_mm}"
            )

    def axes(self) -> Float[Tensor, "3 3"]:
        """Return the unit vectors of rows, columns and slice axis, one a row."""
        a, b, c = (math.radians(angle) for angle in self.tilt)
        rotation = torch.linalg.matrix_exp(torch.tensor([[0, -c, b], [c, 0, -a], [-b, a, 0]]))
        return rotation @ torch.tensor(ORIENTATIONS[self.orientation], dtype=torch.float32)

    def plane(self, offset_mm: float = 0.0) -> Plane:
        """Return the super-sampled points of the slice, ``offset_mm`` off its middle along the slice axis."""
        rows, columns, normal = self.axes()
        spacing = tuple(size / OVERSAMPLING for size in self.pixel_size)
        y, x = (
            (torch.arange(OVERSAMPLING * n) - OVERSAMPLING * n // 2) * step + shift
            for n, step, shift in zip(self.shape, spacing, self.shift_mm, strict=True)
        )
        origin = normal * (self.offset_mm + offset_mm)
        points = origin[:, None, None] + rows[:, None, None] * y[:, None] + columns[:, None, None] * x
        return Plane(points, (spacing[0], spacing[1]))

    def planes(self) -> list[Plane]:
        """Return the planes whose mean is the slice, its middle first."""
        offsets = [0.0] if self.thickness_mm <= THIN else [0.0, -self.thickness_mm / 3, self.thickness_mm / 3]
        return [self.plane(offset) for offset in offsets]


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


class Protocol:
    """What one scan's slices share: pulse sequence, bias, phase and the window of k-space that was measured.

    Args:
        contrast: One of `CONTRASTS`.
        seed: Everything else follows from it.
        field_strength: In tesla.
    """

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

    def signal(self, values: TissueValues) -> Complex[Tensor, "tissue"]:
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

        Raises:
            ValueError: If the contrast is unknown.
        """
        return self._scan(self._protocol(contrast, scan), geometry)

    def volume(
        self,
        contrast: str,
        n_slices: int,
        spacing_mm: float = 5.0,
        geometry: Geometry = MIDDLE,
        scan: int = 0,
    ) -> Complex[Tensor, "slice y x"]:
        """Return a stack of slices about ``geometry``, ``spacing_mm`` apart."""
        return torch.stack([s.image for s in self.slices(contrast, n_slices, spacing_mm, geometry, scan)])

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
        lesions = torch.stack([_lesion_shares(c) for c in compositions]).mean(0)
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


def _lesion_shares(composition: Composition) -> Float[Tensor, "kind y x"]:
    """Return the share of each `LesionKind`, in their order."""
    return composition.fractions[[Tissue.LESION, Tissue.GLIOSIS]]


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
    """Return image and shares as an echo-planar readout places them: moved along y, and brighter where they pile up.

    Args:
        image: Signal of each point.
        shares: Shares of lesions.
        shift: Displacement along y, in points.
    """
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


def training_slices(
    seed: int, n: int, contrasts: Sequence[str] = LABELS, size: int = 144, first: int = 0
) -> Iterator[SyntheticSlice]:
    """Yield ``n`` diverse slices for training a prior, each scaled by `Scaling`, eight from one subject.

    Slice i depends on (seed, i) alone, so that pools can be drawn in parts: ``first`` is the first index.

    Args:
        seed: Identifies the pool.
        n: Number of slices.
        contrasts: Contrasts that may appear, in the proportions of `TRAINING_SHARES`; ``other`` stands for
            susceptibility and diffusion weighting, for odd timings, arbitrary intensities and patches without
            anatomy.
        size: Pixels along y and x.
        first: Index of the first slice.

    Raises:
        ValueError: If a contrast is unknown.
    """
    if set(contrasts) - set(LABELS) or not contrasts:
        raise ValueError(f"contrasts must be some of {', '.join(LABELS)}: got {', '.join(contrasts) or 'none'}")
    subject, head = -1, None
    for index in range(first, first + n):
        if head is None or subject != index // SLICES_PER_SUBJECT:
            subject = index // SLICES_PER_SUBJECT
            head = Head(derive_seed(seed, "training", subject))
        yield _training_slice(head, derive_seed(seed, "training-slice", index), contrasts, size)


def _training_slice(head: Head, seed: int, contrasts: Sequence[str], size: int) -> SyntheticSlice:
    """Return the first slice, in the order of the seed, that shows enough of a head."""
    rng = np.random.default_rng(seed)
    shares = np.array([TRAINING_SHARES[contrast] for contrast in contrasts])
    contrast = str(rng.choice(list(contrasts), p=shares / shares.sum()))
    while True:
        geometry, scan = draw_geometry(rng, size), int(rng.integers(2**62))
        shown = rng.choice(np.array(list(OTHERS)), p=list(OTHERS.values())) if contrast == "other" else contrast
        drawn = _abstract_slice(geometry, scan) if shown is None else head.slice(shown, geometry, scan)
        magnitude, scale = drawn.image.abs(), Scaling().of(drawn.image)
        if scale > 1e-3 and (magnitude > 0.15 * scale).float().mean() > 0.06:
            noise = complex_noise(drawn.image.shape, torch.Generator().manual_seed(derive_seed(scan, "noise")))
            floor = log_uniform(rng, 0.002, 0.02) * (rng.random() < 0.4)
            image = drawn.image + floor * scale * noise
            return drawn._replace(image=image / Scaling().of(image), contrast=contrast)


def draw_geometry(rng: np.random.Generator, size: int) -> Geometry:
    """Draw orientation, pixel size, tilt and field of view, which sometimes cuts the head."""
    orientation = str(rng.choice(["axial", "sagittal", "coronal"], p=[0.7, 0.15, 0.15]))
    low, high = {"axial": (-50, 60), "sagittal": (-52, 52), "coronal": (-62, 66)}[orientation]
    pixel = log_uniform(rng, 0.5, 2.5)
    tilt = rng.normal(0, 8, 3)
    if rng.random() < 0.3:
        tilt[2] = rng.uniform(-180, 180)
    spare = max(0.0, 125 - size * pixel / 2)
    shift = rng.uniform(-0.8, 0.8, 2) * spare + rng.normal(0, 4, 2)
    return Geometry(
        shape=(size, size),
        pixel_size=(pixel * rng.uniform(0.95, 1.05), pixel),
        offset_mm=rng.uniform(low, high),
        orientation=orientation,
        tilt=(tilt[0], tilt[1], tilt[2]),
        shift_mm=(shift[0], shift[1]),
        thickness_mm=rng.uniform(2, 6) if rng.random() < 0.12 else 0.0,
    )


def _abstract_slice(geometry: Geometry, scan: int) -> SyntheticSlice:
    """Return random patches within an ellipse: structure without anatomy keeps a prior modest."""
    protocol, rng = Protocol("other", scan), np.random.default_rng(derive_seed(scan, "abstract"))
    plane = geometry.plane()
    coarse = field(scan, "patches", log_uniform(rng, 10, 50), 6).on(plane)
    patches = coarse + 0.6 * field(scan, "fragments", log_uniform(rng, 4, 24), 6).on(plane)
    radii = torch.tensor(rng.uniform(60, 110, 3), dtype=torch.float32)
    radius = length(plane.points / radii[:, None, None])
    inside = torch.sigmoid(40 * (rng.uniform(0.6, 1.3) - radius))
    values = torch.from_numpy(rng.random(6).astype(np.float32))
    magnitude = torch.einsum("c,cyx->yx", values, torch.softmax(12 * patches, 0)) * inside
    magnitude = magnitude * protocol.shading(plane, (1 - radius) * 60)
    image = protocol.measure(torch.polar(magnitude, protocol.phase(plane)), geometry.shape)
    return SyntheticSlice(image, "other", torch.zeros(geometry.shape, dtype=torch.uint8), geometry.pixel_size)
