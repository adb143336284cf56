"""Annealed Langevin dynamics with a preconditioner (Blumenthal, Holliber, Tamir and Uecker, arXiv 2512.05791)."""

import math
from dataclasses import dataclass

from torch import Tensor

from lightning_mri.described import check_fields
from lightning_mri.sampling.adaptation import KNOWN_NOISE, MapRefinement, NoiseReestimation
from lightning_mri.sampling.conditional import N_ITERATIONS, Perturbation, conditional
from lightning_mri.sampling.sampler import Annealed, EstimateType, Progress, Target
from lightning_mri.sampling.schedules import Geometric, Schedule


@dataclass(frozen=True)
class PULA(Annealed):
    """Sample (prior diffused to sigma) x (exact likelihood) by preconditioned Langevin steps, as sigma falls.

    x_next = x + g P (A^H (y - A x) / noise_std^2 + (D - x) / sigma^2) + sqrt(2 g) w, with g = ``step``, P =
    (A^H A / noise_std^2 + 1 / sigma^2)^-1 and w ~ N(0, P). Since P times the score is argmin abs(y - A u)^2
    / (2 noise_std^2) + abs(u - D)^2 / (2 sigma^2) - x, step and noise are one inner problem, `conditional`.
    It starts from the exact draw for an image of which nothing is known.

    The posterior is reached as levels and steps grow and ``sigma_min`` falls. What is left of higher levels
    where the data say nothing makes draws too wide, in inverse proportion to levels x Langevin steps x g: on
    correlated Gaussian images of 20 pixels by 3 % at 40 levels of 4 steps of 1, by 0.8 % at 160. A level's
    chain of independent noise is itself too wide, by 1 / (1 - g / 2) in variance where the data decide, which
    later levels mend only as far as sigma falls below the noise level. With ``averaged`` noise, w = (w_k +
    w_{k+1}) / 2 for consecutive draws (Leimkuhler and Matthews 2013), it is exact for every Gaussian target,
    at no cost. Longer steps, which that would allow, have made the draws of trained networks worse.

    Args:
        n_steps: Noise levels.
        n_langevin: Langevin steps at each level.
        step: Length g of a step, below 2.
        averaged: Average the noise of consecutive steps; False as published.
        sigma_max: First level, in image units.
        sigma_min: Last level, in image units.
        schedule: How the levels are spaced.
        n_iterations: Largest number of conjugate-gradient steps for each Langevin step, where there is no exact
            solution; with too few of them draws are too wide in weakly measured directions.
        noise: Re-estimation of the noise level; any is a departure from the posterior.
        refinement: Refinement of the coil maps once a level; None keeps them, as posterior draws need it.

    Raises:
        ValueError: If there is no level, ``step`` is not between 0 and 2, or ``n_langevin`` is not positive.
    """

    n_steps: int = 40
    n_langevin: int = 4
    step: float = 0.5
    averaged: bool = True
    sigma_max: float = 1.0
    sigma_min: float = 0.01
    schedule: Schedule = Geometric()  # noqa: RUF009
    n_iterations: int = N_ITERATIONS
    noise: NoiseReestimation = KNOWN_NOISE
    refinement: MapRefinement | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.step < 2:
            raise ValueError(f"step must be between 0 and 2: got {self.step}")
        if self.n_langevin < 1:
            raise ValueError(f"n_langevin must be at least 1: got {self.n_langevin}")
        check_fields(self, bool)

    @property
    def nfe(self) -> int:
        """Network evaluations for each sample: one a Langevin step, and one to denoise the last state."""
        return self.n_steps * self.n_langevin + 1

    @property
    def estimate_type(self) -> EstimateType:  # type: ignore[override]
        """Draws from the posterior, if noise level and coil maps are taken as given."""
        is_exact = self.noise == KNOWN_NOISE and self.refinement is None
        return EstimateType.POSTERIOR if is_exact else EstimateType.APPROXIMATE

    def _run(self, target: Target) -> Tensor:
        likelihood = target.measurement()
        sigmas = self.sigmas()[:-1]
        perturbation = Perturbation.draw(likelihood, target.noise)
        nothing = likelihood.adjoint().new_zeros(perturbation.image.shape)
        noise_std = KNOWN_NOISE.noise_std(likelihood, nothing)
        x = conditional(likelihood, nothing, sigmas[0] ** 2, noise_std, self.n_iterations, perturbation)
        perturbation = Perturbation.draw(likelihood, target.noise)
        for level, sigma in enumerate(sigmas, 1):
            for _ in range(self.n_langevin):
                denoised = target.denoise(x, sigma)
                noise_std = self.noise.noise_std(likelihood, denoised)
                # m + sqrt(2 / g) w, where m - x is P times the score
                last, perturbation = perturbation, Perturbation.draw(likelihood, target.noise)
                w = (last + perturbation) * 0.5 if self.averaged else perturbation
                w = w * math.sqrt(2 / self.step)
                drawn = conditional(likelihood, denoised, sigma**2, noise_std, self.n_iterations, w)
                x = x + self.step * (drawn - x)
            if self.refinement is not None:
                likelihood = self.refinement.refine(likelihood, denoised, noise_std, sigma)
            if level == self.n_steps:
                x = target.denoise(x, sigma)  # what is left of the prior's diffusion
            target.report(Progress(level, self.n_steps, sigma, x, likelihood))
        return x
