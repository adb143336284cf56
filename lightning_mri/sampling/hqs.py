"""Half-quadratic splitting: the default sampler, a fast and deterministic point estimate."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lightning_mri.sampling.adaptation import MapRefinement, NoiseReestimation, cg_sense, data_consistency
from lightning_mri.sampling.early_stop import EarlyStop
from lightning_mri.sampling.estimate_type import EstimateType
from lightning_mri.sampling.sampler import Progress, Sampler, Target
from lightning_mri.sampling.schedules import Karras, Schedule
from lightning_mri.sampling.symmetry import RandomSymmetry


@dataclass(frozen=True)
class HQS(Sampler):
    """Alternate between denoising and the data, down a short schedule.

    Each step is D = denoise(x, sigma), then x = argmin abs(y - A x)^2 / (2 s_e^2) + abs(x - D)^2 / (2 r^2)
    with r^2 = c sigma^2 sd^2 / (sigma^2 + sd^2).

    This is DiffPIR (Zhu et al. 2023) without its noise. A point estimate, not a draw: seeds decide the
    symmetries alone. The likelihood counts c times: often at first, so that few steps lead to the data; less at
    last, so that the image does not follow their noise. For a Gaussian prior N(m, C) the steps at one sigma
    converge to the x with c w A^H (y - A x) / s_e^2 = (C + sigma^2)^-1 (x - m), w = sd^2 / (sigma^2 + sd^2):
    as sigma falls, the most probable image under a likelihood that counts c times. With c above 1 that is more
    faithful to the data than the posterior mean, for which c = 1 stands where C = sd^2.

    Args:
        n_steps: Noise levels; 20 is quick, 40 careful, and more have not been better.
        n_restarts: Walks under other symmetries, whose mean is the image.
        sigma_max: First level, in image units.
        sigma_min: Last level, in image units.
        schedule: How the levels are spaced.
        likelihood_weights: Number of times c that the likelihood counts, at the first level and at the last one, and
            in geometric progression between.
        n_iterations: Conjugate-gradient steps for each level.
        noise: Re-estimation of the noise level.
        refinement: Refinement of the coil maps; None keeps them.
        symmetry: Random orientation and phase under which the network works; None for none.
        early_stop: When an image is left as it is before the last level; None for never.

    Raises:
        ValueError: If a weight of the likelihood is not positive, or there is no walk.
    """

    n_steps: int = 30
    n_restarts: int = 1
    sigma_max: float = 0.3
    sigma_min: float = 0.005
    schedule: Schedule = Karras()  # noqa: RUF009
    likelihood_weights: tuple[float, float] = (8.0, 3.0)
    n_iterations: int = 10
    noise: NoiseReestimation = NoiseReestimation()  # noqa: RUF009
    refinement: MapRefinement | None = MapRefinement()  # noqa: RUF009
    symmetry: RandomSymmetry | None = RandomSymmetry()  # noqa: RUF009
    early_stop: EarlyStop | None = None

    def __post_init__(self) -> None:
        """Refuse weights and walks that are none."""
        if min(self.likelihood_weights) <= 0:
            raise ValueError(f"likelihood_weights must be positive: got {tuple(self.likelihood_weights)}")
        if self.n_restarts < 1:
            raise ValueError(f"n_restarts must be positive: got {self.n_restarts}")

    @property
    def nfe(self) -> int:
        """Network evaluations for each sample: one for each level of each walk, at most."""
        return self.n_steps * self.n_restarts

    @property
    def estimate_type(self) -> EstimateType:
        """A point estimate."""
        return EstimateType.POINT

    def _run(self, target: Target) -> Tensor:
        images = self._walk(target, 0)
        for walk in range(1, self.n_restarts):
            images = images + self._walk(target, walk)
        return images / self.n_restarts

    def _walk(self, target: Target, walk: int) -> Tensor:
        likelihood = target.likelihood
        if likelihood is None:
            raise ValueError("likelihood must be given: HQS draws nothing from the prior")
        denoise = target.denoise if self.symmetry is None else self.symmetry.denoiser(target)
        x = cg_sense(likelihood, target.n_samples)
        sigmas = self.schedule.sigmas(self.n_steps, self.sigma_max, self.sigma_min)[:-1].tolist()
        weights = np.geomspace(*self.likelihood_weights, self.n_steps)
        settling = None if self.early_stop is None else self.early_stop.begin()
        for step, (sigma, weight) in enumerate(zip(sigmas, weights, strict=True), 1):
            denoised = denoise(x, sigma)
            variance = float(weight) * target.posterior_variance(sigma)
            new = data_consistency(
                likelihood, denoised, variance, sigma, self.noise, self.refinement, self.n_iterations
            )
            x, likelihood = new if settling is None else settling.keep(x, new[0], likelihood, new[1])
            is_over = settling is not None and settling.is_over
            done = walk * self.n_steps + step
            target.report(Progress(done, done if is_over else self.nfe, sigma, x, likelihood))
            if is_over:
                break
        return x
