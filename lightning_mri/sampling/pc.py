"""Predictor-corrector sampling (Song et al. 2021, algorithms 1-5)."""

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from lightning_mri.described import check_fields
from lightning_mri.sampling.adaptation import MapRefinement
from lightning_mri.sampling.consistency import Consistency, Constraint, PosteriorScore
from lightning_mri.sampling.correctors import Langevin
from lightning_mri.sampling.predictors import Predictor, ReverseDiffusionVE
from lightning_mri.sampling.sampler import EstimateType, Progress, Sampler, Target
from lightning_mri.sampling.schedules import Schedule

SAME_LEVEL = 5e-3
"""Relative difference up to which the ends of two schedules are the same: what rounding to three digits leaves."""


@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """Go down the noise levels with a predictor, and take a few corrector steps at each.

    With `PosteriorScore` it draws from the posterior in the limit of many steps that end far below the noise level;
    with `Projection` or `Relaxed` it is biased; without a likelihood it draws from the prior.

    Args:
        n_steps: Noise levels.
        predictor: Step from one level to the next, and the coordinates of the image.
        corrector: Steps that stay at a level; ``Langevin(n_steps=0)`` for none.
        consistency: How the measurement enters.
        schedule: How the levels are spaced; that of the predictor's process if not given.
        sigma_max: First level, in image units; the prior's largest if not given.
        sigma_min: Last level above 0, in image units; the prior's smallest if not given. Draws from the posterior
            need a quarter of the noise level or less.
        refinement: Refinement of the coil maps after each predictor step; None keeps them, as posterior
            draws need it.

    Raises:
        ValueError: If there is no step, or a discrete predictor is given other levels than its own, here or by a prior
            in `sample`.
    """

    n_steps: int = 1000
    predictor: Predictor = ReverseDiffusionVE()  # noqa: RUF009
    corrector: Langevin = Langevin()  # noqa: RUF009
    consistency: Consistency = PosteriorScore()  # noqa: RUF009
    schedule: Schedule | None = None
    sigma_max: float | None = None
    sigma_min: float | None = None
    refinement: MapRefinement | None = None

    def __post_init__(self) -> None:
        check_fields(self, int, float)
        if self.n_steps < 1:
            raise ValueError(f"n_steps must be at least 1: got {self.n_steps}")
        predictor = self.predictor
        if predictor.n_steps is not None and (
            self.n_steps != predictor.n_steps or self.schedule not in (None, predictor.schedule)
        ):
            raise ValueError(
                f"n_steps and schedule must be {predictor.n_steps} and {predictor.schedule} for {predictor}: "
                f"got {self.n_steps} and {self.schedule}"
            )
        if predictor.ends is not None:
            given = (self.sigma_max, self.sigma_min)
            self._check_ends(*(own if one is None else one for own, one in zip(predictor.ends, given, strict=True)))

    def _check_ends(self, sigma_max: float, sigma_min: float) -> None:
        """Refuse the levels of another process."""
        ends = self.predictor.ends
        if ends is None:
            return
        pairs = zip(ends, (sigma_max, sigma_min), strict=True)
        if not all(math.isclose(own, given, rel_tol=SAME_LEVEL) for own, given in pairs):
            raise ValueError(
                f"sigma_max and sigma_min must be {ends} for {self.predictor}: got {sigma_max} and {sigma_min}"
            )

    @property
    def nfe(self) -> int:
        """Network evaluations for each sample: one for the predictor and one for each corrector step."""
        return self.n_steps * (1 + self.corrector.n_steps)

    @property
    def estimate_type(self) -> EstimateType:  # type: ignore[override]
        """That of the consistency; approximate where coil maps are refined on the way."""
        return self.consistency.estimate_type if self.refinement is None else EstimateType.APPROXIMATE

    def _run(self, target: Target) -> Tensor:
        alpha, noise, ndim = self.predictor.alpha, target.noise.normal, target.image_ndim
        likelihood = target.likelihood
        constraint = Constraint() if likelihood is None else self.consistency.constraint(likelihood)

        def score(x: Tensor, sigma: float) -> Tensor:
            mean = target.denoise(x / alpha(sigma), sigma)
            mean = constraint.denoised(mean, target.posterior_variance(sigma))
            return (alpha(sigma) * mean - x) / (alpha(sigma) * sigma) ** 2

        sigmas = self._sigmas(target)
        x = x_mean = alpha(sigmas[0]) * sigmas[0] * noise()
        for step, (sigma, sigma_next) in enumerate(pairwise(sigmas), 1):
            for _ in range(self.corrector.n_steps):
                # stay at sigma
                kept = 1 - self.predictor.beta(sigma, sigma_next)
                x = self.corrector.step(x, score(x, sigma), noise(), kept, ndim)
                x = constraint.state(x, alpha(sigma), target.posterior_variance(sigma))
            # move to sigma_next
            x, x_mean = self.predictor.step(x, score(x, sigma), noise(), sigma, sigma_next)
            x = constraint.state(x, alpha(sigma_next), target.posterior_variance(sigma_next))
            if likelihood is not None and self.refinement is not None:
                image = x_mean / alpha(sigma_next)
                refined = self.refinement.refine(likelihood, image, likelihood.noise_std, sigma)
                if refined is not likelihood:  # a constraint may cost a power iteration
                    likelihood, constraint = refined, self.consistency.constraint(refined)
            target.report(Progress(step, self.n_steps, sigma, x_mean, likelihood))
        return constraint.result(x_mean)  # the last step's mean, without the noise that it added

    def _sigmas(self, target: Target) -> list[float]:
        sigma_max = target.prior.sigma_max if self.sigma_max is None else self.sigma_max
        sigma_min = target.prior.sigma_min if self.sigma_min is None else self.sigma_min
        self._check_ends(sigma_max, sigma_min)
        return (self.schedule or self.predictor.schedule).sigmas(self.n_steps, sigma_max, sigma_min).tolist()
