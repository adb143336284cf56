"""The variance-exploding process of Song et al. 2021, "Score-based generative modeling through SDEs"."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.diffusion.process import NoiseProcess, Preconditioning, draw_time


@dataclass(frozen=True)
class VE(NoiseProcess):
    """Noise that grows geometrically, sigma(t) = sigma_min (sigma_max / sigma_min)^t, on an unchanged signal.

    Args:
        sigma_data: Standard deviation of the images, per real channel; only samplers ask for it.
        sigma_min: Noise level at time 0.
        sigma_max: Noise level at time 1; the largest distance between two images (348 in score_sde's
            configuration for 256 px).
        t_min: Earliest time in training.
    """

    sigma_data: float = 0.5
    sigma_min: float = 0.01
    sigma_max: float = 348.0
    t_min: float = 1e-5

    def __post_init__(self) -> None:
        if not (self.sigma_data > 0 and 0 < self.sigma_min < self.sigma_max and 0 <= self.t_min < 1):
            raise ValueError(f"VE needs 0 < sigma_min < sigma_max, sigma_data > 0 and 0 <= t_min < 1: got {self}")

    def sigma(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return sigma_min (sigma_max / sigma_min)^t."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def t(self, sigma: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return ln(sigma / sigma_min) / ln(sigma_max / sigma_min)."""
        span = torch.tensor(self.sigma_max / self.sigma_min, dtype=sigma.dtype)
        return (sigma / self.sigma_min).log() / span.log()

    def precondition(self, sigma: Float[Tensor, "*batch"]) -> Preconditioning:
        """Return the coefficients of Karras et al. 2022, table 1: D = x + sigma F(x; ln(sigma / 2))."""
        one = torch.ones_like(sigma)
        return Preconditioning(c_skip=one, c_out=sigma, c_in=one, c_noise=(sigma / 2).log())

    def draw_sigma(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, " {n}"]:
        """Draw the level of a uniform time."""
        return self.sigma(draw_time(n, self.t_min, generator))
