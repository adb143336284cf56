"""Correctors: Markov chain steps that stay at one noise level."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.tensors import norm


class Corrector(ABC):
    """Steps towards the distribution at the current noise level.

    Attributes:
        n_steps: Steps at each level.
    """

    n_steps: int

    @abstractmethod
    def step(
        self,
        x: Complex[Tensor, "*batch y x"],
        score: Complex[Tensor, "*batch y x"],
        noise: Complex[Tensor, "*batch y x"],
        std: float,
        alpha: float = 1.0,
        ndim: int = 2,
    ) -> Complex[Tensor, "*batch y x"]:
        """Return the state after one step.

        Args:
            x: State at the current noise level.
            score: Gradient of the log density at ``x``.
            noise: Noise z, standard deviation 1 in each real channel.
            std: Standard deviation of the noise in ``x``, in each real channel: sigma for VE.
            alpha: Attenuation 1 - beta_i of the step that leads to this level; 1 for VE.
            ndim: Number of last axes that belong to one image.
        """


@dataclass(frozen=True)
class Langevin(Corrector):
    """x + e score + sqrt(2 e) z with e = 2 alpha (snr |z| / |score|)^2 (Song et al. 2021, algorithms 4, 5).

    Norms are taken image by image, so that no image's step depends on its neighbours in the batch. A step
    of finite size leaves the chain wider than its target: along a direction of standard deviation s the
    stationary variance is s^2 / (1 - e / (2 s^2)). What a walk corrects in all grows with snr^2 times the
    number of its corrector steps, see `PosteriorScore`.

    Args:
        snr: Ratio of the step along the score to the noise.
        n_steps: Steps at each level.
    """

    snr: float = 0.16
    n_steps: int = 1

    def __post_init__(self) -> None:
        """Refuse a step of no length.

        Raises:
            ValueError: If ``snr`` is not positive or ``n_steps`` is negative.
        """
        _check(self.snr, self.n_steps)

    def step(
        self,
        x: Complex[Tensor, "*batch y x"],
        score: Complex[Tensor, "*batch y x"],
        noise: Complex[Tensor, "*batch y x"],
        std: float,
        alpha: float = 1.0,
        ndim: int = 2,
    ) -> Complex[Tensor, "*batch y x"]:
        """Return the state after one step."""
        e = 2 * alpha * (self.snr * norm(noise, ndim) / norm(score, ndim)) ** 2
        return x + e * score + torch.sqrt(2 * e) * noise


@dataclass(frozen=True)
class AnnealedLangevin(Corrector):
    """x + e score + sqrt(2 e) z with e = 2 alpha (snr std)^2 (Song and Ermon 2019, algorithm 1).

    The step follows the noise level and not the data, so that the chain is linear wherever the score is;
    its stationary distribution is too wide in the same way as that of `Langevin`.

    Args:
        snr: Ratio of the step along the score to the noise.
        n_steps: Steps at each level.
    """

    snr: float = 0.16
    n_steps: int = 1

    def __post_init__(self) -> None:
        """Refuse a step of no length.

        Raises:
            ValueError: If ``snr`` is not positive or ``n_steps`` is negative.
        """
        _check(self.snr, self.n_steps)

    def step(
        self,
        x: Complex[Tensor, "*batch y x"],
        score: Complex[Tensor, "*batch y x"],
        noise: Complex[Tensor, "*batch y x"],
        std: float,
        alpha: float = 1.0,
        ndim: int = 2,
    ) -> Complex[Tensor, "*batch y x"]:
        """Return the state after one step."""
        e = 2 * alpha * (self.snr * std) ** 2
        return x + e * score + (2 * e) ** 0.5 * noise


def _check(snr: float, n_steps: int) -> None:
    if snr <= 0:
        raise ValueError(f"snr must be positive: got {snr}")
    if n_steps < 0:
        raise ValueError(f"n_steps must not be negative: got {n_steps}")
