"""Smooth images of few low frequencies: what coil maps are inverted and refined with."""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor


class SmoothImages:
    """Images W d from their few low frequencies d; small matrix products take the place of transforms of the full size.

    Args:
        size: Pixels (y, x) of the images.
        frequencies: Frequencies y and x in cycles per field of view.
        gain: Weight of each frequency.
        period: Fields of view after which images repeat, over which waves have unit norm.
    """

    def __init__(
        self,
        size: tuple[int, int],
        frequencies: tuple[Float[Tensor, " q"], Float[Tensor, " p"]],
        gain: Float[Tensor, "q p"],
        period: float = 1.0,
    ) -> None:
        self.gain = gain
        self.waves = [_waves(n, k, period) for n, k in zip(size, frequencies, strict=True)]

    def __call__(self, d: Complex[Tensor, "*batch q p"]) -> Complex[Tensor, "*batch y x"]:
        """Return W d."""
        return self.waves[0] @ (self.gain * d) @ self.waves[1].T

    def adjoint(self, image: Complex[Tensor, "*batch y x"]) -> Complex[Tensor, "*batch q p"]:
        """Return W^H x."""
        return self.gain * (self.waves[0].mH @ image @ self.waves[1].conj())


def _waves(n: int, frequencies: Tensor, period: float) -> Tensor:
    """Return waves [place, frequency]."""
    place = torch.arange(n, device=frequencies.device, dtype=frequencies.dtype) - n // 2
    angle = 2 * math.pi / n * place[:, None] * frequencies
    return torch.polar(torch.full_like(angle, 1 / math.sqrt(period * n)), angle)
