"""The discrete process of Ho et al. 2020, "Denoising diffusion probabilistic models"."""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.described import check_fields
from lightning_mri.diffusion.process import NoiseProcess, Preconditioning


@dataclass(frozen=True)
class DDPM(NoiseProcess):
    """A chain x_k = sqrt(abar_k) x0 + sqrt(1 - abar_k) z of ``n_times`` steps, whose noise z the network predicts.

    abar_k is the product of 1 - beta_j up to step k, beta rising in equal steps; the noise level relative to the
    signal is sigma_k = sqrt(1 - abar_k) / sqrt(abar_k). It is `VP` in steps, with rates ``n_times`` beta.

    Args:
        sigma_data: Standard deviation of the images, per real channel; only samplers ask for it.
        beta_min: Rate of the first step.
        beta_max: Rate of the last step.
        n_times: Number of steps.
        interpolate: Whether levels between two steps get a noise code between their numbers, linear in ln sigma,
            or the number of the nearest step.
    """

    sigma_data: float = 0.5
    beta_min: float = 1e-4
    beta_max: float = 0.02
    n_times: int = 1000
    interpolate: bool = True

    def __post_init__(self) -> None:
        if not (self.sigma_data > 0 and 0 < self.beta_min < self.beta_max < 1 and self.n_times > 1):
            raise ValueError(f"DDPM needs 0 < beta_min < beta_max < 1, sigma_data > 0 and n_times > 1: got {self}")
        check_fields(self, bool)

    @property
    def sigma_min(self) -> float:  # type: ignore[override]
        """Noise level of the first step."""
        return float(self.levels[0].exp())

    @property
    def sigma_max(self) -> float:  # type: ignore[override]
        """Noise level of the last step."""
        return float(self.levels[-1].exp())

    @property
    def levels(self) -> Float[Tensor, " {self.n_times}"]:
        """Ln sigma_k of every step, ascending, in double precision."""
        return _levels(self.beta_min, self.beta_max, self.n_times)

    def alpha(self, sigma: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return sqrt(abar) = 1 / sqrt(1 + sigma^2)."""
        return (1 + sigma**2).rsqrt()

    def sigma(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the level of step t (n_times - 1), between two steps linear in ln sigma."""
        levels, step = self.levels.to(t), t * (self.n_times - 1)
        lower = step.detach().floor().clamp(0, self.n_times - 2).long()
        return torch.lerp(levels[lower], levels[lower + 1], step - lower).exp()

    def t(self, sigma: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the time of a noise level; the inverse of `sigma`."""
        return self._step(sigma) / (self.n_times - 1)

    def precondition(self, sigma: Float[Tensor, "*batch"]) -> Preconditioning:
        """Return the coefficients of D = x - sigma F(sqrt(abar) x; k).

        Levels beyond the first or last step get the number of that step: the network knows no other.
        """
        step = self._step(sigma).clamp(0, self.n_times - 1)
        return Preconditioning(
            c_skip=torch.ones_like(sigma),
            c_out=-sigma,
            c_in=self.alpha(sigma),
            c_noise=step if self.interpolate else step.round(),
        )

    def draw_sigma(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, " {n}"]:
        """Draw the level of a uniform step."""
        return self.levels[torch.randint(self.n_times, (n,), generator=generator)].exp().float()

    def _step(self, sigma: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the number of the step of a noise level, a fraction between two."""
        levels, level = self.levels.to(sigma), sigma.log()
        lower = (torch.searchsorted(levels, level.detach().contiguous()) - 1).clamp(0, self.n_times - 2)
        return lower + (level - levels[lower]) / (levels[lower + 1] - levels[lower])


@cache
def _levels(beta_min: float, beta_max: float, n_times: int) -> Float[Tensor, " {n_times}"]:
    betas = torch.linspace(beta_min, beta_max, n_times, dtype=torch.float64)
    abar = (1 - betas).cumprod(0)
    return ((1 - abar) / abar).log() / 2
