"""Training losses: denoising score matching."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from lightning_mri.diffusion.prior import NetworkPrior
from lightning_mri.diffusion.process import NoiseProcess, draw_time
from lightning_mri.tensors import complex_noise, local_generator


@dataclass(frozen=True)
class Denoising:
    """One batch, denoised and scored.

    Args:
        loss: Weighted squared error of each sample, a mean over real channels and the pixels that count.
        sigma: Noise level of each sample, in image units.
        denoised: Estimates of the clean images, in image units.
    """

    loss: Float[Tensor, "batch"]
    sigma: Float[Tensor, "batch"]
    denoised: Complex[Tensor, "batch y x"]


class NoiseLevels(ABC):
    """How often each noise level is trained on."""

    @abstractmethod
    def draw(self, process: NoiseProcess, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n}"]:
        """Draw n noise levels in image units, on the CPU.

        Args:
            process: Noise process of the prior.
            n: How many.
            generator: CPU random source; the global one if none is given.
        """


@dataclass(frozen=True)
class AsPublished(NoiseLevels):
    """The levels that belong to the noise process: log-normal for EDM, of a uniform time for VP and VE."""

    def draw(self, process: NoiseProcess, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n}"]:
        """Ask the process."""
        return process.draw_sigma(n, generator)


@dataclass(frozen=True)
class LogNormal(NoiseLevels):
    """ln sigma ~ N(mean, std^2) (Karras et al. 2022), also where the prior was trained on other levels.

    Args:
        mean: Mean of ln sigma.
        std: Standard deviation of ln sigma.

    Raises:
        ValueError: If ``std`` is not positive.
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        """Refuse a spread that is none."""
        if self.std <= 0:
            raise ValueError(f"std must be positive: got {self.std}")

    def draw(self, process: NoiseProcess, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n}"]:
        """Draw exp(mean + std z)."""
        return (self.mean + self.std * torch.randn(n, generator=generator)).exp()


@dataclass(frozen=True)
class UniformTime(NoiseLevels):
    """Levels of a time that is uniform in [t_min, 1] (Song et al. 2021): of VP, and log-uniform for VE.

    Args:
        t_min: Earliest time.

    Raises:
        ValueError: If ``t_min`` is not in [0, 1).
    """

    t_min: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse what is no time."""
        if not 0 <= self.t_min < 1:
            raise ValueError(f"t_min must be in [0, 1): got {self.t_min}")

    def draw(self, process: NoiseProcess, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n}"]:
        """Draw sigma(t)."""
        return process.sigma(draw_time(n, self.t_min, generator))


@dataclass(frozen=True)
class LogUniform(NoiseLevels):
    """ln sigma uniform between two levels, such as those that a sampler visits.

    Args:
        sigma_min: Lowest level, in image units.
        sigma_max: Highest level, in image units.

    Raises:
        ValueError: If the levels are not positive and ascending.
    """

    sigma_min: float = 0.01
    sigma_max: float = 1.0

    def __post_init__(self) -> None:
        """Refuse levels that are not positive and ascending."""
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"levels must satisfy 0 < sigma_min < sigma_max: got {self.sigma_min}, {self.sigma_max}")

    def draw(self, process: NoiseProcess, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n}"]:
        """Draw sigma_min (sigma_max / sigma_min)^u, u uniform in [0, 1]."""
        low, span = math.log(self.sigma_min), math.log(self.sigma_max / self.sigma_min)
        return (low + span * torch.rand(n, generator=generator)).exp()


@dataclass(frozen=True)
class DenoisingScoreMatching:
    """Loss w(sigma) abs(D(x0 + sigma z; sigma) - x0)^2 with the weight of the noise process.

    Its minimiser is the posterior mean, and so the score (Vincent 2011). For every process the weight makes
    it the plain squared error of the network's own output, as published.

    Args:
        label_dropout: Share of the samples whose label is withheld, so that the network also learns the prior
            of all contrasts together.
        levels: How often each noise level is trained on.

    Raises:
        ValueError: If ``label_dropout`` is not in [0, 1].
    """

    label_dropout: float = 0.1
    levels: NoiseLevels = AsPublished()

    def __post_init__(self) -> None:
        """Refuse what is not a share."""
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout must be in [0, 1]: got {self.label_dropout}")

    def __call__(
        self,
        prior: NetworkPrior,
        x: Complex[Tensor, "batch y x"],
        label: Int[Tensor, "batch"] | None = None,
        generator: torch.Generator | None = None,
        support: Bool[Tensor, "batch y x"] | None = None,
    ) -> Denoising:
        """Score a batch at random noise levels, some labels withheld.

        Args:
            prior: The network in training, with its noise process.
            x: Clean images, in image units.
            label: Index of the contrast of each image.
            generator: CPU random source; the global one if none is given.
            support: Pixels that count; all if not given.
        """
        sigma = self.levels.draw(prior.process, len(x), generator).to(x.device)
        if label is not None:
            withheld = torch.rand(len(x), generator=generator).to(x.device) < self.label_dropout
            label = torch.where(withheld, len(prior.labels), label)
        return self.at(sigma, prior, x, label, local_generator(generator, x.device), support)

    def at(
        self,
        sigma: Float[Tensor, "batch"],
        prior: NetworkPrior,
        x: Complex[Tensor, "batch y x"],
        label: Int[Tensor, "batch"] | None = None,
        generator: torch.Generator | None = None,
        support: Bool[Tensor, "batch y x"] | None = None,
    ) -> Denoising:
        """Score a batch at given noise levels and labels; for validation.

        Args:
            sigma: Noise levels, in image units.
            prior: The network, with its noise process.
            x: Clean images, in image units.
            label: Index of the contrast of each image.
            generator: Random source of the noise, on any device; the CPU's global one if none is given.
            support: Pixels that count; all if not given.
        """
        x_noisy = x + sigma[:, None, None] * complex_noise(x.shape, generator, x.device)
        denoised = prior(x_noisy, sigma, label)
        error = mean_square(denoised - x, support)
        return Denoising(prior.process.loss_weight(sigma) * error, sigma, denoised)


def mean_square(
    error: Complex[Tensor, "batch y x"], support: Bool[Tensor, "batch y x"] | None
) -> Float[Tensor, "batch"]:
    """Return the mean squared error of each image, over real channels and the pixels that count.

    Args:
        error: Difference of two images.
        support: Pixels that count; all if not given.
    """
    square = torch.view_as_real(error).square().mean(-1)
    if support is None:
        return square.mean((-2, -1))
    return (support * square).sum((-2, -1)) / support.sum((-2, -1)).clamp(min=1)
