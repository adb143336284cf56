"""Random changes that make another plausible complex image of the same kind."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Complex, Float, Int
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
        rows, columns = image.shape
        limit = size or (rows, columns)
        part = (min(rows, limit[0]), min(columns, limit[1]))
        inside = torch.tensor([[rows, columns]])
        return self._changed(image[None], inside, part, limit[0] == limit[1], Changes.draw(1, generator))[0]

    def batch(
        self,
        images: Complex[Tensor, "batch y x"],
        inside: Int[Tensor, "batch 2"],
        size: tuple[int, int],
        generator: torch.Generator | None = None,
    ) -> Complex[Tensor, "batch v u"]:
        """Return a changed part of each image; on a GPU in the time of a few.

        Args:
            images: Images in image units, on any device, at the start of their rows and columns.
            inside: Size (y, x) of each, not below ``size``, on the CPU; what is beyond is no image.
            size: Size (y, x) of the parts.
            generator: CPU random source; the global one if not given.
        """
        return self._changed(images, inside, size, size[0] == size[1], Changes.draw(len(images), generator))

    def _changed(
        self, images: Tensor, inside: Tensor, size: tuple[int, int], square: bool, drawn: "Changes"
    ) -> Complex[Tensor, "batch v u"]:
        chance = drawn.chance
        tilted = (chance["tilt"] < self.rotation).nonzero().flatten().tolist()
        images = images.clone() if tilted else images
        for index in tilted:  # before the cut, whose edges would ring
            height, width = inside[index].tolist()
            angle = math.radians(self.rotation_std * float(drawn.angle[index]))
            images[index, :height, :width] = rotate(images[index, :height, :width], angle)
        rows, columns = (
            _lines(chance[where], inside[:, axis], size[axis], chance[flipped] < self.flip).to(images.device)
            for axis, (where, flipped) in enumerate((("top", "up"), ("side", "left")))
        )
        each = torch.arange(len(images), device=images.device)
        parts = images[each[:, None, None], rows[:, :, None], columns[:, None, :]]
        if square:
            turned = (chance["swap"] < self.transpose).tolist()
            parts = torch.stack([part.mT if own else part for part, own in zip(parts, turned, strict=True)])
        return self._recoloured(parts, drawn)

    def _recoloured(self, images: Complex[Tensor, "batch y x"], drawn: "Changes") -> Complex[Tensor, "batch y x"]:
        """Change contrast, brightness and phase."""
        chance = drawn.chance
        changed = chance["other"] < self.gamma
        exponent = torch.where(changed, (self.gamma_std * drawn.contrast).exp(), 1.0)
        brightness = _of_each((self.scale_std * drawn.brightness).exp(), images)
        gain = brightness * _gain(images, _of_each(exponent, images)) if bool(changed.any()) else brightness
        nodes = _of_each(self.phase_std * chance["share"], images) * drawn.nodes.to(images.device)
        phase = _of_each(2 * math.pi * chance["mean"], images) + _smooth(nodes, images.shape)
        images = images * torch.complex(gain * phase.cos(), gain * phase.sin())
        return torch.where(_of_each(chance["mirror"] < self.conjugate, images), images.conj(), images).resolve_conj()


CHANCES = ("up", "left", "swap", "tilt", "other", "mirror", "mean", "share", "top", "side")


@dataclass(frozen=True, eq=False)
class Changes:
    """What is random about a batch of images, on the CPU."""

    chance: dict[str, Float[Tensor, " batch"]]  # uniform in [0, 1), by name
    angle: Float[Tensor, " batch"]  # normal, as contrast, brightness and nodes are
    contrast: Float[Tensor, " batch"]  # of the logarithm of gamma
    brightness: Float[Tensor, " batch"]  # of the logarithm of the brightness
    nodes: Float[Tensor, "batch v u"]  # of the phase

    @classmethod
    def draw(cls, n: int, generator: torch.Generator | None = None) -> "Changes":
        """Draw for n images."""
        chances = torch.rand(n, len(CHANCES), generator=generator)
        angle, contrast, brightness = torch.randn(n, 3, generator=generator).T
        nodes = torch.randn(n, NODES, NODES, generator=generator)
        return cls(dict(zip(CHANCES, chances.T, strict=True)), angle, contrast, brightness, nodes)


def _of_each(values: Tensor, images: Tensor) -> Tensor:
    """Return one value an image, to be multiplied with the images."""
    return values.to(images.device)[:, None, None]


def _lines(where: Tensor, n: Tensor, size: int, flipped: Tensor) -> Tensor:
    """Return which ``size`` lines of n each image keeps: from the start (``where`` 0) to the end (1), or reversed."""
    start = (where.double() * (n - size + 1)).long()
    line = torch.arange(size).expand(len(n), size)
    return start[:, None] + torch.where(flipped[:, None], size - 1 - line, line)


def rotate(image: Complex[Tensor, "y x"], angle: float) -> Complex[Tensor, "y x"]:
    """Rotate about pixel n // 2 from x towards y by three shears, each a linear phase in the other domain.

    R(a) = X(-tan a/2) Y(sin a) X(-tan a/2) (Larkin et al., Opt. Commun. 139:99, 1997). Nothing is blurred and
    noise stays white, since each shear is unitary; what leaves on one side comes in on the other.
    """
    across, along = -math.tan(angle / 2), math.sin(angle)
    first = _ramp(image.shape[0], image.shape[1], across).to(image.device)
    second = _ramp(image.shape[1], image.shape[0], along).mT.to(image.device)
    image = torch.fft.ifft(torch.fft.fft(image, dim=1) * first, dim=1)
    image = torch.fft.ifft(torch.fft.fft(image, dim=0) * second, dim=0)
    return torch.fft.ifft(torch.fft.fft(image, dim=1) * first, dim=1)


def _ramp(n_lines: int, n: int, shear: float) -> Complex[Tensor, "line frequency"]:
    """Return the phase that moves each line by ``shear`` times its distance from the middle one."""
    distance = torch.arange(n_lines) - n_lines // 2
    angle = -2 * math.pi * shear * distance[:, None] * torch.fft.fftfreq(n)
    return torch.complex(angle.cos(), angle.sin())


def _gain(images: Complex[Tensor, "batch y x"], exponent: Float[Tensor, "batch 1 1"]) -> Float[Tensor, "batch y x"]:
    """Return abs(x)^(g - 1); without limit it would make the background as bright as tissue."""
    power = images.real.square() + images.imag.square()
    return power.clamp_(min=DARK**2).log_().mul_((exponent - 1) / 2).exp_().clamp_(max=MAX_GAIN)


def _smooth(nodes: Float[Tensor, "batch v u"], shape: torch.Size) -> Float[Tensor, "batch y x"]:
    """Interpolate values at a few nodes to images, bicubically."""
    along_y, along_x = (_between_nodes(n).to(nodes.device) for n in shape[-2:])
    return along_y @ nodes @ along_x.mT


@cache
def _between_nodes(n: int) -> Float[Tensor, "n node"]:
    """Return the weights that interpolate ``n`` points between the nodes, bicubically."""
    nodes = torch.eye(NODES)[None, None]
    return interpolate(nodes, size=(n, NODES), mode="bicubic", align_corners=True)[0, 0]
