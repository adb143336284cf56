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


@dataclass(frozen=True)
class ReverseDiffusionVE(Predictor):
    """x_next = x + (s_i^2 - s_{i-1}^2) score + sqrt(s_i^2 - s_{i-1}^2) z (Song et al. 2021, algorithm 2)."""

    def alpha(self, sigma: float) -> float:
        """Return 1: the image is not attenuated."""
        return 1.0

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
class ReverseDiffusionVP(Predictor):
    """x_next = (2 - sqrt(1 - beta_i)) x + beta_i score + sqrt(beta_i) z (Song et al. 2021, algorithm 3).

    beta_i = 1 - alpha_i^2 / alpha_{i-1}^2 follows from the two noise levels, so that any schedule of them
    will do.
    """

    def alpha(self, sigma: float) -> float:
        """Return 1 / sqrt(1 + sigma^2), which keeps unit variance: x_t = alpha x0 + sqrt(1 - alpha^2) z."""
        return 1 / math.sqrt(1 + sigma**2)

    def step(
        self,
        x: Complex[Tensor, "*batch y x"],
        score: Complex[Tensor, "*batch y x"],
        noise: Complex[Tensor, "*batch y x"],
        sigma: float,
        sigma_next: float,
    ) -> tuple[Complex[Tensor, "*batch y x"], Complex[Tensor, "*batch y x"]]:
        """Move from ``sigma`` to ``sigma_next``; returns the state and its mean."""
        beta = (sigma**2 - sigma_next**2) / (1 + sigma**2)
        x_mean = (2 - math.sqrt(1 - beta)) * x + beta * score
        return x_mean + math.sqrt(beta) * noise, x_mean
