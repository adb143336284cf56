"""What a head is made of: relaxation, density, diffusion and frequency of each tissue, at any field.

Times are in ms, proton density relative to water. The values lie among published ones at 3 T (Wansapura et al.
1999, Gold et al. 2004, Stanisz et al. 2005); T1 grows with the field as B0^0.38 in tissue (Rooney et al. 2007),
the reversible relaxation rate R2' and the frequency offset in proportion to it.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.phantoms.fields import log_uniform


class Tissue(IntEnum):
    """What a point of a head can be made of; air is the absence of all."""

    GREY = 0
    WHITE = 1
    FLUID = 2
    DEEP_GREY = 3
    PALLIDUM = 4
    LESION = 5  # acute ischaemia: swollen cells, in which water hardly diffuses
    GLIOSIS = 6  # old damage of white matter by its small vessels
    BLOOD = 7  # of arteries
    VEIN = 8
    DURA = 9
    BONE = 10
    MARROW = 11
    FAT = 12
    MUSCLE = 13
    SKIN = 14
    VITREOUS = 15
    MUCOSA = 16


REFERENCE_FIELD = 3.0  # T
#                 GM    WM    CSF   deep  pall lesion glios artery vein dura bone marrow fat muscle skin vitr. mucosa
T1 = torch.tensor([1350, 830, 4000, 1150, 960, 1550, 1350, 1800, 1700, 1000, 600, 400, 370, 1300, 1000, 3600, 1500.0])
T2 = torch.tensor([98, 72, 1500, 78, 58, 165, 150, 60, 40, 45, 10, 60, 75, 40, 32, 900, 140.0])
DENSITY = torch.tensor([0.82, 0.7, 1, 0.79, 0.74, 0.88, 0.82, 0.8, 0.8, 0.6, 0.08, 0.5, 0.7, 0.75, 0.7, 0.98, 0.85])
# R2' in 1/s; the iron of the pallidum and the deoxygenated blood of veins dephase within a voxel
R2_PRIME = torch.tensor([11, 9, 2, 14, 30, 9, 9, 10, 45, 15, 150, 45, 12, 12, 15, 2, 15.0])
T1_EXPONENT = torch.tensor([*[0.38, 0.38, 0.0], *[0.38] * 4, *[0.25] * 3, *[0.1] * 3, 0.38, 0.3, 0.0, 0.25])
# apparent diffusion coefficient in um^2/ms
DIFFUSIVITY = torch.tensor([0.86, 0.68, 3.0, 0.75, 0.7, 0.42, 1.05, 2.5, 2.5, 0.6, 0.3, 0.1, 0.05, 1.4, 1.2, 2.6, 1.3])
# frequency offset in Hz: 3.4 ppm between fat and water, 0.2 ppm in veins along the field
OFFSET = torch.tensor([0, -1, 0, 1, 4, 0, 0, 0, 25, 0, 0, -434, -434, 0, 0, 0, 0.0])
# share of the blood's gadolinium that a tissue takes up; the blood-brain barrier keeps it out of the brain
UPTAKE = torch.tensor([0.03, 0.02, 0, 0.03, 0.03, 0.1, 0.03, 1, 1, 0.5, 0.02, 0.15, 0.05, 0.2, 0.35, 0, 0.8])
GADOLINIUM_R1 = 3.2e-3  # 1/ms in blood: about 0.7 mmol/l at 4.5 l/(mmol s)


@dataclass(frozen=True)
class TissueValues:
    """What decides the signal of one subject's tissues at one field, in the order of `Tissue`."""

    t1: Float[Tensor, " tissue"]  # longitudinal relaxation time in ms
    t2: Float[Tensor, " tissue"]  # transverse relaxation time in ms
    density: Float[Tensor, " tissue"]  # proton density relative to water
    r2_prime: Float[Tensor, " tissue"]  # reversible relaxation rate in 1/s
    offset: Float[Tensor, " tissue"]  # frequency relative to water in Hz
    diffusivity: Float[Tensor, " tissue"]  # apparent diffusion coefficient in um^2/ms
    flow: float = 0.2  # share of the blood's signal that survives its motion in a spin echo

    @property
    def t2_star(self) -> Float[Tensor, " tissue"]:
        """Time constant of a gradient echo's decay in ms, 1/T2* = 1/T2 + R2'."""
        return 1 / (1 / self.t2 + self.r2_prime / 1000)

    @classmethod
    def published(cls, field_strength: float = REFERENCE_FIELD) -> "TissueValues":
        """Return the values in the middle of the published ones."""
        if not field_strength > 0:
            raise ValueError(f"field_strength must be positive: got {field_strength}")
        ratio = field_strength / REFERENCE_FIELD
        return cls(T1 * ratio**T1_EXPONENT, T2, DENSITY, R2_PRIME * ratio, OFFSET * ratio, DIFFUSIVITY)

    @classmethod
    def draw(cls, rng: np.random.Generator, field_strength: float = REFERENCE_FIELD) -> "TissueValues":
        """Draw a subject's values around the published ones."""
        middle = cls.published(field_strength)
        individual = torch.from_numpy(rng.standard_normal((5, len(Tissue))).astype(np.float32))
        individual[:, Tissue.BONE :] *= 4
        individual[0, Tissue.FLUID] *= 0.5
        common_t1, common_t2 = 0.06 * rng.standard_normal(2)
        brain = (torch.arange(len(Tissue)) <= Tissue.GLIOSIS) & (torch.arange(len(Tissue)) != Tissue.FLUID)
        density = middle.density * torch.exp(0.02 * individual[2])
        density[Tissue.BONE] *= log_uniform(rng, 0.3, 2)
        r2_prime = middle.r2_prime * torch.exp(0.1 * individual[3])
        r2_prime[Tissue.PALLIDUM] *= log_uniform(rng, 0.6, 1.8)  # iron gathers with age
        return cls(
            middle.t1 * torch.exp(0.03 * individual[0] + common_t1 * brain),
            middle.t2 * torch.exp(0.03 * individual[1] + common_t2 * brain),
            density,
            r2_prime,
            middle.offset,
            middle.diffusivity * torch.exp(0.03 * individual[4]),
            rng.uniform(0, 0.4),
        )

    def enhanced(self, dose: float) -> "TissueValues":
        """Return the values after a contrast agent, 1/T1 + r1 c; ``dose`` 1 is the usual one."""
        return replace(self, t1=1 / (1 / self.t1 + dose * GADOLINIUM_R1 * UPTAKE), flow=max(self.flow, 0.8))
