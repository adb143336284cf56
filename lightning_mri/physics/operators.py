"""Linear operators from image to k-space: adjoint, product, Fourier transform and weights of k-space.

An operator is called on an image, `A(x)`; its adjoint on k-space, `A.H(y)`; `A.normal(x)` is A.H(A(x)) by the
shortest way. Everything stays complex64: real factors are held in single precision.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, reduce
from itertools import takewhile
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.physics.fourier import AXES, fft2c, ifft2c

Shape = tuple[int, ...]
Kind = TypeVar("Kind", bound="LinearOperator")


class LinearOperator(ABC):
    """A linear map A with an exact adjoint.

    Attributes:
        image_ndim: Number of last axes that make up one image: 2, or 3 where it has several sets.
        slice_ndim: Number of axes that its tensors have for a slice, where they may differ by slice.
    """

    image_ndim: int = 2
    slice_ndim: ClassVar[int | None] = None

    @abstractmethod
    def __call__(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return A x."""

    @abstractmethod
    def adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return A^H y."""

    def normal(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return A^H A x."""
        return self.adjoint(self(x))

    def around(self, middle: Callable[[Tensor], Tensor], x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return A^H K A x for a linear map K that acts on each coil by itself."""
        return self.adjoint(middle(self(x)))

    def image_shape(self, data_shape: Shape) -> Shape:
        """Return the shape of A^H y for y of shape ``data_shape``."""
        return data_shape

    def rows(self: Kind, which: Sequence[int]) -> Kind:
        """Return the operator of some slices of a batch; the same one, unless a class says how it differs by slice."""
        if self.slice_ndim is None:
            return self
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        differs = {name: x for name, x in values.items() if x.ndim > self.slice_ndim and len(x) > 1}
        return replace(self, **{name: x[list(which)] for name, x in differs.items()})  # type: ignore[type-var]

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

    def rows(self, which: Sequence[int]) -> "Adjoint":
        """Return the adjoint of some slices of a batch."""
        return Adjoint(self.operator.rows(which))

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        """The operator itself."""
        return self.operator


class Weights(LinearOperator):
    """Multiply k-space by real weights."""

    weights: Float[Tensor, "*batch 1 y x"]

    def __call__(self, x: Complex[Tensor, "*data coil y x"]) -> Complex[Tensor, "*_ coil y x"]:
        """Return W k."""
        return x * self.weights

    def adjoint(self, y: Complex[Tensor, "*data coil y x"]) -> Complex[Tensor, "*_ coil y x"]:
        """Return W k."""
        return y * self.weights


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
class Composition(LinearOperator):
    """A product of operators, the last one applied first.

    Where it has the form W F B with real weights W in k-space, `normal` is B^H (F^H W^2 F) B without any
    shift, and its transform is one-dimensional where the weights do not depend on y. That is decided once.
    Of other products g A B, such as one with a trajectory of your own, it is g^2 B^H (A^H A) B with single numbers g,
    by `LinearOperator.normal` of A.

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
        middle, right = self.gram
        if not right:
            return x if middle is None else middle(x)
        if middle is None:
            gain, (first, *rest) = _without_gain(right)
            x = _apply_adjoint(rest, first.normal(_apply(rest, x)))
            return x if gain is None else gain * x
        first, rest = right[0], list(right[1:])
        return _apply_adjoint(rest, first.around(middle, _apply(rest, x)))

    def rows(self, which: Sequence[int]) -> "Composition":
        """Return the product of the factors of some slices of a batch."""
        return Composition(tuple(factor.rows(which) for factor in self.parts))

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
    def gram(self) -> "tuple[Filter | None, tuple[LinearOperator, ...]]":
        """The Hermitian K (None for the identity) and the factors B of the normal operator B^H K B."""
        position = next((i for i, factor in enumerate(self.parts) if isinstance(factor, Fourier)), None)
        left = [factor.weights for factor in self.parts[:position] if isinstance(factor, Weights)]
        if position is None or len(left) < position:
            return None, self.parts
        middle = Filter(reduce(torch.mul, left).square()) if left else None
        return middle, self.parts[position + 1 :]


def _without_gain(factors: Sequence[LinearOperator]) -> tuple[Tensor | None, Sequence[LinearOperator]]:
    """Return g^2 of the single numbers g in front of other factors, None if there are none, and the others."""
    gains = list(takewhile(lambda each: isinstance(each, Weights) and each.weights.numel() == 1, factors[:-1]))
    numbers = [each.weights for each in gains if isinstance(each, Weights)]
    return reduce(torch.mul, numbers).square() if numbers else None, factors[len(gains) :]


class Filter:
    """F^H W F x for real weights W in centred k-space: the shifts of image and k-space cancel."""

    def __init__(self, weights: Tensor) -> None:
        is_1d = weights.shape[-2] > 1 and bool((weights == weights[..., :1, :]).all())
        self.axes = (-1,) if is_1d else AXES
        weights = weights[..., :1, :] if is_1d else weights
        self.weights = torch.fft.ifftshift(weights, self.axes)

    def __call__(self, x: Complex[Tensor, "*image y x"]) -> Complex[Tensor, "*image y x"]:
        """Return F^H W F x."""
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
