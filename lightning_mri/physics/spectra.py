"""Power spectra of objects before any scanner: a power law, or one measured at high field."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics.fourier import fft2c

LOWEST_FREQUENCIES = 3  # samples around the centre of k-space, which follow the object's shape and not its edges
N_SCORING, MAX_STEP = 30, 2.0  # of Fisher scoring, which converged in 6 steps on Gaussian objects of 72 x 60 pixels


class Spectrum(ABC):
    """How the power of objects of one kind falls off in k-space, before any scanner.

    Attributes:
        has_direction: Whether the power may fall off differently along the two axes.
    """

    has_direction: bool = True

    @abstractmethod
    def log_powers(self, shape: tuple[int, int], pixel_size: tuple[float, float]) -> Float[Tensor, "object y x"]:
        """Return the logarithm of the power of several such objects, each up to a constant.

        Their mean is what is expected, and their differences cannot be distinguished from effects of the scanner.

        Args:
            shape: Matrix (y, x).
            pixel_size: Size of a pixel (y, x) in mm.
        """


@dataclass(frozen=True)
class PowerLaw(Spectrum):
    """Power like abs(k)^-exponent, alike in all directions.

    Edges give an exponent of 3 in two dimensions (van der Schaaf and van Hateren 1996 found 2 to 3 in photographs).

    Args:
        exponent: Of the power.
        std: By how much it differs between objects.
    """

    exponent: float = 3.0
    std: float = 0.3

    @property
    def has_direction(self) -> bool:  # type: ignore[override]
        """No: brains are not round."""
        return False

    def __post_init__(self) -> None:
        if not (0 < self.exponent < math.inf and 0 < self.std < math.inf):
            raise ValueError(f"exponent and std must be finite and positive: got {self.exponent} and {self.std}")

    def log_powers(self, shape: tuple[int, int], pixel_size: tuple[float, float]) -> Float[Tensor, "object y x"]:
        """Return the powers one standard deviation to either side."""
        y, x = frequencies(shape, pixel_size)
        k2 = (y.square() + x.square()).clamp(min=1e-12)
        # two objects at +- std / sqrt(2) have this standard deviation
        exponents = [self.exponent + sign * self.std / math.sqrt(2) for sign in (-1, 1)]
        return torch.stack([-p / 2 * k2.log() for p in exponents])


@dataclass(frozen=True, eq=False)
class MeasuredSpectrum(Spectrum):
    """The power of objects that were measured without blur and decay, such as at high field.

    It is smooth: a polynomial in the logarithm of the frequency, different along the two axes. Each object is fitted
    by itself, so that it is known how they differ.

    Args:
        coefficients: Of the polynomial, one row an object.
        corner: Frequency below which the spectrum is flat, in cycles per mm.
        largest: Highest frequencies (y, x) that were measured, in cycles per mm.
    """

    coefficients: Float[Tensor, "object term"]
    corner: float
    largest: tuple[float, float]

    @classmethod
    def of(
        cls, objects: Sequence[Complex[Tensor, "_slice _y _x"]], pixel_size: tuple[float, float]
    ) -> "MeasuredSpectrum":
        """Measure the spectrum of images, all in the orientation of the scans to estimate from.

        Args:
            objects: Slices of each of at least two objects, with hardly any noise.
            pixel_size: Size of a pixel (y, x) in mm.
        """
        shapes = {tuple(images.shape[-2:]) for images in objects}
        if len(objects) < 2 or len(shapes) != 1:
            raise ValueError(
                "a reference must hold at least two objects of one matrix, since how they differ limits what can be"
                f" known: got {len(objects)} of {sorted(shapes)}"
            )
        shape = (objects[0].shape[-2], objects[0].shape[-1])
        y, x = frequencies(shape, pixel_size)
        corner = 1 / min(n * edge for n, edge in zip(shape, pixel_size, strict=True))
        used = outside_centre(shape)
        terms = _terms(y, x, corner)[:, used]
        fits = []
        for images in objects:
            power = fft2c(images).abs().square().double()
            power = power / power.mean((-2, -1), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
            if not bool((power.sum((-2, -1)) > 0).all()):
                raise ValueError("a reference must hold no empty slice: got one that is all zero")
            fits.append(_fit_smooth(power.mean(0)[used], terms))
        return cls(torch.stack(fits).float(), corner, (float(y.abs().max()), float(x.abs().max())))

    def log_powers(self, shape: tuple[int, int], pixel_size: tuple[float, float]) -> Float[Tensor, "object y x"]:
        """Return the fitted powers.

        Raises:
            ValueError: If higher frequencies are asked for than were measured.
        """
        y, x = frequencies(shape, pixel_size)
        asked = (float(y.abs().max()), float(x.abs().max()))
        if any(ours > 1.01 * theirs for ours, theirs in zip(asked, self.largest, strict=True)):
            raise ValueError(
                "a reference must resolve what the scan does: got frequencies up to"
                f" {asked[0]:.3g} x {asked[1]:.3g} cycles per mm, and a reference up to"
                f" {self.largest[0]:.3g} x {self.largest[1]:.3g}"
            )
        return torch.einsum("ot,tyx->oyx", self.coefficients, _terms(y, x, self.corner).float())


def frequencies(
    shape: tuple[int, int], pixel_size: tuple[float, float]
) -> tuple[Float[Tensor, "y 1"], Float[Tensor, "1 x"]]:
    """Return the frequencies along y and x in cycles per mm."""
    y, x = ((torch.arange(n).double() - n // 2) / (n * edge) for n, edge in zip(shape, pixel_size, strict=True))
    return y[:, None], x[None]


def outside_centre(shape: tuple[int, int]) -> Bool[Tensor, "y x"]:
    """Return which samples of a matrix (y, x) say how the power falls off: all but those of lowest frequency."""
    y, x = (torch.arange(n) - n // 2 for n in shape)
    return y[:, None].square() + x.square() > LOWEST_FREQUENCIES**2


def _fit_smooth(power: Tensor, terms: Tensor) -> Tensor:
    """Return the coefficients of the logarithm of a power [sample] of largest likelihood, by Fisher scoring."""
    tiny = torch.finfo(power.dtype).tiny
    values = torch.linalg.lstsq(terms.mT, power.clamp(min=tiny).log()[:, None]).solution[:, 0]
    for _ in range(N_SCORING):
        gradient = terms @ (power / (values @ terms).exp() - 1)
        values = values + torch.linalg.solve(terms @ terms.mT, gradient).clamp(-MAX_STEP, MAX_STEP)
    return values


def _terms(y: Tensor, x: Tensor, corner: float) -> Tensor:
    """Return the polynomial of a smooth spectrum [term, y, x]."""
    k2 = y.square() + x.square()
    u = (k2 / corner**2 + 1).log()
    direction = (y.square() - x.square()) / k2.clamp(min=1e-12)
    quarter = 2 * direction.square() - 1
    return torch.stack([u**0, u, u**2, u**3, direction, direction * u, quarter, quarter * u])
