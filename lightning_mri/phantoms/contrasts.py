"""Signal equations: how bright each tissue is, and at which phase, under each pulse sequence.

Times are in ms, angles in degrees, diffusion weightings in s/mm^2, signal relative to water of density 1.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.phantoms.fields import log_uniform
from lightning_mri.phantoms.tissues import REFERENCE_FIELD, T1, Tissue, TissueValues

CONTRASTS = ("T1w", "T1w-post", "T2w", "PD", "FLAIR", "SWI", "DWI", "other")


class Sequence(ABC):
    """A pulse sequence: from tissue values to signal."""

    @abstractmethod
    def signal(self, tissue: TissueValues) -> Float[Tensor, " tissue"]:
        """Return the signal of each tissue, not below 0."""

    def phase(self, tissue: TissueValues) -> Float[Tensor, " tissue"]:
        """Return the phase of each tissue in rad: 0, as echoes of radio pulses refocus it."""
        return torch.zeros_like(tissue.offset)


@dataclass(frozen=True)
class SpinEcho(Sequence):
    """S = PD (1 - exp(-TR/T1)) exp(-TE/T2), fat brightened by the echo train's J-decoupling, flow voids in vessels."""

    tr: float
    te: float
    fat_gain: float = 1.0

    def signal(self, tissue: TissueValues) -> Float[Tensor, " tissue"]:
        """Return the signal of each tissue."""
        signal = tissue.density * self.recovered(tissue) * torch.exp(-self.te / tissue.t2)
        signal[[Tissue.FAT, Tissue.MARROW]] *= self.fat_gain
        return flow_void(signal, tissue)

    def recovered(self, tissue: TissueValues) -> Float[Tensor, " tissue"]:
        """Return the longitudinal magnetisation that is excited."""
        return 1 - torch.exp(-self.tr / tissue.t1)


@dataclass(frozen=True)
class InversionRecovery(SpinEcho):
    """S = PD abs(1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2); TI near 0.69 T1 nulls a tissue."""

    ti: float = field(kw_only=True)

    def recovered(self, tissue: TissueValues) -> Float[Tensor, " tissue"]:
        """Return the longitudinal magnetisation that is excited."""
        return (1 - 2 * torch.exp(-self.ti / tissue.t1) + torch.exp(-self.tr / tissue.t1)).abs()


@dataclass(frozen=True)
class Mprage(Sequence):
    """S = PD abs(1 - 2 e exp(-TI/T1) / (1 + exp(-TR/T1))) exp(-TE/T2*), inversion efficiency e."""

    tr: float
    ti: float
    efficiency: float = 0.95
    te: float = 3.0

    def signal(self, tissue: TissueValues) -> Float[Tensor, " tissue"]:
        """Return the signal of each tissue."""
        inverted = 2 * self.efficiency * torch.exp(-self.ti / tissue.t1) / (1 + torch.exp(-self.tr / tissue.t1))
        return tissue.density * (1 - inverted).abs() * torch.exp(-self.te / tissue.t2_star)


@dataclass(frozen=True)
class GradientEcho(Sequence):
    """S = PD sin a (1 - E) / (1 - E cos a) exp(-TE/T2*), E = exp(-TR/T1), at the phase 2 pi df TE.

    At long echo times it is what susceptibility-weighted images are made of: the deoxygenated blood of veins
    and iron decay fast, and at another phase than the brain around them (Haacke et al. 2004).
    """

    tr: float
    te: float
    flip: float

    def signal(self, tissue: TissueValues) -> Float[Tensor, " tissue"]:
        """Return the signal of each tissue."""
        decay, flip = torch.exp(-self.tr / tissue.t1), math.radians(self.flip)
        steady = math.sin(flip) * (1 - decay) / (1 - math.cos(flip) * decay)
        return tissue.density * steady * torch.exp(-self.te / tissue.t2_star)

    def phase(self, tissue: TissueValues) -> Float[Tensor, " tissue"]:
        """Return the phase of each tissue in rad."""
        return 2 * math.pi * tissue.offset * self.te / 1000


@dataclass(frozen=True)
class DiffusionEcho(Sequence):
    """S = PD (1 - exp(-TR/T1)) exp(-TE/T2) exp(-b D), averaged over directions, read out as one echo-planar train."""

    tr: float
    te: float
    b: float

    def signal(self, tissue: TissueValues) -> Float[Tensor, " tissue"]:
        """Return the signal of each tissue."""
        relaxed = tissue.density * (1 - torch.exp(-self.tr / tissue.t1)) * torch.exp(-self.te / tissue.t2)
        return flow_void(relaxed * torch.exp(-self.b * tissue.diffusivity / 1000), tissue)


@dataclass(frozen=True)
class RandomIntensities(Sequence):
    """Every tissue its own arbitrary signal, as no scanner makes it: diversity for a prior.

    Never like FLAIR: where fluid is dark, white matter is at least as bright as grey matter.
    """

    seed: int

    def signal(self, tissue: TissueValues) -> Float[Tensor, " tissue"]:
        """Return the signal of each tissue."""
        generator = torch.Generator().manual_seed(self.seed)
        signal = torch.rand(len(Tissue), generator=generator)
        signal[Tissue.BONE] *= 0.3
        signal[Tissue.PALLIDUM] = 0.7 * signal[Tissue.DEEP_GREY] + 0.3 * signal[Tissue.PALLIDUM]
        grey, white, fluid = signal[[Tissue.GREY, Tissue.WHITE, Tissue.FLUID]].tolist()
        if grey > white and fluid < 0.7 * grey:
            signal[[Tissue.GREY, Tissue.WHITE]] = torch.tensor([white, grey])
        return signal


def flow_void(signal: Float[Tensor, " tissue"], tissue: TissueValues) -> Float[Tensor, " tissue"]:
    """Return the signal with the flow void of blood."""
    signal = signal.clone()
    signal[[Tissue.BLOOD, Tissue.VEIN]] *= tissue.flow
    return signal


def draw_sequence(contrast: str, rng: np.random.Generator, field_strength: float = REFERENCE_FIELD) -> Sequence:
    """Draw the pulse sequence of one scan, with timings as hospitals use them.

    Args:
        contrast: One of `CONTRASTS`.
        rng: Source of randomness.
        field_strength: In tesla; a susceptibility-weighted echo comes the later the lower the field.
    """
    match contrast:
        case "T1w" | "T1w-post":
            return _t1_weighted(rng)
        case "T2w":
            return SpinEcho(rng.uniform(3000, 6500), rng.uniform(80, 120), rng.uniform(1, 1.8))
        case "PD":
            return SpinEcho(rng.uniform(2000, 3800), rng.uniform(10, 32), rng.uniform(1, 1.3))
        case "FLAIR":
            tr, fluid = rng.uniform(7500, 11000), rng.uniform(0.95, 1.05) * float(T1[Tissue.FLUID])
            ti = fluid * (math.log(2) - math.log1p(math.exp(-tr / fluid)))  # nulls the fluid
            return InversionRecovery(tr, rng.uniform(90, 140), rng.uniform(1, 1.3), ti=ti)
        case "SWI":
            te = rng.uniform(16, 25) * min(2.5, REFERENCE_FIELD / field_strength)
            return GradientEcho(te + rng.uniform(5, 15), te, rng.uniform(10, 18))
        case "DWI":
            return DiffusionEcho(rng.uniform(3500, 8000), rng.uniform(60, 95), rng.uniform(900, 1200))
        case "other":
            return _unnamed(rng)
    raise ValueError(f"contrast must be one of {', '.join(CONTRASTS)}: got {contrast!r}")


def _t1_weighted(rng: np.random.Generator) -> Sequence:
    """Draw a spin echo, a prepared or a spoiled gradient echo."""
    if rng.random() < 0.5:
        return SpinEcho(rng.uniform(350, 750), rng.uniform(8, 18), rng.uniform(0.9, 1.2))
    if rng.random() < 0.65:
        return Mprage(rng.uniform(1600, 2500), rng.uniform(800, 1050), rng.uniform(0.9, 1))
    tr = log_uniform(rng, 8, 200)
    ernst = math.degrees(math.acos(math.exp(-tr / 1100)))  # of brain; T1 weighting wants about twice it
    return GradientEcho(tr, rng.uniform(2, 6), min(85, rng.uniform(1.6, 3) * ernst))


def _unnamed(rng: np.random.Generator) -> Sequence:
    """Draw a gradient echo of any weighting, or what no scanner makes."""
    if rng.random() < 0.5:
        return GradientEcho(log_uniform(rng, 15, 600), rng.uniform(4, 28), rng.uniform(8, 60))
    return RandomIntensities(int(rng.integers(2**62)))
