"""Data consistency of the predictor-corrector sampler: likelihood score, projection or relaxation."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from lightning_mri.described import check_fields
from lightning_mri.physics import GaussianLikelihood, conjugate_gradient, largest_eigenvalue
from lightning_mri.sampling.adaptation import KNOWN_NOISE, NoiseReestimation
from lightning_mri.sampling.conditional import N_ITERATIONS, conditional
from lightning_mri.sampling.sampler import EstimateType

TIKHONOV = 1e-4  # eigenvalues of A^H A below it are rounding errors of single precision, not data


def _keep(image: Tensor, *_: float) -> Tensor:
    return image


@dataclass(frozen=True)
class Constraint:
    """A consistency rule bound to one scan; without arguments it constrains nothing.

    Args:
        denoised: (D, variance of x0 about D) -> estimate of x0 that also knows the measurement.
        state: (x, alpha, variance of x0 about D) -> the noisy state x_t = alpha (x0 + sigma z), pulled towards the
            measurement.
        result: The mean of the last step, pulled towards the measurement.
    """

    denoised: Callable[[Tensor, float], Tensor] = _keep
    state: Callable[[Tensor, float, float], Tensor] = _keep
    result: Callable[[Tensor], Tensor] = _keep


class Consistency(ABC):
    """A rule by which the measurement enters.

    Attributes:
        estimate_type: What the sampler's results are.
    """

    estimate_type = EstimateType.APPROXIMATE

    @abstractmethod
    def constraint(self, likelihood: GaussianLikelihood) -> Constraint:
        """Return the rule bound to one scan."""


@dataclass(frozen=True)
class PosteriorScore(Consistency):
    """Add the likelihood's score at each noise level: draws from the posterior in the limit of many and low levels.

    Given the noisy x, the image is taken as Gaussian about the denoised D with variance r^2, in which case
    E[x0 | x, y] = argmin |y - A u|^2 / (2 noise_std^2) + |u - D|^2 / (2 r^2), r^2 = sigma^2 sd^2 / (sigma^2
    + sd^2), and Tweedie's formula turns that into the score of the posterior. This is exact at every level
    for an isotropic Gaussian prior. For any other prior it becomes exact as sigma falls - there r^2 =
    sigma^2 and the score is that of the prior plus A^H (y - A x) / noise_std^2 - and draws stay too wide
    until the corrector has undone what the higher levels did. More levels alone do not help: the bias is
    inverse to the Langevin time, levels x corrector steps x snr^2. For correlated Gaussian images of
    20 pixels times of 15, 60, 240 and 960 left standard deviations 5, 1.7, 0.5 and 0.1 % too wide with steps of
    2 (snr sigma)^2. Those of the shipped `Langevin` are larger at the last levels, and what is left depends on snr and
    not on the time: of 990 correlated pixels, the measured part of k-space stays 23, 6 and 2 % too wide at snr 0.5,
    0.25 and 0.16, the rest 3, 1 and 0.4 %. And levels must end below a quarter of the noise level: the result is the
    mean given the last, whose spread, where data decide, is noise_std / sqrt(noise_std^2 + sigma_min^2) of the
    posterior's, however many there are.

    Args:
        n_iterations: Largest number of conjugate-gradient steps of the inner problem, where it has no exact solution.
        noise: Re-estimation of the noise level; any is a departure from the posterior.
    """

    n_iterations: int = N_ITERATIONS
    noise: NoiseReestimation = KNOWN_NOISE

    @property
    def estimate_type(self) -> EstimateType:  # type: ignore[override]
        """Draws from the posterior, if the given noise level is kept."""
        return EstimateType.POSTERIOR if self.noise == KNOWN_NOISE else EstimateType.APPROXIMATE

    def constraint(self, likelihood: GaussianLikelihood) -> Constraint:
        """Return a constraint that acts on the denoised image."""

        def denoised(prior_mean: Tensor, variance: float) -> Tensor:
            noise_std = self.noise.noise_std(likelihood, prior_mean)
            return conditional(likelihood, prior_mean, variance, noise_std, self.n_iterations)

        return Constraint(denoised=denoised)


@dataclass(frozen=True)
class Projection(Consistency):
    """Replace the measured part after each half-step: the point nearest to x with A x = alpha y.

    A point estimate's rule, not the posterior: it takes y for noiseless, and the state keeps no noise in the
    measured directions. Wrong coil maps are amplified.

    Args:
        n_iterations: Conjugate-gradient steps; more follow the measurement further into directions that the
            coils see weakly.
    """

    n_iterations: int = 5

    def constraint(self, likelihood: GaussianLikelihood) -> Constraint:
        """Return a constraint that acts on the noisy state."""
        A, measured, ndim = likelihood.A, likelihood.adjoint(), likelihood.A.image_ndim

        def damped(v: Tensor) -> Tensor:
            return A.normal(v) + TIKHONOV * v

        def state(x: Tensor, alpha: float, _: float) -> Tensor:
            # from zero, conjugate gradients stay in the range of A^H: the shortest correction is found
            excess = alpha * measured - A.normal(x)
            return x + conjugate_gradient(damped, excess, n_iterations=self.n_iterations, ndim=ndim)

        return Constraint(state=state, result=lambda x: state(x, 1.0, 0.0))


@dataclass(frozen=True)
class Relaxed(Consistency):
    """Pull an image a part of the way to the measurement: x + w A^H (alpha y - A x) / max(1, L).

    L is the largest eigenvalue of A^H A, above which the step would not be stable. For one coil this mixes measured
    and generated k-space, (1 - w) k + w alpha y. Biased, not the posterior.

    Args:
        weight: Relaxation w, 0 ... 1.
        of: What is pulled: the noisy state after each half-step, or the denoised estimate (alpha = 1) at each
            evaluation of the network.
        fades: Whether w is multiplied by r^2 / (r^2 + noise_std^2), r^2 = sigma^2 sd^2 / (sigma^2 + sd^2), the share
            of the measurement in the mean of two Gaussians: the prior has the last word. A pull of the estimate with
            weight 1 is then `PosteriorScore` where A is unitary.
        last: Relaxation of the result, the mean of the last step. If not given: ``weight`` where the state is pulled,
            and 0 where the weight fades or the last estimate has been pulled already.

    Raises:
        ValueError: If a weight is not in [0, 1], or another argument is none of its choices.
    """

    weight: float = 0.3
    of: Literal["state", "estimate"] = "state"
    fades: bool = False
    last: float | None = None

    def __post_init__(self) -> None:
        for name in ("weight", "last"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1]: got {value}")
        if self.of not in ("state", "estimate"):
            raise ValueError(f"of must be state or estimate: got {self.of!r}")
        check_fields(self, bool)

    def constraint(self, likelihood: GaussianLikelihood) -> Constraint:
        """Return a constraint that acts on what is pulled."""
        A, measured = likelihood.A, likelihood.adjoint()
        largest = largest_eigenvalue(A.normal, likelihood.image_shape, A.image_ndim, device=likelihood.y.device)
        noise = likelihood.noise_std[(..., *[None] * A.image_ndim)].square()

        def pull(x: Tensor, alpha: float, weight: float | Tensor) -> Tensor:
            return x + weight / largest.clamp(min=1) * (alpha * measured - A.normal(x))

        def state(x: Tensor, alpha: float, variance: float) -> Tensor:
            return pull(x, alpha, self.weight * variance / (variance + noise) if self.fades else self.weight)

        last = self.last if self.last is not None else 0.0 if self.fades or self.of == "estimate" else self.weight
        result = partial(pull, alpha=1.0, weight=last) if last else _keep
        if self.of == "state":
            return Constraint(state=state, result=result)
        return Constraint(denoised=lambda x, variance: state(x, 1.0, variance), result=result)
