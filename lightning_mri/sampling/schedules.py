"""Noise schedules: the descending sigmas that a sampler walks down, the last one 0."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def karras_sigmas(
    n_steps: int, sigma_max: float, sigma_min: float, rho: float = 7.0
) -> Float[Tensor, "n_steps_plus_1"]:
    """Return noise levels that are equally spaced in sigma^(1 / rho), then 0.

    sigma_i = (sigma_max^(1/rho) + i/(n-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho, i = 0 ... n - 1
    (Karras et al. 2022, equation 5).

    Args:
        n_steps: Number of levels above 0.
        sigma_max: First level, in image units.
        sigma_min: Last level above 0, in image units.
        rho: Crowds the levels towards ``sigma_min``; 1 spaces them equally.

    Raises:
        ValueError: If there is no step, or the levels do not satisfy sigma_max >= sigma_min > 0.
    """
    first, last = _checked(n_steps, sigma_max, sigma_min)
    root = torch.linspace(first ** (1 / rho), last ** (1 / rho), n_steps, dtype=torch.float64)
    return _ending_in_zero(root**rho)


def geometric_sigmas(n_steps: int, sigma_max: float, sigma_min: float) -> Float[Tensor, "n_steps_plus_1"]:
    """Return noise levels of constant ratio, then 0: the VE process on an even grid of times.

    sigma(t) = sigma_min (sigma_max / sigma_min)^t (Song et al. 2021, equation 31). Arguments and errors
    are those of `karras_sigmas`.
    """
    first, last = _checked(n_steps, sigma_max, sigma_min)
    return _ending_in_zero(torch.linspace(math.log(first), math.log(last), n_steps, dtype=torch.float64).exp())


def vp_sigmas(
    n_steps: int, sigma_max: float, sigma_min: float, beta_min: float = 0.1, beta_max: float = 20.0
) -> Float[Tensor, "n_steps_plus_1"]:
    """Return the noise levels of the VP process with linear beta(t) on an even grid of times, then 0.

    sigma(t) = sqrt(exp(t^2 (beta_max - beta_min) / 2 + t beta_min) - 1), the ratio sqrt(1 - alpha^2) /
    alpha of Song et al. 2021, equation 33. The grid of times runs from t(sigma_max) to t(sigma_min).

    Args:
        n_steps: Number of levels above 0.
        sigma_max: First level, in image units; 152.2 is t = 1 with the default rates.
        sigma_min: Last level above 0, in image units; 0.0105 is t = 0.001.
        beta_min: Rate at t = 0.
        beta_max: Rate at t = 1.

    Raises:
        ValueError: If there is no step, or the levels do not satisfy sigma_max >= sigma_min > 0.
    """
    first, last = (_vp_time(sigma, beta_min, beta_max) for sigma in _checked(n_steps, sigma_max, sigma_min))
    t = torch.linspace(first, last, n_steps, dtype=torch.float64)
    return _ending_in_zero(torch.expm1(t**2 * (beta_max - beta_min) / 2 + t * beta_min).sqrt())


def _vp_time(sigma: float, beta_min: float, beta_max: float) -> float:
    """Return t, the positive root of t^2 (beta_max - beta_min) / 2 + t beta_min = log(1 + sigma^2)."""
    depth = math.log1p(sigma**2)
    return 2 * depth / (beta_min + math.sqrt(beta_min**2 + 2 * (beta_max - beta_min) * depth))


def _checked(n_steps: int, sigma_max: float, sigma_min: float) -> tuple[float, float]:
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1: got {n_steps}")
    if not sigma_max >= sigma_min > 0:
        raise ValueError(f"sigmas must satisfy sigma_max >= sigma_min > 0: got {sigma_max} and {sigma_min}")
    return float(sigma_max), float(sigma_min)


def _ending_in_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


class Schedule(ABC):
    """How the levels between the largest and the smallest sigma are spaced."""

    @abstractmethod
    def sigmas(self, n_steps: int, sigma_max: float, sigma_min: float) -> Float[Tensor, "n_steps_plus_1"]:
        """Return ``n_steps`` descending levels from ``sigma_max`` to ``sigma_min``, then 0."""


@dataclass(frozen=True)
class Karras(Schedule):
    """`karras_sigmas`.

    Args:
        rho: Crowds the levels towards the smallest; 1 spaces them equally.
    """

    rho: float = 7.0

    def sigmas(self, n_steps: int, sigma_max: float, sigma_min: float) -> Float[Tensor, "n_steps_plus_1"]:
        """Return levels equally spaced in sigma^(1 / rho), then 0."""
        return karras_sigmas(n_steps, sigma_max, sigma_min, self.rho)


@dataclass(frozen=True)
class Geometric(Schedule):
    """`geometric_sigmas`: the VE process on an even grid of times."""

    def sigmas(self, n_steps: int, sigma_max: float, sigma_min: float) -> Float[Tensor, "n_steps_plus_1"]:
        """Return levels of constant ratio, then 0."""
        return geometric_sigmas(n_steps, sigma_max, sigma_min)


@dataclass(frozen=True)
class LinearBeta(Schedule):
    """`vp_sigmas`: the VP process on an even grid of times.

    Args:
        beta_min: Rate at t = 0.
        beta_max: Rate at t = 1.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def sigmas(self, n_steps: int, sigma_max: float, sigma_min: float) -> Float[Tensor, "n_steps_plus_1"]:
        """Return the levels of the VP process, then 0."""
        return vp_sigmas(n_steps, sigma_max, sigma_min, self.beta_min, self.beta_max)
