"""The corrector: Langevin steps that stay at one noise level."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.tensors import norm


@dataclass(frozen=True)
class Langevin:
    """x + e score + sqrt(2 e) z with e = 2 alpha (snr |z| / |score|)^2 (Song et al. 2021, algorithms 4, 5).

    Norms are taken image by image, so that no image's step depends on its neighbours in the batch. A step of finite
    size leaves the chain wider than its target: along a direction of standard deviation s the stationary variance is
    s^2 / (1 - e / (2 s^2)). About e = 2 snr^2 h, h the harmonic mean of s^2 over directions: a smaller snr cures this,
    more steps do not. And e depends on the noise of the same step, which widens images of d real numbers by about
    (1 + 2 / d)^2 more in variance: 10 % for 20 pixels, nothing that counts for whole images. What is corrected in all
    grows with snr^2 times the number of steps, see `PosteriorScore`.

    Args:
        snr: Ratio of the step along the score to the noise.
        n_steps: Steps at each level.

    Raises:
        ValueError: If ``snr`` is not positive or ``n_steps`` is negative.
    """

    snr: float = 0.16
    n_steps: int = 1

    def __post_init__(self) -> None:
        if not self.snr > 0:
            raise ValueError(f"snr must be positive: got {self.snr}")
        if self.n_steps < 0:
            raise ValueError(f"n_steps must not be negative: got {self.n_steps}")

    def step(
        self,
        x: Complex[Tensor, "*batch y x"],
        score: Complex[Tensor, "*batch y x"],
        noise: Complex[Tensor, "*batch y x"],
        alpha: float = 1.0,
        ndim: int = 2,
    ) -> Complex[Tensor, "*batch y x"]:
        """Return the state after one step.

        Args:
            x: State at the current noise level.
            score: Gradient of the log density at ``x``.
            noise: Noise z, standard deviation 1 in each real channel.
            alpha: Attenuation 1 - beta_i of the predictor's step from this level; 1 for VE.
            ndim: Number of last axes that belong to one image.
        """
        e = 2 * alpha * (self.snr * norm(noise, ndim) / norm(score, ndim)) ** 2
        return x + e * score + torch.sqrt(2 * e) * noise
