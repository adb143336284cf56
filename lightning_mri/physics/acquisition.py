"""The factors of an MRI acquisition, A = Mask @ Damping @ Fourier @ Maps @ Phase.

Leading axes broadcast: an image [sample, batch, y, x] goes with maps [batch, set, coil, y, x].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics.operators import Composition, Fourier, LinearOperator, Shape, Weights

BLOCK = 2**18  # complex values of a few coils; large ones all at once cost most of their time in fresh memory
FWHM_PER_STD = math.sqrt(8 * math.log(2))  # of a Gaussian


@dataclass(frozen=True, eq=False)
class Mask(Weights):
    """Keep acquired samples and zero the others.

    Args:
        mask: True where a sample was acquired; a batch of masks where it differs by slice.
    """

    mask: Bool[Tensor, "*batch 1 y x"]
    slice_ndim = 3

    @cached_property
    def weights(self) -> Float[Tensor, "*batch 1 y x"]:  # type: ignore[override]
        """The mask as real weights of 0 and 1."""
        return self.mask.to(torch.float32)


@dataclass(frozen=True, eq=False)
class Damping(Weights):
    """Multiply k-space by real weights: loss of resolution, decay along the readout.

    Several effects are one operator with the product of their weights.

    Args:
        weights: Gain of each sample, 1 = none lost.
    """

    weights: Float[Tensor, "*batch 1 y x"]
    slice_ndim = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", self.weights.to(torch.float32))

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
        if not (fwhm_mm >= 0 and all(length > 0 for length in voxel_mm)):
            raise ValueError(f"fwhm_mm must be >= 0 and voxel_mm > 0: got {fwhm_mm} and {voxel_mm}")
        std = fwhm_mm / FWHM_PER_STD
        frequencies = (_centred(n) / (n * voxel) for n, voxel in zip(shape, voxel_mm, strict=True))
        return cls(torch.outer(*(torch.exp(-2 * (math.pi * std * k) ** 2) for k in frequencies))[None])

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
        if not (t2star_s > 0 and dwell_s > 0):
            raise ValueError(f"t2star_s and dwell_s must be positive: got {t2star_s} and {dwell_s}")
        gain = torch.exp(-_centred(shape[0]).abs() * dwell_s / t2star_s)
        return cls(gain[None, :, None].repeat(1, 1, shape[1]))


@dataclass(frozen=True, eq=False)
class Maps(LinearOperator):
    """Weight an image by each coil's sensitivity, x_c = sum over sets of S_sc x_s.

    With one set the image is [*batch, y, x]; with several it is [*batch, set, y, x].

    Args:
        maps: Coil sensitivities S.
    """

    maps: Complex[Tensor, "*batch set coil y x"]
    slice_ndim = 4

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
        return _weighted(self.maps, x)

    def adjoint(self, y: Complex[Tensor, "*data y x"]) -> Complex[Tensor, "*image y x"]:
        """Return the coil images combined, x_s = sum over coils of conj(S_sc) y_c."""
        return _combined(self._conjugate, y)

    def around(self, middle: Callable[[Tensor], Tensor], x: Complex[Tensor, "*image y x"]) -> Complex[Tensor, "..."]:
        """Return S^H K S x; on a CPU few coils at a time, in a third of the time where they are many and large."""
        n_coils = self.maps.shape[-3]
        n = n_coils if x.is_cuda else min(max(BLOCK // x.numel(), 1), n_coils)
        parts = zip(self.maps.split(n, -3), self._conjugate.split(n, -3), strict=True)
        return reduce(torch.add, (_combined(conjugate, middle(_weighted(maps, x))) for maps, conjugate in parts))

    def image_shape(self, data_shape: Shape) -> Shape:
        """Return [*batch, (set,) y, x] for data [*batch, coil, y, x]."""
        sets = (self.n_sets,) if self.n_sets > 1 else ()
        return (*data_shape[:-3], *sets, *data_shape[-2:])


def _weighted(maps: Tensor, x: Tensor) -> Tensor:
    """Return x_c = sum over sets of S_sc x_s."""
    if maps.shape[-4] == 1:
        return maps[..., 0, :, :, :] * x[..., None, :, :]
    return (maps * x[..., None, :, :]).sum(-4)


def _combined(conjugate: Tensor, y: Tensor) -> Tensor:
    """Return x_s = sum over coils of conj(S_sc) y_c."""
    if conjugate.shape[-4] == 1:
        return (conjugate[..., 0, :, :, :] * y).sum(-3)
    return (conjugate * y[..., None, :, :, :]).sum(-3)


@dataclass(frozen=True, eq=False)
class Phase(LinearOperator):
    """Multiply the image by exp(i phase).

    Args:
        phase: Phase in radians; for an image of several sets with an axis of 1 in front of (y, x).
    """

    phase: Float[Tensor, "*batch y x"]
    slice_ndim = 2

    @cached_property
    def factor(self) -> Complex[Tensor, "*batch y x"]:
        """exp(i phase)."""
        phase = self.phase.to(torch.float32)
        return torch.polar(torch.ones_like(phase), phase)

    @cached_property
    def _conjugate(self) -> Tensor:
        return self.factor.conj().resolve_conj()

    def __call__(self, x: Complex[Tensor, "*image y x"]) -> Complex[Tensor, "*_ y x"]:
        """Return exp(i phase) x."""
        return x * self.factor

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
    parts = {
        "mask": mask,
        "damping": None if damping is None else damping.weights,
        "phase": None if phase is None else phase.phase,
    }
    for name, part in parts.items():
        if part is not None and tuple(part.shape[-2:]) != tuple(maps.shape[-2:]):
            shapes = f"maps {tuple(maps.shape)} and {name} {tuple(part.shape)}"
            raise ValueError(f"maps and {name} must agree on (y, x): got {shapes}")
    if phase is not None and maps.shape[-4] > 1:
        phase = Phase(phase.phase[..., None, :, :])
    factors = (None if mask is None else Mask(mask), damping, Fourier(), Maps(maps), phase)
    return Composition(tuple(factor for factor in factors if factor is not None))


def _centred(n: int) -> Tensor:
    """Indices counted from the centre, n // 2."""
    return torch.arange(n, dtype=torch.float32) - n // 2
