"""Signal equations and tissue tables: how bright each tissue is under each pulse sequence.

Times are in ms, angles in degrees, proton density and signal relative to water. Tissue values lie among
published ones at 1.5 T and 3 T (Wansapura et al. 1999, Gold et al. 2004, Stanisz et al. 2005).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.data.synthetic.fields import log_uniform

CONTRASTS = ("T1w", "T1w-post", "T2w", "PD", "FLAIR", "other")


class Tissue(IntEnum):
    """What a point of a head can be made of; air is the absence of all."""

    GREY = 0
    WHITE = 1
    FLUID = 2
    DEEP_GREY = 3
    PALLIDUM = 4
    LESION = 5
    BLOOD = 6
    DURA = 7
    BONE = 8
    MARROW = 9
    FAT = 10
    MUSCLE = 11
    SKIN = 12
    VITREOUS = 13
    MUCOSA = 14


#                 GM    WM    CSF   deep  pall. lesion blood dura bone marrow fat  muscle skin vitr. mucosa
T1 = torch.tensor([1230, 740, 4000, 1080, 900, 1450, 1700, 900, 600, 380, 300, 1050, 900, 3600, 1400.0])
T2 = torch.tensor([98, 72, 1500, 78, 58, 170, 60, 45, 10, 60, 75, 40, 45, 900, 140.0])
DENSITY = torch.tensor([0.82, 0.70, 1.0, 0.79, 0.74, 0.88, 0.8, 0.6, 0.08, 0.5, 0.7, 0.75, 0.7, 0.98, 0.85])
# share of the blood's gadolinium that a tissue takes up; the blood-brain barrier keeps it out of the brain
UPTAKE = torch.tensor([0.03, 0.02, 0, 0.03, 0.03, 0.4, 1, 0.5, 0.02, 0.15, 0.05, 0.2, 0.35, 0, 0.8])
GADOLINIUM_R1 = 3.2e-3  # 1/ms in blood: about 0.7 mmol/l at 4.5 l/(mmol s)


@dataclass(frozen=True)
class TissueValues:
    """Relaxation times and proton density of one subject's tissues, in the order of `Tissue`.

    Args:
        t1: Longitudinal relaxation time in ms.
        t2: Transverse relaxation time in ms.
        density: Proton density relative to water.
        flow: Share of the blood's signal that survives its motion in a spin echo.
    """

    t1: Float[Tensor, "tissue"]
    t2: Float[Tensor, "tissue"]
    density: Float[Tensor, "tissue"]
    flow: float = 0.2

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "TissueValues":
        """Draw a subject's values around the published ones."""
        individual = torch.from_numpy(rng.standard_normal((3, len(Tissue))).astype(np.float32))
        individual[:, Tissue.BONE :] *= 4
        individual[0, Tissue.FLUID] *= 0.5
        common_t1, common_t2 = 0.06 * rng.standard_normal(2)
        brain = (torch.arange(len(Tissue)) <= Tissue.LESION) & (torch.arange(len(Tissue)) != Tissue.FLUID)
        density = DENSITY * torch.exp(0.02 * individual[2])
        density[Tissue.BONE] *= log_uniform(rng, 0.3, 2)
        return cls(
            T1 * torch.exp(0.03 * individual[0] + common_t1 * brain),
            T2 * torch.exp(0.03 * individual[1] + common_t2 * brain),
            density,
            rng.uniform(0, 0.4),
        )

    def enhanced(self, dose: float) -> "TissueValues":
        """Return the values after a contrast agent, 1/T1 + r1 c; ``dose`` 1 is the usual one."""
        return replace(self, t1=1 / (1 / self.t1 + dose * GADOLINIUM_R1 * UPTAKE), flow=max(self.flow, 0.8))


class Sequence(ABC):
    """A pulse sequence: from tissue values to signal."""

    @abstractmethod
    def signal(self, tissue: TissueValues) -> Float[Tensor, "tissue"]:
        """Return the signal of each tissue, not below 0."""

    def stilled(self, signal: Float[Tensor, "tissue"], tissue: TissueValues) -> Float[Tensor, "tissue"]:
        """Return the signal with the blood's loss by flow."""
        signal = signal.clone()
        signal[Tissue.BLOOD] *= tissue.flow
        return signal


@dataclass(frozen=True)
class SpinEcho(Sequence):
    """S = PD (1 - exp(-TR/T1)) exp(-TE/T2), fat brightened by the echo train's J-decoupling."""

    tr: float
    te: float
    fat_gain: float = 1.0

    def signal(self, tissue: TissueValues) -> Float[Tensor, "tissue"]:
        """Return the signal of each tissue."""
        signal = tissue.density * (1 - torch.exp(-self.tr / tissue.t1)) * torch.exp(-self.te / tissue.t2)
        signal[[Tissue.FAT, Tissue.MARROW]] *= self.fat_gain
        return self.stilled(signal, tissue)


@dataclass(frozen=True)
class InversionRecovery(Sequence):
    """S = PD abs(1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2); TI near 0.69 T1 nulls a tissue."""

    tr: float
    ti: float
    te: float
    fat_gain: float = 1.0

    def signal(self, tissue: TissueValues) -> Float[Tensor, "tissue"]:
        """Return the signal of each tissue."""
        recovered = 1 - 2 * torch.exp(-self.ti / tissue.t1) + torch.exp(-self.tr / tissue.t1)
        signal = tissue.density * recovered.abs() * torch.exp(-self.te / tissue.t2)
        signal[[Tissue.FAT, Tissue.MARROW]] *= self.fat_gain
        return self.stilled(signal, tissue)


@dataclass(frozen=True)
class Mprage(Sequence):
    """S = PD abs(1 - 2 e exp(-TI/T1) / (1 + exp(-TR/T1))), inversion efficiency e."""

    tr: float
    ti: float
    efficiency: float = 0.95

    def signal(self, tissue: TissueValues) -> Float[Tensor, "tissue"]:
        """Return the signal of each tissue."""
        inverted = 2 * self.efficiency * torch.exp(-self.ti / tissue.t1) / (1 + torch.exp(-self.tr / tissue.t1))
        return tissue.density * (1 - inverted).abs() * torch.exp(-3 / (0.6 * tissue.t2))


@dataclass(frozen=True)
class GradientEcho(Sequence):
    """S = PD sin a (1 - E) / (1 - E cos a) exp(-TE/T2*), E = exp(-TR/T1), T2* = 0.6 T2."""

    tr: float
    te: float
    flip: float

    def signal(self, tissue: TissueValues) -> Float[Tensor, "tissue"]:
        """Return the signal of each tissue."""
        decay, flip = torch.exp(-self.tr / tissue.t1), math.radians(self.flip)
        steady = math.sin(flip) * (1 - decay) / (1 - math.cos(flip) * decay)
        return tissue.density * steady * torch.exp(-self.te / (0.6 * tissue.t2))


@dataclass(frozen=True)
class RandomIntensities(Sequence):
    """Every tissue its own arbitrary signal, as no scanner makes it: diversity for a prior.

    Never like FLAIR: where fluid is dark, white matter is at least as bright as grey matter.
    """

    seed: int

    def signal(self, tissue: TissueValues) -> Float[Tensor, "tissue"]:
        """Return the signal of each tissue."""
        generator = torch.Generator().manual_seed(self.seed)
        signal = torch.rand(len(Tissue), generator=generator)
        signal[Tissue.BONE] *= 0.3
        signal[Tissue.PALLIDUM] = 0.7 * signal[Tissue.DEEP_GREY] + 0.3 * signal[Tissue.PALLIDUM]
        grey, white, fluid = signal[[Tissue.GREY, Tissue.WHITE, Tissue.FLUID]].tolist()
        if grey > white and fluid < 0.7 * grey:
            signal[[Tissue.GREY, Tissue.WHITE]] = torch.tensor([white, grey])
        return signal


def draw_sequence(contrast: str, rng: np.random.Generator) -> Sequence:
    """Draw the pulse sequence of one scan, with timings as hospitals use them.

    Raises:
        ValueError: If ``contrast`` is not one of `CONTRASTS`.
    """
    if contrast in ("T1w", "T1w-post"):
        if rng.random() < 0.5:
            return SpinEcho(rng.uniform(350, 750), rng.uniform(8, 18), rng.uniform(0.9, 1.2))
        if rng.random() < 0.65:
            return Mprage(rng.uniform(1600, 2500), rng.uniform(800, 1050), rng.uniform(0.9, 1))
        tr = log_uniform(rng, 8, 200)
        ernst = math.degrees(math.acos(math.exp(-tr / 1100)))  # of brain; T1 weighting wants about twice it
        return GradientEcho(tr, rng.uniform(2, 6), min(85, rng.uniform(1.6, 3) * ernst))
    if contrast == "T2w":
        return SpinEcho(rng.uniform(3000, 6500), rng.uniform(80, 120), rng.uniform(1, 1.8))
    if contrast == "PD":
        return SpinEcho(rng.uniform(2000, 3800), rng.uniform(10, 32), rng.uniform(1, 1.3))
    if contrast == "FLAIR":
        tr, fluid = rng.uniform(7500, 11000), rng.uniform(0.95, 1.05) * float(T1[Tissue.FLUID])
        ti = fluid * (math.log(2) - math.log1p(math.exp(-tr / fluid)))  # nulls the fluid
        return InversionRecovery(tr, ti, rng.uniform(90, 140), rng.uniform(1, 1.3))
    if contrast == "other":
        if rng.random() < 0.5:
            return GradientEcho(log_uniform(rng, 15, 600), rng.uniform(4, 28), rng.uniform(8, 60))
        return RandomIntensities(int(rng.integers(2**62)))
    raise ValueError(f"contrast must be one of {', '.join(CONTRASTS)}: got {contrast!r}")
