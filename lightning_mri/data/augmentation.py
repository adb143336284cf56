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

    What happens is drawn before the image is looked at: it depends on neither the image nor its contrast.

    Args:
        flip: Probability of a reflection, along y and along x.
        transpose: Probability of exchanging y and x; of square images only, or for a square ``size``.
        rotation: Probability of a small rotation about the centre.
        rotation_std: Standard deviation of its angle, in degrees.
        conjugate: Probability of the complex conjugate.
        gamma: Probability of another contrast, abs(x)^g with ln g ~ N(0, gamma_std^2).
        gamma_std: Standard deviation of ln g.
        scale_std: Standard deviation of the logarithm of the brightness; covers a scale found from few lines.
        phase_std: Largest standard deviation of an additional smooth phase, in rad; its mean is uniform.
    """

    flip: float = 0.5
    transpose: float = 0.5
    rotation: float = 0.1
    rotation_std: float = 4.0
    conjugate: float = 0.5
    gamma: float = 0.5
    gamma_std: float = 0.25
    scale_std: float = 0.25
    phase_std: float = 0.6

    def __call__(
        self,
        image: Complex[Tensor, "y x"],
        generator: torch.Generator | None = None,
        size: tuple[int, int] | None = None,
    ) -> Complex[Tensor, "v u"]:
        """Return a changed image, or a part of it.

        Args:
            image: Image in image units.
            generator: The global random source, which each data worker seeds, if not given.
            size: Largest size (y, x); a larger image is cut, anywhere.
        """
        up, left, swap, turn, other, mirror, mean, share, top, side = torch.rand(10, generator=generator).tolist()
        angle, contrast, brightness = torch.randn(3, generator=generator).tolist()
        nodes = torch.randn(NODES, NODES, generator=generator)

        if turn < self.rotation:  # before the cut, whose edges would ring
            image = rotate(image, math.radians(self.rotation_std * angle))
        limit = size or (image.shape[0], image.shape[1])
        image = _part(_part(image, 0, limit[0], top), 1, limit[1], side)
        image = image.flip([axis for axis, draw in enumerate((up, left)) if draw < self.flip])
        if swap < self.transpose and limit[0] == limit[1]:
            image = image.mT.contiguous()
        gain = torch.tensor(math.exp(self.scale_std * brightness))
        if other < self.gamma:
            gain = gain * _gain(image, math.exp(self.gamma_std * contrast))
        phase = 2 * math.pi * mean + self.phase_std * share * _smooth(nodes, image.shape)
        image = image * torch.complex(gain * phase.cos(), gain * phase.sin())
        return image.conj().resolve_conj() if mirror < self.conjugate else image


def _part(image: Tensor, axis: int, n: int, where: float) -> Tensor:
    """Cut ``n`` pixels along an axis, from its start (``where`` 0) to its end (1)."""
    spare = max(0, image.shape[axis] - n)
    return image.narrow(axis, int(where * (spare + 1)), image.shape[axis] - spare)


def rotate(image: Complex[Tensor, "y x"], angle: float) -> Complex[Tensor, "y x"]:
    """Rotate about pixel n // 2 from x towards y by three shears, each a linear phase in the other domain.

    R(a) = X(-tan a/2) Y(sin a) X(-tan a/2) (Larkin et al., Opt. Commun. 139:99, 1997). Nothing is blurred and
    noise stays white, since each shear is unitary; what leaves on one side comes in on the other.

    Args:
        image: Image of square pixels.
        angle: In rad, small.
    """
    across, along = -math.tan(angle / 2), math.sin(angle)
    first = _ramp(image.shape[0], image.shape[1], across)
    second = _ramp(image.shape[1], image.shape[0], along).mT
    image = torch.fft.ifft(torch.fft.fft(image, dim=1) * first, dim=1)
    image = torch.fft.ifft(torch.fft.fft(image, dim=0) * second, dim=0)
    return torch.fft.ifft(torch.fft.fft(image, dim=1) * first, dim=1)


def _ramp(n_lines: int, n: int, shear: float) -> Complex[Tensor, "line frequency"]:
    """Return the phase that moves each line by ``shear`` times its distance from the middle one."""
    distance = torch.arange(n_lines) - n_lines // 2
    angle = -2 * math.pi * shear * distance[:, None] * torch.fft.fftfreq(n)
    return torch.complex(angle.cos(), angle.sin())


def _gain(image: Complex[Tensor, "y x"], exponent: float) -> Float[Tensor, "y x"]:
    """Return abs(x)^(g - 1); without limit it would make the background as bright as tissue."""
    power = image.real.square() + image.imag.square()
    return power.clamp_(min=DARK**2).log_().mul_((exponent - 1) / 2).exp_().clamp_(max=MAX_GAIN)


def _smooth(nodes: Float[Tensor, "v u"], shape: torch.Size) -> Float[Tensor, "y x"]:
    """Interpolate values at a few nodes to an image, bicubically."""
    return _between_nodes(shape[0]) @ nodes @ _between_nodes(shape[1]).mT


@cache
def _between_nodes(n: int) -> Float[Tensor, "n node"]:
    """Return the weights that interpolate ``n`` points between the nodes, bicubically."""
    nodes = torch.eye(NODES)[None, None]
    return interpolate(nodes, size=(n, NODES), mode="bicubic", align_corners=True)[0, 0]
