"""Slices ready for a sampler or a baseline: their likelihood in image units, and the way back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.messages import count
from lightning_mri.physics import Acs, Fourier, GaussianLikelihood, Maps, Mask, estimate_maps
from lightning_mri.reconstruction.findings import ProblemFindings
from lightning_mri.tensors import centre_crop, centre_pad

Image = Complex[Tensor, "..."] | Float[Tensor, "..."]

LOWEST_NOISE = 1e-4
"""Noise level below which data count as noise-free, in image units; the proximal problems need some."""


def finished_size(wanted: tuple[int, int] | None, shape: Sequence[int]) -> tuple[int, int]:
    """Return the matrix of the finished image of data [..., y, x]: as wanted, if at all, but nowhere larger.

    Raises:
        ValueError: If what is wanted is not two positive integers.
    """
    rows, columns = shape[-2:]
    if wanted is None:
        return rows, columns
    sides = list(wanted) if isinstance(wanted, Sequence) else []
    if len(sides) != 2 or not all(isinstance(n, Integral) and n >= 1 for n in sides):
        raise ValueError(f"size must be two positive integers (y, x): got {wanted!r}")
    return min(int(sides[0]), rows), min(int(sides[1]), columns)


@dataclass(frozen=True, eq=False)
class CalibrationLines:
    """Samples that coil maps are found from, whitened and of the coils of the likelihood, in any unit."""

    kspace: Complex[Tensor, "batch coil y x"]  # K-space, zero where nothing was measured
    mask: Bool[Tensor, "1 y x"]  # true where it was measured
    noise_std: Float[Tensor, " batch"]  # noise of each real channel, in the unit of ``kspace``

    def maps(self, acs: Acs, n_sets: int) -> Complex[Tensor, "batch set coil y x"]:
        """Return ESPIRiT's maps of a block."""
        return estimate_maps(self.kspace, self.mask, acs.limited(), self.noise_std, n_sets)

    def cropped(self, size: tuple[int, int]) -> "CalibrationLines":
        """Return the central samples alone."""
        return replace(self, kspace=centre_crop(self.kspace, size), mask=centre_crop(self.mask, size))


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """A batch of slices, ready for a sampler or a baseline.

    Args:
        likelihood: Whitened measurement in image units, y / scale, and the acquisition.
        scale: Image in units of the input k-space = ``scale`` * x.
        maps: Coil sensitivities, as in the likelihood.
        noise_std: Noise of each real channel, in units of the input k-space.
        acs: Calibration block.
        mask: What was acquired, as the input has it, of each slice where they differ; the likelihood's may be cropped
            along the readout.
        size: Matrix (y, x) of the finished image.
        findings: What was found and chosen.
        seconds: Time that the preparation of a slice took.
        warnings: What was found wrong with each slice's samples, sentences.
        apart: Lines that were measured for the coil maps alone, if any.
        phase: exp(i phi) by which a finished image differs from x, whose smooth phase the maps hold; None for none.
    """

    likelihood: GaussianLikelihood
    scale: Float[Tensor, " batch"]
    maps: Complex[Tensor, "batch set coil y x"]
    noise_std: Float[Tensor, " batch"]
    acs: Acs
    mask: Bool[Tensor, "_masks _y _x"]
    size: tuple[int, int]
    findings: ProblemFindings
    seconds: float = 0.0
    warnings: tuple[tuple[str, ...], ...] = ()
    apart: CalibrationLines | None = None
    phase: Complex[Tensor, "batch _v _u"] | None = None

    @property
    def calibration(self) -> CalibrationLines:
        """What coil maps are found from: lines measured apart, else the measurement itself."""
        return self.apart or CalibrationLines(self.likelihood.y, self.acquired, self.likelihood.noise_std)

    def __repr__(self) -> str:
        return f"Problem of {count(len(self.scale), 'slice')}\n{self.findings.text()}"

    @property
    def acceleration(self) -> float:
        """Achieved R."""
        return self.findings.acceleration

    @property
    def acquired(self) -> Bool[Tensor, "1 v x"]:
        """Mask at the matrix that is reconstructed, which may be cropped along the readout."""
        factor = self.likelihood.A.find(Mask)
        assert factor is not None, "scans are prepared with a mask"
        return factor.mask

    @property
    def is_parallel(self) -> bool:
        """Whether this is plain parallel imaging, A = Mask @ Fourier @ Maps with one mask for all slices."""
        factor = self.likelihood.A.find(Mask)
        plain = all(isinstance(each, Mask | Fourier | Maps) for each in self.likelihood.A.factors)
        return plain and factor is not None and factor.mask.ndim == 3

    def only(self, row: int) -> "Problem":
        """Return one slice of a problem of parallel imaging, with its maps as calibrated."""
        which, likelihood, apart = slice(row, row + 1), self.likelihood, self.apart
        A = likelihood.A.replace(Maps, Maps(self.maps[which]))
        return replace(
            self,
            likelihood=GaussianLikelihood(A, likelihood.y[which], likelihood.noise_std[which]),
            scale=self.scale[which],
            maps=self.maps[which],
            noise_std=self.noise_std[which],
            apart=apart and replace(apart, kspace=apart.kspace[which], noise_std=apart.noise_std[which]),
            phase=None if self.phase is None else self.phase[which],
        )

    def to_image_units(self, image: Complex[Tensor, "batch _y _x"]) -> Complex[Tensor, "batch y x"]:
        """Return an image in units of the input k-space as samplers and baselines see it; the inverse of `finish`."""
        matrix = (self.likelihood.y.shape[-2], self.likelihood.y.shape[-1])
        x = centre_pad(image / self.scale[:, None, None], matrix)
        return x if self.phase is None else x * self.phase.conj()

    def finish(self, x: Image) -> Image:
        """Return images in units of the input k-space at the matrix of the finished image.

        Sets of maps are combined as root sum of squares, complex images with the phase of the first set.

        Args:
            x: Images [*sample, batch, (set,) y, x] in image units, or their standard deviation.
        """
        if self.maps.shape[-4] > 1:
            magnitude = torch.linalg.vector_norm(x, dim=-3)
            x = torch.polar(magnitude, x[..., 0, :, :].angle()) if x.is_complex() else magnitude
        elif self.phase is not None and x.is_complex():
            x = x * self.phase
        return centre_crop(x * self.scale[:, None, None], self.size)
