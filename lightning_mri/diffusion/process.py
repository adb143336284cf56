"""The noise process: how an image becomes noise, and what a network must see and say to undo it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri import described


@dataclass(frozen=True)
class Preconditioning:
    """The four coefficients of Karras et al. 2022, equation 7: D(x) = c_skip x + c_out F(c_in x; c_noise).

    Args:
        c_skip: Share of the noisy image in the result.
        c_out: Factor of the network's output.
        c_in: Factor of the network's input.
        c_noise: The network's noise code.
    """

    c_skip: Float[Tensor, "*batch"]
    c_out: Float[Tensor, "*batch"]
    c_in: Float[Tensor, "*batch"]
    c_noise: Float[Tensor, "*batch"]


class NoiseProcess(ABC):
    """Noise x_t = alpha (x0 + sigma z), preconditioning and training levels as one small frozen object.

    All methods work in the coordinates x = x_t / alpha = x0 + sigma z, where every process has the same
    denoiser; they differ in what the network sees, how levels are drawn and how errors are weighted.
    Noise levels are in image units, per real channel.

    Attributes:
        sigma_data: Standard deviation of the images.
        sigma_min: Lowest noise level at which to sample.
        sigma_max: Highest noise level, at which an image is noise for all purposes.
    """

    sigma_data: float
    sigma_min: float
    sigma_max: float

    def alpha(self, sigma: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the signal coefficient at a noise level: 1 unless the process attenuates the signal."""
        return torch.ones_like(sigma)

    @abstractmethod
    def sigma(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the noise level at time t, 0 (data) ... 1 (noise)."""

    @abstractmethod
    def t(self, sigma: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the time of a noise level; the inverse of `sigma`."""

    @abstractmethod
    def precondition(self, sigma: Float[Tensor, "*batch"]) -> Preconditioning:
        """Return the four coefficients at a noise level."""

    @abstractmethod
    def draw_sigma(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, " {n}"]:
        """Draw n noise levels for training, on the CPU."""

    def loss_weight(self, sigma: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the weight of abs(D - x0)^2 in the training loss, 1 / c_out^2: the plain squared error of F."""
        return self.precondition(sigma).c_out ** -2


def draw_time(n: int, t_min: float, generator: torch.Generator | None = None) -> Float[Tensor, " {n}"]:
    """Draw n times, uniform in [t_min, 1]."""
    return t_min + (1 - t_min) * torch.rand(n, generator=generator)


def describe(process: NoiseProcess) -> dict[str, Any]:
    """Return the process's class and arguments as plain values, from which `build` makes it anew."""
    return {"class": described.name_of(type(process)), "arguments": asdict(process)}  # type: ignore[call-overload]


def build(description: Mapping[str, Any]) -> NoiseProcess:
    """Make a noise process from its description.

    Only subclasses of `NoiseProcess` are made, never anything else that a file may name.

    Raises:
        ValueError: If the class is not known, or does not take the arguments.
    """
    return described.build(NoiseProcess, "noise process", description)  # type: ignore[type-abstract]
