"""The network that a perfect training on Gaussian images would give, for any noise process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_mri.diffusion import DDPM, EDM, VE, VP, NetworkPrior, NoiseProcess


@dataclass(frozen=True)
class Case:
    """A process beside the published formulas that it should follow, written out by hand.

    Args:
        process: The process.
        sigma: Noise level of a noise code.
        c_in: Factor of the network's input.
        target: What the network should say of an image x = x0 + sigma z whose denoised version is D.
    """

    process: NoiseProcess
    sigma: Callable[[Tensor], Tensor]
    c_in: Callable[[Tensor], Tensor]
    target: Callable[[Tensor, Tensor, Tensor], Tensor]


def vp_sigma(c_noise: Tensor) -> Tensor:
    t = c_noise / 999
    log_alpha = -(t**2) * (20 - 0.1) / 4 - t * 0.1 / 2
    return (1 - (2 * log_alpha).exp()).sqrt() / log_alpha.exp()


def ddpm_sigma(c_noise: Tensor) -> Tensor:
    """Return sigma of a step of Ho et al., between two steps geometrically."""
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    levels, step = ((1 - abar) / abar).sqrt().float(), c_noise.floor().clamp(max=998)
    low, high = levels[step.long()], levels[step.long() + 1]
    return low * (high / low) ** (c_noise - step)


def edm_target(x: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
    """Return the mixture of image and noise of Karras et al., equation 8, for sigma_data = 0.5."""
    total = sigma**2 + 0.25
    return (denoised - 0.25 / total * x) * total.sqrt() / (sigma * 0.5)


CASES = {
    "EDM": Case(EDM(), lambda c: (4 * c).exp(), lambda s: (s**2 + 0.25).rsqrt(), edm_target),
    "VE": Case(VE(), lambda c: 2 * c.exp(), torch.ones_like, lambda x, denoised, s: (denoised - x) / s),
    "DDPM": Case(DDPM(), ddpm_sigma, lambda s: (1 + s**2).rsqrt(), lambda x, denoised, s: (x - denoised) / s),
    "VP": Case(VP(), vp_sigma, lambda s: (1 + s**2).rsqrt(), lambda x, denoised, s: (x - denoised) / s),
}


class Perfect(nn.Module):
    """The network whose denoiser is x 0.16 / (0.16 + sigma^2), exact for Gaussian images of mean 0."""

    n_labels, multiple = 0, 8
    label_rows = None

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        self.seen: list[Tensor] = []

    @property
    def config(self) -> dict[str, Any]:
        return {}

    def forward(self, x: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        self.seen.append(x)
        sigma = self.case.sigma(c_noise)[:, None, None, None]
        x = x / self.case.c_in(sigma)
        return self.case.target(x, 0.16 / (0.16 + sigma**2) * x, sigma)


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def perfect_prior(request: pytest.FixtureRequest) -> NetworkPrior:
    """Return a network prior of images of mean 0 and variance 0.16 in each real channel."""
    return NetworkPrior(Perfect(request.param), request.param.process, labels=()).eval()
