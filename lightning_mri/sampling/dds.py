"""Decomposed diffusion sampling (Chung et al. 2024): denoise, step towards the data, add noise again."""

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from lightning_mri.physics import cg_sense
from lightning_mri.sampling.adaptation import MapRefinement, NoiseReestimation, data_consistency
from lightning_mri.sampling.sampler import Annealed, EstimateType, Progress, Target
from lightning_mri.sampling.schedules import Karras, Schedule
from lightning_mri.sampling.symmetry import RandomSymmetry, denoiser


@dataclass(frozen=True)
class DDS(Annealed):
    """At each level of a short schedule, x_next = x0 + sigma_next (sqrt(1 - eta^2) (x - D) / sigma + eta z).

    x0 = argmin abs(y - A u)^2 / (2 s_e^2) + abs(u - D)^2 / (2 r^2), r^2 = sigma^2 sd^2 / (sigma^2 + sd^2),
    stands for E[x0 | x, y]: exact for an isotropic Gaussian prior, an approximation for every other. With
    all noise fresh, eta = 1, the mean of the draws is then the posterior's, and their spread is too small:
    along a direction of posterior variance v the variance V of x follows V_next = g^2 V + sigma_next^2 and
    ends as g^2 V in the result, g = v / (v + sigma^2). Take the spread as a hint of where the data leave
    the image open, not as an error bar. With eta = 0 nothing replaces the first noise, which on measured
    scans has stayed in the image.

    Args:
        n_steps: Noise levels.
        sigma_max: First level, in image units.
        sigma_min: Last level, in image units.
        schedule: How the levels are spaced.
        eta: Share of fresh noise, 0 ... 1.
        n_iterations: Conjugate-gradient steps for each level.
        noise: Re-estimation of the noise level.
        refinement: Refinement of the coil maps; None keeps them.
        symmetry: Random orientation and phase under which the network works; None for none.

    Raises:
        ValueError: If there is no level, or ``eta`` is not in [0, 1].
    """

    n_steps: int = 30
    sigma_max: float = 1.0
    sigma_min: float = 0.01
    schedule: Schedule = Karras()  # noqa: RUF009
    eta: float = 1.0
    n_iterations: int = 5
    noise: NoiseReestimation = NoiseReestimation()  # noqa: RUF009
    refinement: MapRefinement | None = None
    symmetry: RandomSymmetry | None = RandomSymmetry()  # noqa: RUF009

    estimate_type = EstimateType.APPROXIMATE  # they spread too little

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be in [0, 1]: got {self.eta}")

    def _run(self, target: Target) -> Tensor:
        likelihood = target.measurement()
        denoise = denoiser(target, self.symmetry)
        sigmas = self.sigmas()
        x0 = cg_sense(likelihood).expand(target.n_samples, *likelihood.image_shape)
        x = x0 + sigmas[0] * target.noise.normal()
        for step, (sigma, sigma_next) in enumerate(pairwise(sigmas), 1):
            denoised = denoise(x, sigma)
            variance = target.posterior_variance(sigma)
            x0, likelihood = data_consistency(
                likelihood, denoised, variance, sigma, self.noise, self.refinement, self.n_iterations
            )
            target.report(Progress(step, self.n_steps, sigma, x0, likelihood))
            kept = math.sqrt(1 - self.eta**2) / sigma * (x - denoised)
            x = x0 + sigma_next * (kept + self.eta * target.noise.normal())
        return x0
