"""The process of Karras et al. 2022, "Elucidating the design space of diffusion-based generative models"."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.diffusion.process import NoiseProcess, Preconditioning


@dataclass(frozen=True)
class EDM(NoiseProcess):
    """Noise that is only added, with input, output and error of unit variance at every level.

    Args:
        sigma_data: Standard deviation of the images, per real channel.
        sigma_min: Lowest noise level at which to sample.
        sigma_max: Highest noise level at which to sample.
        p_mean: Mean of ln sigma in training.
        p_std: Standard deviation of ln sigma in training.
        rho: Exponent of the time axis; evenly spaced times give the paper's sampling steps (equation 5).
    """

    sigma_data: float = 0.5
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    p_mean: float = -1.2
    p_std: float = 1.2
    rho: float = 7.0

    def __post_init__(self) -> None:
        positive = all(value > 0 for value in (self.sigma_data, self.p_std, self.rho))
        if not (positive and 0 < self.sigma_min < self.sigma_max and math.isfinite(self.p_mean)):
            raise ValueError(
                "EDM needs 0 < sigma_min < sigma_max, positive sigma_data, p_std and rho, and finite p_mean: "
                f"got {self}"
            )

    def sigma(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return (s_min^(1/rho) + t (s_max^(1/rho) - s_min^(1/rho)))^rho."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (low + t * (high - low)) ** self.rho

    def t(self, sigma: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the time of a noise level; the inverse of `sigma`."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (sigma ** (1 / self.rho) - low) / (high - low)

    def precondition(self, sigma: Float[Tensor, "*batch"]) -> Preconditioning:
        """Return the coefficients of table 1, column EDM."""
        total = sigma**2 + self.sigma_data**2
        return Preconditioning(
            c_skip=self.sigma_data**2 / total,
            c_out=sigma * self.sigma_data / total.sqrt(),
            c_in=1 / total.sqrt(),
            c_noise=sigma.log() / 4,
        )

    def draw_sigma(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, " {n}"]:
        """Draw ln sigma from a normal distribution."""
        return (self.p_mean + self.p_std * torch.randn(n, generator=generator)).exp()

    def loss_weight(self, sigma: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 = 1 / c_out^2: the plain error of F."""
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2
