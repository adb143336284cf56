"""The variance-preserving process of Song et al. 2021, "Score-based generative modeling through SDEs"."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.diffusion.process import NoiseProcess, Preconditioning, draw_time


@dataclass(frozen=True)
class VP(NoiseProcess):
    """Signal that fades as noise grows, x_t = alpha x0 + sqrt(1 - alpha^2) z.

    The rate is beta(t) = beta_min + t (beta_max - beta_min); the noise level relative to the signal is
    sigma = sqrt(1 - alpha^2) / alpha, and the network predicts the noise z.

    Args:
        sigma_data: Standard deviation of the images, per real channel; only samplers ask for it.
        beta_min: Rate at time 0.
        beta_max: Rate at time 1.
        n_times: Number of discrete times that the network's noise code t (n_times - 1) counts.
        t_min: Earliest time in training.
        t_min_sampling: Earliest time in sampling, which sets `sigma_min`.
    """

    sigma_data: float = 0.5
    beta_min: float = 0.1
    beta_max: float = 20.0
    n_times: int = 1000
    t_min: float = 1e-5
    t_min_sampling: float = 1e-3

    def __post_init__(self) -> None:
        times = 0 < self.t_min < 1 and 0 < self.t_min_sampling < 1 and self.n_times > 1
        if not (self.sigma_data > 0 and 0 < self.beta_min < self.beta_max and times):
            raise ValueError(
                "VP needs 0 < beta_min < beta_max, sigma_data > 0, n_times > 1 and earliest times in (0, 1): "
                f"got {self}"
            )

    @property
    def sigma_min(self) -> float:  # type: ignore[override]
        """Noise level at ``t_min_sampling``."""
        return float(self.sigma(torch.tensor(self.t_min_sampling, dtype=torch.float64)))

    @property
    def sigma_max(self) -> float:  # type: ignore[override]
        """Noise level at time 1."""
        return float(self.sigma(torch.tensor(1.0, dtype=torch.float64)))

    def alpha(self, sigma: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return 1 / sqrt(1 + sigma^2)."""
        return (1 + sigma**2).rsqrt()

    def sigma(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return sqrt(alpha^-2 - 1), where ln alpha = -t^2 (beta_max - beta_min) / 4 - t beta_min / 2."""
        return (t**2 * (self.beta_max - self.beta_min) / 2 + t * self.beta_min).expm1().sqrt()

    def t(self, sigma: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the positive root of t^2 (beta_max - beta_min) / 2 + t beta_min = ln(1 + sigma^2)."""
        noise = (sigma**2).log1p()
        root = (self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * noise).sqrt()
        return 2 * noise / (self.beta_min + root)  # this form of the root cancels nothing at small sigma

    def precondition(self, sigma: Float[Tensor, "*batch"]) -> Preconditioning:
        """Return the coefficients of Karras et al. 2022, table 1: D = x - sigma F(alpha x; 999 t).

        The sign of ``c_out`` is that of a network that predicts the noise, as score_sde's does.
        """
        return Preconditioning(
            c_skip=torch.ones_like(sigma),
            c_out=-sigma,
            c_in=self.alpha(sigma),
            c_noise=(self.n_times - 1) * self.t(sigma),
        )

    def draw_sigma(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, " {n}"]:
        """Draw the level of a uniform time."""
        return self.sigma(draw_time(n, self.t_min, generator))
