"""Linear operators from image to k-space, and the factors A = Mask @ Damping @ Fourier @ Maps @ Phase of MRI.

An operator is called on an image, `A(x)`; its adjoint on k-space, `A.H(y)`; `A.normal(x)` is A.H(A(x)) by the
shortest way. Leading axes broadcast: an image [sample, batch, y, x] goes with maps [batch, set, coil, y, x].
Everything stays complex64: real factors are held in single precision.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, reduce
from typing import TypeVar

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics.fourier import AXES, fft2c, ifft2c

Shape = tuple[int, ...]
Kind = TypeVar("Kind", bound="LinearOperator")

FWHM_PER_STD = math.sqrt(8 * math.log(2))


class LinearOperator(ABC):
    """A linear map A with an exact adjoint.

    Attributes:
        image_ndim: Number of last axes that make up one image: 2, or 3 where it has several sets.
    """

    image_ndim: int = 2

    @abstractmethod
    def __call__(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return A x."""

    @abstractmethod
    def adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return A^H y."""

    def normal(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return A^H A x."""
        return self.adjoint(self(x))

    def image_shape(self, data_shape: Shape) -> Shape:
        """Return the shape of A^H y for y of shape ``data_shape``."""
        return data_shape

    @property
    def H(self) -> "LinearOperator":  # noqa: N802
        """The adjoint as an operator."""
        return Adjoint(self)

    @property
    def factors(self) -> "tuple[LinearOperator, ...]":
        """The factors whose product this is, the last one applied first."""
        return (self,)

    def __matmul__(self, other: "LinearOperator") -> "Composition":
        """Return the product A B, which applies ``other`` first."""
        return Composition((*self.factors, *other.factors))

    def find(self, kind: type[Kind]) -> Kind | None:
        """Return the first factor of this kind, or None."""
        return next((factor for factor in self.factors if isinstance(factor, kind)), None)

    def replace(self, kind: "type[LinearOperator]", new: "LinearOperator") -> "Composition":
        """Return the product with ``new`` in place of the first factor of this kind.

        Raises:
            ValueError: If there is no such factor.
        """
        found = self.find(kind)
        if found is None:
            names = [type(factor).__name__ for factor in self.factors]
            raise ValueError(f"kind must be one of the factors {names}: got {kind.__name__}")
        return Composition(tuple(new if factor is found else factor for factor in self.factors))

    def to(self: Kind, device: torch.device | str) -> Kind:
        """Return the operator with its tensors on ``device``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        moved = {name: _to(value, device) for name, value in values.items()}
        return replace(self, **moved)  # type: ignore[type-var]


def _to(value: object, device: torch.device | str) -> object:
    if isinstance(value, tuple):
        return tuple(_to(item, device) for item in value)
    return value.to(device) if isinstance(value, Tensor | LinearOperator) else value


@dataclass(frozen=True, eq=False)
class Adjoint(LinearOperator):
    """The adjoint A^H of an operator."""

    operator: LinearOperator

    def __call__(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return A^H x."""
        return self.operator.adjoint(x)

    def adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return A y."""
        return self.operator(y)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        """The operator itself."""
        return self.operator


@dataclass(frozen=True, eq=False)
class Mask(LinearOperator):
    """Keep acquired samples and zero the others.

    Args:
        mask: True where a sample was acquired.
    """

    mask: Bool[Tensor, "*batch 1 y x"]

    def __call__(self, x: Complex[Tensor, "*data coil y x"]) -> Complex[Tensor, "*_ coil y x"]:
        """Return M k."""
        return x * self.mask

    def adjoint(self, y: Complex[Tensor, "*data coil y x"]) -> Complex[Tensor, "*_ coil y x"]:
        """Return M k, since M is its own adjoint."""
        return y * self.mask

    @property
    def weights(self) -> Float[Tensor, "*batch 1 y x"]:
        """The mask as real weights of 0 and 1."""
        return self.mask.to(torch.float32)


@dataclass(frozen=True, eq=False)
class Damping(LinearOperator):
    """Multiply k-space by real weights: loss of resolution, decay along the readout.

    Several effects are one operator with the product of their weights.

    Args:
        weights: Gain of each sample, 1 = none lost.
    """

    weights: Float[Tensor, "*batch 1 y x"]

    def __post_init__(self) -> None:
        """Hold the weights in single precision."""
        object.__setattr__(self, "weights", self.weights.to(torch.float32))

    def __call__(self, x: Complex[Tensor, "*data coil y x"]) -> Complex[Tensor, "*_ coil y x"]:
        """Return D k."""
        return x * self.weights

    def adjoint(self, y: Complex[Tensor, "*data coil y x"]) -> Complex[Tensor, "*_ coil y x"]:
        """Return D k, since real weights are their own adjoint."""
        return y * self.weights

    @classmethod
    def gaussian(cls, shape: tuple[int, int], fwhm_mm: float, voxel_mm: tuple[float, float]) -> "Damping":
        """Blur the image with a Gaussian: exp(-2 (pi s k)^2), s = fwhm / sqrt(8 ln 2), k in cycles per mm.

        Args:
            shape: Matrix (y, x).
            fwhm_mm: Full width at half maximum of the point-spread function.
            voxel_mm: Voxel size (y, x).

        Raises:
            ValueError: If a length is not positive (the width may be 0, for no blur).
        """
        if fwhm_mm < 0 or min(voxel_mm) <= 0:
            raise ValueError(f"fwhm_mm must be >= 0 and voxel_mm > 0: got {fwhm_mm} and {voxel_mm}")
        std = fwhm_mm / FWHM_PER_STD
        gains = [
            torch.exp(-2 * (math.pi * std * _centred(n) / (n * voxel)) ** 2)
            for n, voxel in zip(shape, voxel_mm, strict=True)
        ]
        return cls(torch.outer(*gains)[None])

    @classmethod
    def t2star(cls, shape: tuple[int, int], t2star_s: float, dwell_s: float) -> "Damping":
        """Decay along the readout y like exp(-abs(t) / T2*), t counted from the echo at index y // 2.

        Args:
            shape: Matrix (y, x).
            t2star_s: Decay time T2* in seconds.
            dwell_s: Time between two samples of the readout in seconds.

        Raises:
            ValueError: If a time is not positive.
        """
        if t2star_s <= 0 or dwell_s <= 0:
            raise ValueError(f"t2star_s and dwell_s must be positive: got {t2star_s} and {dwell_s}")
        gain = torch.exp(-_centred(shape[0]).abs() * dwell_s / t2star_s)
        return cls(gain[None, :, None].repeat(1, 1, shape[1]))


@dataclass(frozen=True, eq=False)
class Fourier(LinearOperator):
    """The centred orthonormal Fourier transform F of the last two axes."""

    def __call__(self, x: Complex[Tensor, "*data y x"]) -> Complex[Tensor, "*data y x"]:
        """Return F x."""
        return fft2c(x)

    def adjoint(self, y: Complex[Tensor, "*data y x"]) -> Complex[Tensor, "*data y x"]:
        """Return F^H k."""
        return ifft2c(y)


@dataclass(frozen=True, eq=False)
class Maps(LinearOperator):
    """Weight an image by each coil's sensitivity, x_c = sum over sets of S_sc x_s.

    With one set the image is [*batch, y, x]; with several it is [*batch, set, y, x].

    Args:
        maps: Coil sensitivities S.
    """

    maps: Complex[Tensor, "*batch set coil y x"]

    @property
    def n_sets(self) -> int:
        """Number of sets of maps."""
        return self.maps.shape[-4]

    @property
    def image_ndim(self) -> int:  # type: ignore[override]
        """Number of last axes of one image: 2, or 3 with several sets."""
        return 2 if self.n_sets == 1 else 3

    @cached_property
    def _conjugate(self) -> Tensor:
        return self.maps.conj().resolve_conj()

    def __call__(self, x: Complex[Tensor, "*image y x"]) -> Complex[Tensor, "*data y x"]:
        """Return the coil images [*batch, coil, y, x]."""
        if self.n_sets == 1:
            return self.maps[..., 0, :, :, :] * x[..., None, :, :]
        return (self.maps * x[..., None, :, :]).sum(-4)

    def adjoint(self, y: Complex[Tensor, "*data y x"]) -> Complex[Tensor, "*image y x"]:
        """Return the coil images combined, x_s = sum over coils of conj(S_sc) y_c."""
        if self.n_sets == 1:
            return (self._conjugate[..., 0, :, :, :] * y).sum(-3)
        return (self._conjugate * y[..., None, :, :, :]).sum(-3)

    def image_shape(self, data_shape: Shape) -> Shape:
        """Return [*batch, (set,) y, x] for data [*batch, coil, y, x]."""
        sets = (self.n_sets,) if self.n_sets > 1 else ()
        return (*data_shape[:-3], *sets, *data_shape[-2:])


@dataclass(frozen=True, eq=False)
class Phase(LinearOperator):
    """Multiply the image by exp(i phase).

    Args:
        phase: Phase in radians; for an image of several sets with an axis of 1 in front of (y, x).
    """

    phase: Float[Tensor, "*batch y x"]

    @cached_property
    def _factor(self) -> Tensor:
        phase = self.phase.to(torch.float32)
        return torch.polar(torch.ones_like(phase), phase)

    @cached_property
    def _conjugate(self) -> Tensor:
        return self._factor.conj().resolve_conj()

    def __call__(self, x: Complex[Tensor, "*image y x"]) -> Complex[Tensor, "*_ y x"]:
        """Return exp(i phase) x."""
        return x * self._factor

    def adjoint(self, y: Complex[Tensor, "*image y x"]) -> Complex[Tensor, "*_ y x"]:
        """Return exp(-i phase) x."""
        return y * self._conjugate

    def normal(self, x: Complex[Tensor, "*image y x"]) -> Complex[Tensor, "*image y x"]:
        """Return x, since the operator is unitary."""
        return x

    @classmethod
    def b0(cls, f_hz: Float[Tensor, "*batch y x"], te_s: float) -> "Phase":
        """Off-resonance f(r) at the echo time: phase = 2 pi f TE.

        Args:
            f_hz: Offset from the scanner's frequency in Hz.
            te_s: Echo time in seconds.
        """
        return cls(2 * math.pi * f_hz * te_s)


@dataclass(frozen=True, eq=False)
class Composition(LinearOperator):
    """A product of operators, the last one applied first.

    Where it has the form W F B with real weights W in k-space, `normal` is B^H (F^H W^2 F) B without any
    shift, and its transform is one-dimensional where the weights do not depend on y. That is decided once.

    Args:
        parts: The operators, none of them a product itself; write ``A @ B`` to get there.
    """

    parts: tuple[LinearOperator, ...]

    def __call__(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return A x."""
        return _apply(self.parts, x)

    def adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return A^H y."""
        return _apply_adjoint(self.parts, y)

    def normal(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return A^H A x."""
        middle, right = self._gram
        x = _apply(right, x)
        return _apply_adjoint(right, x if middle is None else middle(x))

    def image_shape(self, data_shape: Shape) -> Shape:
        """Return the shape of A^H y for y of shape ``data_shape``."""
        for factor in self.parts:
            data_shape = factor.image_shape(data_shape)
        return data_shape

    @property
    def factors(self) -> tuple[LinearOperator, ...]:
        """The factors, the last one applied first."""
        return self.parts

    @property
    def image_ndim(self) -> int:  # type: ignore[override]
        """Number of last axes of one image."""
        return max(factor.image_ndim for factor in self.parts)

    @cached_property
    def _gram(self) -> "tuple[_Filter | None, tuple[LinearOperator, ...]]":
        """The Hermitian K (None for the identity) and the factors B of the normal operator B^H K B."""
        position = next((i for i, factor in enumerate(self.parts) if isinstance(factor, Fourier)), None)
        left = [factor.weights for factor in self.parts[:position] if isinstance(factor, Mask | Damping)]
        if position is None or len(left) < position:
            return None, self.parts
        middle = _Filter(reduce(torch.mul, left).square()) if left else None
        return middle, self.parts[position + 1 :]


class _Filter:
    """F^H W F x for real weights W in centred k-space: the shifts of image and k-space cancel."""

    def __init__(self, weights: Tensor) -> None:
        is_1d = weights.shape[-2] > 1 and bool((weights == weights[..., :1, :]).all())
        self.axes = (-1,) if is_1d else AXES
        weights = weights[..., :1, :] if is_1d else weights
        self.weights = torch.fft.ifftshift(weights, self.axes)

    def __call__(self, x: Tensor) -> Tensor:
        k = torch.fft.fftn(x, dim=self.axes, norm="ortho") * self.weights
        return torch.fft.ifftn(k, dim=self.axes, norm="ortho")


def _apply(factors: Sequence[LinearOperator], x: Tensor) -> Tensor:
    for factor in reversed(factors):
        x = factor(x)
    return x


def _apply_adjoint(factors: Sequence[LinearOperator], y: Tensor) -> Tensor:
    for factor in factors:
        y = factor.adjoint(y)
    return y


def _centred(n: int) -> Tensor:
    """Indices counted from the centre, n // 2."""
    return torch.arange(n, dtype=torch.float32) - n // 2


def sense(
    maps: Complex[Tensor, "*batch set coil y x"],
    mask: Bool[Tensor, "*mask_batch 1 _ _"] | None = None,
    damping: Damping | None = None,
    phase: Phase | None = None,
) -> Composition:
    """Build the acquisition A = Mask @ Damping @ Fourier @ Maps @ Phase without the factors that are None.

    This is SENSE (Pruessmann et al. 1999); one without a mask is fully sampled.

    Args:
        maps: Coil sensitivities; several sets give soft-SENSE, whose image is [*batch, set, y, x].
        mask: True where a sample was acquired; None for all.
        damping: Real weights of k-space.
        phase: Phase [*batch, y, x] of the image, the same for every set.

    Raises:
        ValueError: If the shapes (y, x) disagree.
    """
    size = tuple(maps.shape[-2:])
    parts: dict[str, Tensor | None] = {
        "mask": mask,
        "damping": None if damping is None else damping.weights,
        "phase": None if phase is None else phase.phase,
    }
    for name, part in parts.items():
        if part is not None and tuple(part.shape[-2:]) != size:
            shapes = f"maps {tuple(maps.shape)} and {name} {tuple(part.shape)}"
            raise ValueError(f"maps and {name} must agree on (y, x): got {shapes}")
    if phase is not None and maps.shape[-4] > 1:
        phase = Phase(phase.phase[..., None, :, :])
    factors = (None if mask is None else Mask(mask), damping, Fourier(), Maps(maps), phase)
    return Composition(tuple(factor for factor in factors if factor is not None))
