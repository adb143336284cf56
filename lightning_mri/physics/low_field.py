"""Simulated low-field scans of high-field images, by a portable scanner with one coil."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor
from torch.nn.functional import interpolate

from lightning_mri.described import check_fields
from lightning_mri.physics.acquisition import Damping, Maps, Mask, Phase, sense
from lightning_mri.physics.espirit import acs_image
from lightning_mri.physics.estimate import ScannerEstimate
from lightning_mri.physics.fourier import fft2c
from lightning_mri.physics.likelihood import GaussianLikelihood, cg_sense, without_degradation
from lightning_mri.physics.masks import SamplingPattern, block_if_any, find_acs
from lightning_mri.physics.operators import Composition, Fourier
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise, derive_seed, power_of_two, root_sum_of_squares

PixelSize = tuple[float, float]

LARGEST_SNR_DB = 100.0
SCALE_LINES = 64
B0_NODES = 5
B0_DEPTHS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Volume:
    """Where slices lie in one volume, which has one B0 field.

    Args:
        seed: Of the field.
        depths: Position of each slice across the volume, from -1 at one end to 1 at the other.
    """

    seed: int
    depths: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(-1 <= depth <= 1 for depth in self.depths):
            raise ValueError(f"depths must be from -1 to 1: got {self.depths}")


@dataclass(frozen=True)
class LowField:
    """What a low-field scanner does to an image: A = Mask @ Damping @ Fourier @ Maps @ Phase, then noise.

    One coil sees everything equally. Blur and decay are both weights of k-space and form one damping; the
    phase is that of the B0 offset at the echo time. Noise is drawn at a signal-to-noise ratio of k-space,
    snr_db = 10 log10(mean abs(k)^2 / mean abs(eta)^2) over acquired samples, after damping and before noise.

    Args:
        snr_db: Lowest and highest signal-to-noise ratio in dB; each image draws its own between them.
        fwhm_mm: Full width at half maximum of the Gaussian blur in mm, 0 for none.
        t2star_s: Decay time T2* along the readout in s, counted from the echo; None for no decay.
        readout_s: Duration of the readout in s, of the samples that are acquired.
        readout: Axis of the image along which it runs; if not given that of a measured scan's file, else y.
        b0_hz: Largest absolute B0 offset in a volume in Hz, 0 for none; the field is smooth and drawn.
        te_s: Echo time in s, at which the offset shows as phase.
        pixel_size: Edge of a pixel in mm.
        pattern: Which samples are acquired; None for all.
    """

    snr_db: tuple[float, float] = (2.0, 7.0)
    fwhm_mm: float = 0.0
    t2star_s: float | None = None
    readout_s: float = 0.0128
    readout: Literal["y", "x"] | None = None
    b0_hz: float = 0.0
    te_s: float = 0.01
    pixel_size: float = 0.15
    pattern: SamplingPattern | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.snr_db, Sequence) or len(self.snr_db) != 2:
            raise ValueError(f"snr_db must be (lowest, highest): got {self.snr_db}")
        low, high = self.snr_db
        if not -LARGEST_SNR_DB <= low <= high <= LARGEST_SNR_DB:
            raise ValueError(
                f"snr_db must be (lowest, highest) between -{LARGEST_SNR_DB:g} and {LARGEST_SNR_DB:g}:"
                f" got {self.snr_db}"
            )
        for name in ("fwhm_mm", "b0_hz", "te_s"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative: got {value}")
        for name in ("t2star_s", "readout_s", "pixel_size"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be finite and positive: got {value}")
        if self.readout not in (None, "y", "x"):
            raise ValueError(f"readout must be y or x: got {self.readout}")

    def operator(
        self,
        shape: tuple[int, int],
        seeds: Sequence[int],
        volume: Volume | None = None,
        pixel_sizes: Sequence[PixelSize] | None = None,
    ) -> Composition:
        """Return A for images [batch, y, x].

        Args:
            shape: Matrix (y, x).
            seeds: One an image, of its mask and, without a volume, of its B0 field.
            volume: Where the images lie in a volume; each in the middle of its own if not given.
            pixel_sizes: Size of a pixel (y, x) of each image in mm; the scanner's if not given.

        Raises:
            ValueError: If the blur is wider than the image, or there is not one depth or pixel size an image.
        """
        depths = None if volume is None else volume.depths
        for name, n in (("depth", depths and len(depths)), ("pixel size", pixel_sizes and len(pixel_sizes))):
            if n is not None and n != len(seeds):
                raise ValueError(f"there must be one {name} an image: got {n} {name}s, {len(seeds)} images")
        maps = torch.ones(len(seeds), 1, 1, *shape, dtype=torch.complex64)
        phase = None
        if self.b0_hz and self.te_s:
            places = [(seed, 0.0) for seed in seeds] if volume is None else [(volume.seed, z) for z in volume.depths]
            offsets = torch.stack([b0_offset(shape, derive_seed(seed, "b0"), depth) for seed, depth in places])
            phase = Phase.b0(self.b0_hz * offsets, self.te_s)
        return sense(maps, self._mask(shape, seeds), self._dampings(shape, pixel_sizes), phase)

    def degrade(
        self,
        x: Complex[Tensor, "batch y x"],
        seeds: Sequence[int] | None = None,
        volume: Volume | None = None,
        pixel_sizes: Sequence[PixelSize] | None = None,
    ) -> GaussianLikelihood:
        """Measure images: y = A x + eta, with everything about A and eta known.

        Args:
            x: Images in any unit; y and ``noise_std`` are in the same.
            seeds: One an image; drawn from the global random source if not given.
            volume: Where the images lie in a volume, whose B0 field they share; none if not given.
            pixel_sizes: As in `operator`.

        Raises:
            ValueError: If there is not one seed an image, an image is empty, or the blur is wider than it.
        """
        if seeds is None:
            seeds = torch.randint(2**62, (len(x),)).tolist()
        if len(seeds) != len(x):
            raise ValueError(f"there must be one seed an image: got {len(seeds)} seeds and {len(x)} images")
        A = self.operator((x.shape[-2], x.shape[-1]), seeds, volume, pixel_sizes).to(x.device)
        clean = A(x)
        found = A.find(Mask)
        assert found is not None, "a low-field operator always has a mask"
        mask = found.mask
        unit = power_of_two(clean, 3)
        power = (clean / unit).abs().square().sum((-3, -2, -1)) / mask.sum((-3, -2, -1))
        if not bool((power > 0).all()):
            empty = int((power <= 0).nonzero()[0])
            raise ValueError(f"x must not be empty, since snr_db refers to its signal: image {empty} is all zero")
        snr_db = torch.tensor([self._snr_db(seed) for seed in seeds], device=x.device)
        noise_std = (power / (2 * 10 ** (snr_db / 10))).sqrt() * unit.flatten()
        noise = torch.stack([_noise(clean.shape[1:], seed) for seed in seeds]).to(x.device)
        return GaussianLikelihood(A, clean + mask * noise_std[:, None, None, None] * noise, noise_std)

    def _mask(self, shape: tuple[int, int], seeds: Sequence[int]) -> Bool[Tensor, "batch 1 y x"]:
        if self.pattern is None:
            return torch.ones(len(seeds), 1, *shape, dtype=torch.bool)
        return torch.stack([self.pattern.draw(shape, derive_seed(seed, "mask")) for seed in seeds])

    def _dampings(self, shape: tuple[int, int], pixel_sizes: Sequence[PixelSize] | None) -> Damping | None:
        """Return the damping of images that may differ in their pixels; they share it where they do not."""
        sizes = pixel_sizes or (None,)
        first = self.damping(shape, sizes[0])
        if first is None or len(set(sizes)) == 1:
            return first
        of = {size: damping.weights for size in set(sizes) if (damping := self.damping(shape, size)) is not None}
        return Damping(torch.stack([of[size] for size in sizes]))

    def damping(self, shape: tuple[int, int], pixel_size: PixelSize | None = None) -> Damping | None:
        """Return blur and decay as one operator, None if there is neither.

        Args:
            shape: Matrix (y, x).
            pixel_size: Size of a pixel (y, x) in mm; the scanner's if not given.

        Raises:
            ValueError: If the blur is wider than the image.
        """
        pixel_size = (self.pixel_size,) * 2 if pixel_size is None else pixel_size
        extent = tuple(n * edge for n, edge in zip(shape, pixel_size, strict=True))
        if self.fwhm_mm >= min(extent):
            raise ValueError(
                f"fwhm_mm must be smaller than the image: got {self.fwhm_mm} and an image of"
                f" {extent[0]:g} x {extent[1]:g} mm"
            )
        weights = []
        if self.fwhm_mm:
            weights.append(Damping.gaussian(shape, self.fwhm_mm, pixel_size).weights)
        if self.t2star_s is not None:
            across = self.readout == "x"
            n, other = reversed(shape) if across else shape
            decay = Damping.t2star((n, other), self.t2star_s, self.readout_s / n).weights
            weights.append(decay.mT if across else decay)
        return Damping(math.prod(weights[1:], start=weights[0])) if weights else None

    def matched(self, found: ScannerEstimate) -> "LowField":
        """Return the scanner with the blur and decay that were found in a scan, where they were.

        Args:
            found: What `estimate_scanner` returned.
        """
        fwhm_mm = self.fwhm_mm if found.fwhm_mm is None else found.fwhm_mm.value
        if found.r2star_hz is None:
            return replace(self, fwhm_mm=fwhm_mm)
        return replace(self, fwhm_mm=fwhm_mm, t2star_s=1 / rate if (rate := found.r2star_hz.value) > 0 else None)

    def _snr_db(self, seed: int) -> float:
        low, high = self.snr_db
        share = torch.rand((), generator=torch.Generator().manual_seed(derive_seed(seed, "snr")))
        return low + (high - low) * float(share)


@dataclass(frozen=True)
class ModelMismatch:
    """A reconstruction that takes every effect of the scanner for ``factor`` times as strong as it is.

    That is: the width of the blur, the rate 1 / T2* of the decay, the B0 offset and the standard deviation of the
    noise, all at once and to the same side, so that no error makes up for another.

    Args:
        factor: Assumed by actual strength; 1 is right.
        without_degradation: Whether the reconstruction knows neither damping nor phase at all.
    """

    factor: float = 1.0
    without_degradation: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf:
            raise ValueError(f"factor must be finite and positive: got {self.factor}")
        check_fields(self, bool)

    def of(self, degradation: LowField) -> LowField:
        """Return the scanner as it is taken to be."""
        t2star_s = degradation.t2star_s
        return replace(
            degradation,
            fwhm_mm=self.factor * degradation.fwhm_mm,
            t2star_s=None if t2star_s is None else t2star_s / self.factor,
            b0_hz=self.factor * degradation.b0_hz,
        )

    def apply(
        self,
        likelihood: GaussianLikelihood,
        degradation: LowField,
        seeds: Sequence[int],
        volume: Volume | None = None,
        pixel_sizes: Sequence[PixelSize] | None = None,
    ) -> GaussianLikelihood:
        """Return what the reconstruction believes of a measurement; the measurement stays.

        Args:
            likelihood: What ``degradation.degrade`` returned.
            degradation: The scanner as it is.
            seeds: As it got them.
            volume: As it got it.
            pixel_sizes: As it got them.
        """
        shape = (likelihood.y.shape[-2], likelihood.y.shape[-1])
        A = self.of(degradation).operator(shape, seeds, volume, pixel_sizes).to(likelihood.y.device)
        believed = likelihood.replace(A=A, noise_std=self.factor * likelihood.noise_std)
        return without_degradation(believed) if self.without_degradation else believed


def scaled(likelihood: GaussianLikelihood, scaling: Scaling) -> tuple[GaussianLikelihood, Float[Tensor, " batch"]]:
    """Bring a measurement to image units; the scale is found from the measurement alone.

    It is that of the image of the central lines of k-space, Hamming-windowed: noise hardly raises it there,
    and blur hardly lowers it. Without a calibration block or a Fourier transform, or of an own operator without a mask,
    k-space is that of a solution by conjugate gradients. Each slice has the block of its own mask.

    Returns:
        The likelihood in image units, and the scale: image in units of the measurement = scale * x; slices without
        signal around the centre of k-space have scale 0, and stay as they are.
    """
    n, mask = len(likelihood.y), likelihood.acquired
    if mask.ndim == 3 or bool((mask == mask[:1]).all()):
        scale = _scale(likelihood, scaling)
    else:
        scale = torch.cat([_scale(likelihood.rows([row]), scaling) for row in range(n)])
    unit = torch.where(scale > 0, scale, 1)
    return likelihood.replace(y=likelihood.y / unit[:, None, None, None], noise_std=likelihood.noise_std / unit), scale


def _scale(likelihood: GaussianLikelihood, scaling: Scaling) -> Float[Tensor, " batch"]:
    """Return the scale of slices that share a mask."""
    kspace, mask = likelihood.y, likelihood.acquired
    is_plain = all(isinstance(each, Mask | Damping | Fourier | Maps | Phase) for each in likelihood.A.factors)
    sampled = likelihood.A.find(Fourier) and (is_plain or likelihood.A.find(Mask))
    acs = block_if_any(mask) if sampled else None
    if acs is None:
        x = cg_sense(likelihood)
        x = x if likelihood.A.image_ndim == 2 else root_sum_of_squares(x).to(x.dtype)
        kspace = fft2c(x)[..., None, :, :]
        mask = torch.ones_like(kspace, dtype=torch.bool)
        acs = find_acs(mask)
    return scaling.of(acs_image(kspace, mask, acs=acs.limited(SCALE_LINES, aspect=1)))


def b0_offset(shape: tuple[int, int], seed: int, depth: float = 0.0) -> Float[Tensor, "y x"]:
    """Draw one slice of a smooth, susceptibility-like B0 offset of at most 1 in the volume, to 2 %.

    A smooth field as shimming leaves it, cosines across the slices and cubic within, and the field of a dipole
    beside the middle of the volume (such as air in an ear), (2 b^2 - a^2 - d^2) / (a^2 + b^2 + d^2)^(5/2) at
    distances a, b in the plane and d across it.
    """
    planes = torch.stack([_b0_plane(shape, seed, z) for z in (*B0_DEPTHS, depth)])
    # mean and maximum are the volume's, whichever slice is asked for
    volume = planes[:-1] - planes[:-1].mean()
    return (planes[-1] - planes[:-1].mean()) / volume.abs().max()


def _b0_plane(shape: tuple[int, int], seed: int, depth: float) -> Float[Tensor, "y x"]:
    generator = torch.Generator().manual_seed(seed)
    nodes = torch.randn(3, B0_NODES, B0_NODES, generator=generator)
    across = torch.tensor([math.cos(math.pi * order * (depth + 1) / 2) for order in range(len(nodes))])
    plane = torch.einsum("z,zyx->yx", across, nodes)[None, None]
    smooth = interpolate(plane, size=shape, mode="bicubic", align_corners=True)[0, 0]
    where = torch.rand(3, generator=generator)
    b = torch.linspace(-1, 1, shape[0])[:, None] - (0.2 + 0.5 * where[0])
    a = torch.linspace(-1, 1, shape[1])[None] - (2 * where[1] - 1) * 0.5
    nearest = 0.25 + 0.25 * where[2]
    d2 = nearest**2 + depth**2
    dipole = (2 * b.square() - a.square() - d2) / (a.square() + b.square() + d2) ** 2.5
    return smooth / nodes.abs().max() + 0.7 * nearest**3 * dipole


def _noise(shape: Sequence[int], seed: int) -> Tensor:
    return complex_noise(shape, torch.Generator().manual_seed(derive_seed(seed, "noise")))
