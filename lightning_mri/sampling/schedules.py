"""Noise schedules: the descending noise levels of a sampler, the last one 0."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.diffusion import VP


class Schedule(ABC):
    """How the levels between the largest and the smallest sigma are spaced."""

    def sigmas(self, n_steps: int, sigma_max: float, sigma_min: float) -> Float[Tensor, " n_steps_plus_1"]:
        """Return descending noise levels, then 0, in double precision.

        Args:
            n_steps: Number of levels above 0.
            sigma_max: First level, in image units.
            sigma_min: Last level above 0, in image units.

        Raises:
            ValueError: If there is no step, or the levels do not satisfy sigma_max >= sigma_min > 0.
        """
        if n_steps < 1:
            raise ValueError(f"n_steps must be at least 1: got {n_steps}")
        if not sigma_max >= sigma_min > 0:
            raise ValueError(f"sigmas must satisfy sigma_max >= sigma_min > 0: got {sigma_max} and {sigma_min}")
        levels = self._levels(n_steps, float(sigma_max), float(sigma_min))
        return torch.cat([levels, levels.new_zeros(1)])

    @abstractmethod
    def _levels(self, n: int, first: float, last: float) -> Tensor:
        """Return the levels above 0."""


@dataclass(frozen=True)
class Karras(Schedule):
    """Levels equally spaced in sigma^(1 / rho) (Karras et al. 2022, equation 5).

    Args:
        rho: Crowds the levels towards the smallest; 1 spaces them equally.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        if not self.rho > 0:
            raise ValueError(f"rho must be positive: got {self.rho}")

    def _levels(self, n: int, first: float, last: float) -> Tensor:
        return torch.linspace(first ** (1 / self.rho), last ** (1 / self.rho), n, dtype=torch.float64) ** self.rho


@dataclass(frozen=True)
class Geometric(Schedule):
    """Levels of constant ratio: the VE process on an even grid of times (Song et al. 2021, equation 31)."""

    def _levels(self, n: int, first: float, last: float) -> Tensor:
        return torch.linspace(math.log(first), math.log(last), n, dtype=torch.float64).exp()


@dataclass(frozen=True)
class LinearBeta(Schedule):
    """Levels of the VP process with linear beta(t) on an even grid of times (Song et al. 2021, equation 33).

    With the default rates sigma is 152.2 at t = 1 and 0.0105 at t = 0.001.

    Args:
        beta_min: Rate at t = 0.
        beta_max: Rate at t = 1.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def _levels(self, n: int, first: float, last: float) -> Tensor:
        process = VP(beta_min=self.beta_min, beta_max=self.beta_max)
        start, end = process.t(torch.tensor([first, last], dtype=torch.float64)).tolist()
        return process.sigma(torch.linspace(start, end, n, dtype=torch.float64))
