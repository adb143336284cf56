"""Training losses: denoising score matching."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from lightning_mri.diffusion.prior import NetworkPrior
from lightning_mri.tensors import complex_noise, local_generator


@dataclass(frozen=True)
class Denoising:
    """One batch, denoised and scored.

    Args:
        loss: Weighted squared error of each sample, a mean over real channels and the pixels that count.
        sigma: Noise level of each sample, in image units.
        denoised: Estimates of the clean images, in image units.
    """

    loss: Float[Tensor, " batch"]
    sigma: Float[Tensor, " batch"]
    denoised: Complex[Tensor, "batch y x"]


@dataclass(frozen=True)
class DenoisingScoreMatching:
    """Loss w(sigma) abs(D(x0 + sigma z; sigma) - x0)^2 with the weight of the noise process.

    Its minimiser is the posterior mean, and so the score (Vincent 2011). For every process the weight makes
    it the plain squared error of the network's own output, as published.

    Args:
        label_dropout: Share of the samples whose label is withheld, so that the network also learns the prior
            of all contrasts together.
    """

    label_dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout must be in [0, 1]: got {self.label_dropout}")

    def __call__(
        self,
        prior: NetworkPrior,
        x: Complex[Tensor, "batch y x"],
        label: Int[Tensor, " batch"] | None = None,
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
        sigma = prior.process.draw_sigma(len(x), generator).to(x.device)
        if label is not None:
            withheld = torch.rand(len(x), generator=generator).to(x.device) < self.label_dropout
            label = torch.where(withheld, len(prior.labels), label)
        return self.at(sigma, prior, x, label, local_generator(generator, x.device), support)

    def at(
        self,
        sigma: Float[Tensor, " batch"],
        prior: NetworkPrior,
        x: Complex[Tensor, "batch y x"],
        label: Int[Tensor, " batch"] | None = None,
        generator: torch.Generator | None = None,
        support: Bool[Tensor, "batch y x"] | None = None,
    ) -> Denoising:
        """Score a batch at given noise levels, in image units; the generator may be of any device. For validation."""
        x_noisy = x + sigma[:, None, None] * complex_noise(x.shape, generator, x.device)
        denoised = prior(x_noisy, sigma, label)
        error = mean_square(denoised - x, support)
        return Denoising(prior.process.loss_weight(sigma) * error, sigma, denoised)


def mean_square(
    error: Complex[Tensor, "batch y x"], support: Bool[Tensor, "batch y x"] | None
) -> Float[Tensor, " batch"]:
    """Return the mean squared error of each image, over real channels and the pixels that count (all if not given)."""
    square = torch.view_as_real(error).square().mean(-1)
    if support is None:
        return square.mean((-2, -1))
    return (support * square).sum((-2, -1)) / support.sum((-2, -1)).clamp(min=1)
