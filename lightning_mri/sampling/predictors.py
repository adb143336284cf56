"""Predictors: one step of the reversed noise process, from sigma to the next smaller sigma."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.diffusion import VP
from lightning_mri.sampling.schedules import Geometric, LinearBeta, Schedule


class Predictor(ABC):
    """A step x_next = a x + b score + c z from sigma_i to sigma_{i-1}, in the coordinates x = alpha (x0 + sigma z).

    Attributes:
        schedule: Noise levels of its process on an even grid of times.
        n_steps: Number of levels that it is made for; None for any number and schedule.
        ends: Largest and smallest level that it is made for; None for any.
    """

    schedule: Schedule
    n_steps: int | None = None
    ends: tuple[float, float] | None = None

    @abstractmethod
    def alpha(self, sigma: float) -> float:
        """Return the signal coefficient at ``sigma``."""

    @abstractmethod
    def beta(self, sigma: float, sigma_next: float) -> float:
        """Return beta_i: the signal's energy falls by 1 - beta_i in the step that is reversed; 0 for VE."""

    @abstractmethod
    def _factors(self, sigma: float, sigma_next: float) -> tuple[float, float, float]:
        """Return a, b and c."""

    def step(
        self,
        x: Complex[Tensor, "*batch y x"],
        score: Complex[Tensor, "*batch y x"],
        noise: Complex[Tensor, "*batch y x"],
        sigma: float,
        sigma_next: float,
    ) -> tuple[Complex[Tensor, "*batch y x"], Complex[Tensor, "*batch y x"]]:
        """Move from ``sigma`` to ``sigma_next``.

        Args:
            x: State at ``sigma``.
            score: Gradient of the log density at ``x``.
            noise: Noise z, standard deviation 1 in each real channel.
            sigma: Noise level now, in image units.
            sigma_next: Noise level after the step; 0 for the last one.

        Returns:
            The state with fresh noise, for the next step, and its mean, which is the result after the last step.
        """
        a, b, c = self._factors(sigma, sigma_next)
        x_mean = a * x + b * score
        return x_mean + c * noise, x_mean


class VEPredictor(Predictor):
    """A predictor of the variance-exploding process, x = x0 + sigma z."""

    schedule = Geometric()

    def alpha(self, sigma: float) -> float:
        """Return 1: the image is not attenuated."""
        return 1.0

    def beta(self, sigma: float, sigma_next: float) -> float:
        """Return 0."""
        return 0.0


class VPPredictor(Predictor):
    """A predictor of the variance-preserving process, x = alpha x0 + sqrt(1 - alpha^2) z."""

    schedule = LinearBeta()

    def alpha(self, sigma: float) -> float:
        """Return 1 / sqrt(1 + sigma^2), which keeps unit variance."""
        return 1 / math.sqrt(1 + sigma**2)

    def beta(self, sigma: float, sigma_next: float) -> float:
        """Return 1 - alpha_i^2 / alpha_{i-1}^2, exact for the levels of any schedule."""
        return (sigma**2 - sigma_next**2) / (1 + sigma**2)


@dataclass(frozen=True)
class ReverseDiffusionVE(VEPredictor):
    """x_next = x + (s_i^2 - s_{i-1}^2) score + sqrt(s_i^2 - s_{i-1}^2) z (Song et al. 2021, algorithm 2)."""

    def _factors(self, sigma: float, sigma_next: float) -> tuple[float, float, float]:
        variance = sigma**2 - sigma_next**2
        return 1.0, variance, math.sqrt(variance)


@dataclass(frozen=True)
class AncestralVE(VEPredictor):
    """x_next = x + (s_i^2 - s_{i-1}^2) score + sqrt(s_{i-1}^2 (s_i^2 - s_{i-1}^2) / s_i^2) z.

    The noise of the exact p(x_{i-1} | x_i, x0) (Song et al. 2021, appendix F). A step that ends at 0 adds none.
    """

    def _factors(self, sigma: float, sigma_next: float) -> tuple[float, float, float]:
        variance = sigma**2 - sigma_next**2
        return 1.0, variance, sigma_next / sigma * math.sqrt(variance)


@dataclass(frozen=True)
class ReverseDiffusionVP(VPPredictor):
    """x_next = (2 - sqrt(1 - beta_i)) x + beta_i score + sqrt(beta_i) z (Song et al. 2021, algorithm 3)."""

    def _factors(self, sigma: float, sigma_next: float) -> tuple[float, float, float]:
        beta = self.beta(sigma, sigma_next)
        return 2 - math.sqrt(1 - beta), beta, math.sqrt(beta)


@dataclass(frozen=True)
class DiscreteReverseDiffusionVP(ReverseDiffusionVP):
    """`ReverseDiffusionVP` with the rates of the code of Song et al. 2021, at whose levels alone it makes sense.

    beta_i = (beta_min + (beta_max - beta_min) i / (N - 1)) / N with i = floor(t (N - 1)), where the exact rate follows
    from the noise levels: 1 % less at t = 1, and 3.5 % more at t = 0.01.

    Args:
        beta_min: Rate at t = 0.
        beta_max: Rate at t = 1.
        n_times: Number N of noise levels.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    n_times: int = 1000

    @property
    def schedule(self) -> LinearBeta:  # type: ignore[override]
        """The levels of the same rates."""
        return LinearBeta(self.beta_min, self.beta_max)

    @property
    def n_steps(self) -> int:  # type: ignore[override]
        """The number of its levels."""
        return self.n_times

    @property
    def ends(self) -> tuple[float, float]:  # type: ignore[override]
        """The levels at t = 1 and t = 0.001."""
        process = VP(beta_min=self.beta_min, beta_max=self.beta_max)
        return process.sigma_max, process.sigma_min

    def beta(self, sigma: float, sigma_next: float) -> float:
        """Return the discrete rate at ``sigma``."""
        process = VP(beta_min=self.beta_min, beta_max=self.beta_max)
        t = float(process.t(torch.tensor(sigma, dtype=torch.float64)))
        share = math.floor(t * (self.n_times - 1) + 1e-6) / (self.n_times - 1)  # t is known to rounding
        return (self.beta_min + share * (self.beta_max - self.beta_min)) / self.n_times


@dataclass(frozen=True)
class AncestralVP(VPPredictor):
    """x_next = (x + beta_i score) / sqrt(1 - beta_i) + sqrt(beta_i) z (Song et al. 2021, equation 4)."""

    def _factors(self, sigma: float, sigma_next: float) -> tuple[float, float, float]:
        beta = self.beta(sigma, sigma_next)
        return 1 / math.sqrt(1 - beta), beta / math.sqrt(1 - beta), math.sqrt(beta)
