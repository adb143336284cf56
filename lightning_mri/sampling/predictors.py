"""Predictors: one step of the reversed noise process, from sigma to the next smaller sigma."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Complex
from torch import Tensor


class Predictor(ABC):
    """A step down, and the coordinates in which it is written: x_t = alpha (x0 + sigma z)."""

    @abstractmethod
    def alpha(self, sigma: float) -> float:
        """Return the signal coefficient at ``sigma``."""

    @abstractmethod
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
            x: State at ``sigma``, in the predictor's coordinates.
            score: Gradient of the log density at ``x``, in the same coordinates.
            noise: Noise z, standard deviation 1 in each real channel.
            sigma: Noise level now, in image units.
            sigma_next: Noise level after the step; 0 ends the walk.

        Returns:
            The state with fresh noise, from which the walk goes on, and its mean, with which the walk ends.
        """


class VEPredictor(Predictor):
    """A predictor of the variance-exploding process, x_t = x0 + sigma z."""

    def alpha(self, sigma: float) -> float:
        """Return 1: the image is not attenuated."""
        return 1.0


class VPPredictor(Predictor):
    """A predictor of the variance-preserving process, x_t = alpha x0 + sqrt(1 - alpha^2) z.

    Its rate beta_i = 1 - alpha_i^2 / alpha_{i-1}^2 follows from the two noise levels, so that any schedule
    of them will do.
    """

    def alpha(self, sigma: float) -> float:
        """Return 1 / sqrt(1 + sigma^2), which keeps unit variance."""
        return 1 / math.sqrt(1 + sigma**2)

    @staticmethod
    def beta(sigma: float, sigma_next: float) -> float:
        """Return beta_i."""
        return (sigma**2 - sigma_next**2) / (1 + sigma**2)


@dataclass(frozen=True)
class ReverseDiffusionVE(VEPredictor):
    """x_next = x + (s_i^2 - s_{i-1}^2) score + sqrt(s_i^2 - s_{i-1}^2) z (Song et al. 2021, algorithm 2)."""

    def step(
        self,
        x: Complex[Tensor, "*batch y x"],
        score: Complex[Tensor, "*batch y x"],
        noise: Complex[Tensor, "*batch y x"],
        sigma: float,
        sigma_next: float,
    ) -> tuple[Complex[Tensor, "*batch y x"], Complex[Tensor, "*batch y x"]]:
        """Move from ``sigma`` to ``sigma_next``; returns the state and its mean."""
        variance = sigma**2 - sigma_next**2
        x_mean = x + variance * score
        return x_mean + math.sqrt(variance) * noise, x_mean


@dataclass(frozen=True)
class AncestralVE(VEPredictor):
    """x_next = x + (s_i^2 - s_{i-1}^2) score + sqrt(s_{i-1}^2 (s_i^2 - s_{i-1}^2) / s_i^2) z.

    The noise of the exact p(x_{i-1} | x_i, x0) (Song et al. 2021, appendix F). A step that ends at 0 adds
    none.
    """

    def step(
        self,
        x: Complex[Tensor, "*batch y x"],
        score: Complex[Tensor, "*batch y x"],
        noise: Complex[Tensor, "*batch y x"],
        sigma: float,
        sigma_next: float,
    ) -> tuple[Complex[Tensor, "*batch y x"], Complex[Tensor, "*batch y x"]]:
        """Move from ``sigma`` to ``sigma_next``; returns the state and its mean."""
        variance = sigma**2 - sigma_next**2
        x_mean = x + variance * score
        return x_mean + sigma_next / sigma * math.sqrt(variance) * noise, x_mean


@dataclass(frozen=True)
class EulerMaruyamaVE(VEPredictor):
    """x_next = x + g^2 dt score + g sqrt(dt) z with g^2 dt = 2 s_i^2 ln(s_i / s_{i-1}).

    This is the Euler-Maruyama step of the reverse equation dx = -g^2 score dt + g dw of the VE process,
    whose sigma falls geometrically in time (Song et al. 2021, equations 6 and 30). Geometric time never
    reaches 0; the step to it takes the variance s_i^2 that is left.
    """

    def step(
        self,
        x: Complex[Tensor, "*batch y x"],
        score: Complex[Tensor, "*batch y x"],
        noise: Complex[Tensor, "*batch y x"],
        sigma: float,
        sigma_next: float,
    ) -> tuple[Complex[Tensor, "*batch y x"], Complex[Tensor, "*batch y x"]]:
        """Move from ``sigma`` to ``sigma_next``; returns the state and its mean."""
        variance = sigma**2 * (2 * math.log(sigma / sigma_next) if sigma_next > 0 else 1)
        x_mean = x + variance * score
        return x_mean + math.sqrt(variance) * noise, x_mean


@dataclass(frozen=True)
class ReverseDiffusionVP(VPPredictor):
    """x_next = (2 - sqrt(1 - beta_i)) x + beta_i score + sqrt(beta_i) z (Song et al. 2021, algorithm 3)."""

    def step(
        self,
        x: Complex[Tensor, "*batch y x"],
        score: Complex[Tensor, "*batch y x"],
        noise: Complex[Tensor, "*batch y x"],
        sigma: float,
        sigma_next: float,
    ) -> tuple[Complex[Tensor, "*batch y x"], Complex[Tensor, "*batch y x"]]:
        """Move from ``sigma`` to ``sigma_next``; returns the state and its mean."""
        beta = self.beta(sigma, sigma_next)
        x_mean = (2 - math.sqrt(1 - beta)) * x + beta * score
        return x_mean + math.sqrt(beta) * noise, x_mean


@dataclass(frozen=True)
class AncestralVP(VPPredictor):
    """x_next = (x + beta_i score) / sqrt(1 - beta_i) + sqrt(beta_i) z (Song et al. 2021, equation 4)."""

    def step(
        self,
        x: Complex[Tensor, "*batch y x"],
        score: Complex[Tensor, "*batch y x"],
        noise: Complex[Tensor, "*batch y x"],
        sigma: float,
        sigma_next: float,
    ) -> tuple[Complex[Tensor, "*batch y x"], Complex[Tensor, "*batch y x"]]:
        """Move from ``sigma`` to ``sigma_next``; returns the state and its mean."""
        beta = self.beta(sigma, sigma_next)
        x_mean = (x + beta * score) / math.sqrt(1 - beta)
        return x_mean + math.sqrt(beta) * noise, x_mean


@dataclass(frozen=True)
class EulerMaruyamaVP(VPPredictor):
    """x_next = (1 + b / 2) x + b score + sqrt(b) z with b = -ln(1 - beta_i), the integral of beta(t) dt.

    This is the Euler-Maruyama step of the reverse equation dx = -(x / 2 + score) beta dt + sqrt(beta) dw of
    the VP process (Song et al. 2021, equations 6 and 32).
    """

    def step(
        self,
        x: Complex[Tensor, "*batch y x"],
        score: Complex[Tensor, "*batch y x"],
        noise: Complex[Tensor, "*batch y x"],
        sigma: float,
        sigma_next: float,
    ) -> tuple[Complex[Tensor, "*batch y x"], Complex[Tensor, "*batch y x"]]:
        """Move from ``sigma`` to ``sigma_next``; returns the state and its mean."""
        b = -math.log1p(-self.beta(sigma, sigma_next))
        x_mean = (1 + b / 2) * x + b * score
        return x_mean + math.sqrt(b) * noise, x_mean
