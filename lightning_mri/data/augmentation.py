"""Random changes that make another plausible complex image of the same kind."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import interpolate

DARK = 1e-3
NODES = 3
MAX_GAIN = 3.0


@dataclass(frozen=True)
class Augmentation:
    """Orientation, contrast, brightness and phase at random, for images whose 99th percentile is about 1.

    Args:
        flip: Probability of a reflection, along y and along x.
        transpose: Probability of exchanging y and x; of square images only.
        conjugate: Probability of the complex conjugate.
        gamma: Probability of another contrast, abs(x)^g with ln g ~ N(0, gamma_std^2).
        gamma_std: Standard deviation of ln g.
        scale_std: Standard deviation of the logarithm of the brightness; covers a scale found from few lines.
        phase_std: Largest standard deviation of an additional smooth phase, in rad; its mean is uniform.
    """

    flip: float = 0.5
    transpose: float = 0.5
    conjugate: float = 0.5
    gamma: float = 0.5
    gamma_std: float = 0.25
    scale_std: float = 0.25
    phase_std: float = 0.6

    def __call__(
        self, image: Complex[Tensor, "y x"], generator: torch.Generator | None = None
    ) -> Complex[Tensor, "v u"]:
        """Return a changed image; the global random source, which each data worker seeds, is the default."""
        image = self._orient(image, generator)
        gain, phase = self._gain(image.abs(), generator), self._phase(image.shape, generator)
        image = image * torch.polar(gain, phase)
        return image.conj().resolve_conj() if _happens(self.conjugate, generator) else image

    def _orient(self, image: Tensor, generator: torch.Generator | None) -> Tensor:
        axes = [axis for axis in (0, 1) if _happens(self.flip, generator)]
        image = image.flip(axes)
        swap = _happens(self.transpose, generator) and image.shape[0] == image.shape[1]
        return image.mT.contiguous() if swap else image

    def _gain(self, magnitude: Float[Tensor, "y x"], generator: torch.Generator | None) -> Float[Tensor, "y x"]:
        contrast, brightness = torch.randn(2, generator=generator).tolist()
        scale = math.exp(self.scale_std * brightness)
        if not _happens(self.gamma, generator):
            return torch.full_like(magnitude, scale)
        exponent = math.exp(self.gamma_std * contrast) - 1
        # a gain without limit would make the background as bright as tissue
        return scale * magnitude.clamp(min=DARK).pow(exponent).clamp(max=MAX_GAIN)

    def _phase(self, shape: torch.Size, generator: torch.Generator | None) -> Float[Tensor, "y x"]:
        mean, share = torch.rand(2, generator=generator).tolist()
        nodes = torch.randn(NODES, NODES, generator=generator)
        smooth = _between_nodes(shape[0]) @ nodes @ _between_nodes(shape[1]).mT
        return 2 * math.pi * mean + self.phase_std * share * smooth


@cache
def _between_nodes(n: int) -> Float[Tensor, "n node"]:
    """Return the weights that interpolate ``n`` points between the nodes, bicubically."""
    nodes = torch.eye(NODES)[None, None]
    return interpolate(nodes, size=(n, NODES), mode="bicubic", align_corners=True)[0, 0]


def _happens(probability: float, generator: torch.Generator | None) -> bool:
    return float(torch.rand((), generator=generator)) < probability
