"""Power spectra of objects before any scanner: a power law, or one measured at high field."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.lazy import lazy
from lightning_mri.physics.fourier import fft2c

special = lazy("scipy.special")

REAL = 1e-3  # imaginary part over magnitude, largest of each, up to which images are real
LOWEST_FREQUENCIES = 3  # samples around the centre of k-space, which follow the object's shape and not its edges
FALL = 1.85  # of power to all lines beyond, where images were interpolated: 2.05 in magnitudes of mice, 1.7 before
N_SCORING = 30  # steps of Fisher scoring, which converged in 6 on Gaussian objects of 72 x 60 pixels


class Spectrum(ABC):
    """How the power of objects of one kind falls off in k-space, before any scanner.

    Attributes:
        has_direction: Whether the power may fall off differently along the two axes.
        has_phase: Whether `ratios` show how uneven the phase of such objects makes their spectra.
        widening: What the standard deviation of the objects is multiplied by, so that two of them hold 95 %.
    """

    has_direction: bool = True
    has_phase: bool = False
    widening: float = 1.0

    @abstractmethod
    def log_powers(self, shape: tuple[int, int], pixel_size: tuple[float, float]) -> Float[Tensor, "object y x"]:
        """Return the logarithm of the power of several such objects, each up to a constant.

        Their mean is what is expected.

        Args:
            shape: Matrix (y, x).
            pixel_size: Size of a pixel (y, x) in mm.
        """

    def ratios(self, shape: tuple[int, int], pixel_size: tuple[float, float]) -> Float[Tensor, "object y x"]:
        """Return the power of several such objects over the expected one, each up to a factor.

        They cannot be distinguished from effects of the scanner. Arguments are those of `log_powers`.
        """
        powers = self.log_powers(shape, pixel_size)
        return (powers - powers.mean(0)).exp()


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
    by itself, so that it is known how they differ, and what is left of its power is kept: no object is as smooth.

    Args:
        coefficients: Of the polynomial, one row an object.
        remainder: Power over the polynomial at each sample.
        fov: Field of view (y, x) in mm; below the inverse of the smaller one the polynomial is flat.
        largest: Highest frequencies (y, x) that were measured, in cycles per mm.
        has_phase: Whether the images are complex.
    """

    coefficients: Float[Tensor, "object term"]
    remainder: Float[Tensor, "object y x"]
    fov: tuple[float, float]
    largest: tuple[float, float]
    has_phase: bool = True

    @property
    def widening(self) -> float:  # type: ignore[override]
        """As Student's t has it, since few objects hardly show how they differ; and their mean is not known, either."""
        n = len(self.coefficients)
        return float(special.stdtrit(n - 1, 0.975)) / 2 * math.sqrt(1 + 1 / n)

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
        fov = (shape[0] * pixel_size[0], shape[1] * pixel_size[1])
        terms = _terms(y, x, 1 / min(fov))
        powers, fits, remainders = [], [], []
        for images in objects:
            power = fft2c(images).abs().square().double()
            power = power / power.mean((-2, -1), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
            if not bool((power.sum((-2, -1)) > 0).all()):
                raise ValueError("a reference must hold no empty slice: got one that is all zero")
            powers.append(power.mean(0))
        edge = [_edge(torch.stack(powers).sum((0, axis))) for axis in (2, 1)]
        within = (y.abs() * fov[0] < edge[0] - 0.5) & (x.abs() * fov[1] < edge[1] - 0.5)
        used = outside_centre(shape) & within
        for power in powers:
            fits.append(_fit_smooth(power[used], terms[:, used]))
            remainders.append(power / torch.einsum("t,tyx->yx", fits[-1], terms).exp())
        largest = (min(edge[0] + 1, shape[0] // 2) / fov[0], min(edge[1] + 1, shape[1] // 2) / fov[1])
        has_phase = all(float(images.imag.abs().max()) > REAL * float(images.abs().max()) for images in objects)
        return cls(torch.stack(fits).float(), torch.stack(remainders), fov, largest, has_phase)

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
        return torch.einsum("ot,tyx->oyx", self.coefficients, _terms(y, x, 1 / min(self.fov)).float())

    def ratios(self, shape: tuple[int, int], pixel_size: tuple[float, float]) -> Float[Tensor, "object y x"]:
        """Return what was measured over the mean of the fitted powers, at the nearest frequencies."""
        fitted = self.log_powers(shape, pixel_size)
        rows, columns = (
            (k.flatten() * extent + n // 2).round().long().clamp(0, n - 1)
            for k, extent, n in zip(frequencies(shape, pixel_size), self.fov, self.remainder.shape[1:], strict=True)
        )
        return self.remainder[:, rows[:, None], columns] * (fitted - fitted.mean(0)).exp()


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


def _edge(power: Tensor) -> int:
    """Return from which distance to the centre on lines of k-space hold nothing, as those that interpolate an image."""
    n = len(power)
    both = power[n // 2 :] + power[: n // 2 + 1].flip(0)[: n - n // 2]
    beyond = both.flip(0).cummax(0).values.flip(0)[1:]
    falls = both[:-1] / beyond.clamp(min=torch.finfo(power.dtype).tiny)
    falls[: n // 8] = 0
    return int(falls.argmax()) if float(falls.max()) > FALL else n // 2 + 1


def _fit_smooth(power: Tensor, terms: Tensor) -> Tensor:
    """Return the coefficients of the logarithm of a power [sample] of largest likelihood, by Fisher scoring."""
    power = power.clamp(min=torch.finfo(power.dtype).tiny)

    def loss(values: Tensor) -> float:
        return float((values @ terms + power * (-values @ terms).exp()).sum())

    values = torch.linalg.lstsq(terms.mT, power.log()[:, None]).solution[:, 0]
    for _ in range(N_SCORING):
        step = torch.linalg.solve(terms @ terms.mT, terms @ (power * (-values @ terms).exp() - 1))
        while loss(values + step) > loss(values):  # which is convex: a shorter step is better
            step = step / 2
        values = values + step
    return values


def _terms(y: Tensor, x: Tensor, corner: float) -> Tensor:
    """Return the polynomial of a smooth spectrum [term, y, x]."""
    k2 = y.square() + x.square()
    u = (k2 / corner**2 + 1).log()
    direction = (y.square() - x.square()) / k2.clamp(min=1e-12)
    quarter = 2 * direction.square() - 1
    return torch.stack([u**0, u, u**2, u**3, direction, direction * u, quarter, quarter * u])
