"""Slices that nothing can be found in, such as air or zeros: found, and zero-filled among the others."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from lightning_mri.physics import Fourier, LinearOperator, Mask, achieved_acceleration, ifft2c
from lightning_mri.reconstruction.draws import NOTHING, label_of
from lightning_mri.reconstruction.findings import ReconstructionFindings
from lightning_mri.reconstruction.problem import finished_size
from lightning_mri.reconstruction.result import Reconstruction
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import TINY, centre_crop, root_sum_of_squares, squared_norm

if TYPE_CHECKING:
    from lightning_mri.reconstruction.reconstructor import Reconstructor

MAX_STEPS = 2**12
"""Largest multiple of one step up to which samples are called quantised."""


class UnusableSlicesError(ValueError):
    """Slices of a batch that nothing can be found in, such as air or zeros.

    Args:
        reasons: Why, by the place in the batch.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        row, reason = next(iter(reasons.items()))
        super().__init__(f"slice {row} of the batch cannot be reconstructed: {reason}")
        self.reasons = dict(reasons)

    def __reduce__(self) -> tuple[type, tuple[dict[int, str]]]:
        """Pickle the reasons, as which the message is made again in the process that is told."""
        return type(self), (self.reasons,)


class UncalibratedError(ValueError):
    """Scans with some lines around the centre of k-space, but too few to find coil maps from."""


def check_samples(acquired: Complex[Tensor, "batch coil y x"], mask: Bool[Tensor, "#batch y x"]) -> None:
    """Validate measured slices."""
    finite = torch.isfinite(torch.view_as_real(acquired)).flatten(1).all(1)
    n_filled, n_sampled = (acquired != 0).any(1).flatten(1).sum(1), mask.flatten(1).sum(1).expand(len(acquired))
    reasons = {}
    found = zip(finite.tolist(), n_filled.tolist(), n_sampled.tolist(), strict=True)
    for row, (is_finite, n, n_acquired) in enumerate(found):
        if not is_finite:
            reasons[row] = "NaN or infinity among acquired samples"
        elif n == 0:
            reasons[row] = "no signal: k-space is all zero"
        elif 2 * n < n_acquired:
            n_steps, share = _quantised(acquired[row]), f"{n_acquired - n} of {n_acquired} acquired samples"
            reasons[row] = (
                f"k-space is digitised too coarsely: multiples of one step up to {n_steps}, and {share} zero"
                if n_steps
                else f"mask and kspace must agree on what was acquired: kspace is zero in {share} of the mask"
            )
    if reasons:
        raise UnusableSlicesError(reasons)


def check_slices(usable: Bool[Tensor, " batch"], reason: str) -> None:
    """Refuse slices that are not usable, for one reason."""
    if not bool(usable.all()):
        raise UnusableSlicesError(dict.fromkeys((~usable).nonzero().flatten().tolist(), reason))


def _quantised(kspace: Tensor) -> int | None:
    """Return the largest number of steps, if all real and imaginary parts are integer multiples of one step."""
    parts = torch.view_as_real(kspace).abs().flatten().double()
    parts = parts[parts > 0]
    steps = parts / parts.min()
    is_integer = bool(((steps - steps.round()).abs() < 1e-3 * steps.clamp(max=100)).all())
    return int(steps.max().round()) if is_integer and float(steps.max()) < MAX_STEPS else None


def zero_filled(
    kspace: Complex[Tensor, "slice coil v u"],
    mask: Bool[Tensor, "#slice v u"],
    size: tuple[int, int] | None,
    A: LinearOperator | None = None,
) -> Complex[Tensor, "slice y x"]:
    """Return the root of the sum of squares of the coils' images; what is not finite counts as not acquired.

    Of an operator without a mask or a Fourier transform, such as a non-Cartesian one, it is the adjoint, scaled to what
    fits the samples best; of several sets of maps, the root of the sum of their squares.
    """
    kspace = torch.where(mask[:, None] & torch.isfinite(kspace.abs()), kspace, 0)
    if A is not None and (A.find(Mask) is None or A.find(Fourier) is None):
        x = A.adjoint(kspace)
        seen = A(x)
        gain = (seen.conj() * kspace).sum((-3, -2, -1)).real / squared_norm(seen, ndim=3).flatten().clamp(min=TINY)
        x = x if A.image_ndim == 2 else root_sum_of_squares(x).to(x.dtype)
        image = gain[:, None, None] * x
    else:
        images = ifft2c(kspace).to(torch.complex128)
        image = torch.linalg.vector_norm(images, dim=1).to(kspace.dtype)
    return centre_crop(image, finished_size(size, image.shape)).cpu()


def no_slices(
    reconstructor: "Reconstructor", mask: Tensor, images: Tensor, scan: str, contrast: str | None
) -> Reconstruction:
    """Return the reconstruction of no slice at all, of the matrix of ``images``, which `insert_unusable` fills."""
    none, matrix = torch.zeros(0), (images.shape[-2], images.shape[-1])
    maps = reconstructor.uncertainty is not None and reconstructor.uncertainty.null_space
    findings = ReconstructionFindings(
        matrix=matrix,
        maps_inverted=none,
        acceleration=achieved_acceleration(mask),
        noise_std=none,
        scale=none,
        scan=scan,
        contrast=contrast or "unknown",
        label=label_of(contrast, reconstructor.prior)[1],
        sampler=repr(reconstructor.sampler),
        n_samples=reconstructor.n_samples,
        nfe=none.long(),
        std_from=NOTHING,
        std_factor=none,
        std_calibration="none",
        null_space_share=none if maps else None,
        noise_ratio=none,
        signal_ratio=none,
        fallback=none,
        seconds=none,
    )
    empty = images[:0].cpu()
    samples = empty.expand(reconstructor.n_samples, 0, *matrix) if reconstructor.keep_samples else None
    return Reconstruction(empty, empty.real, mask.cpu(), findings, (), samples, empty.real if maps else None)


def insert_unusable(
    solved: Reconstruction,
    images: Complex[Tensor, "slice y x"],
    reasons: Mapping[int, str],
    scaling: Scaling | None = None,
) -> Reconstruction:
    """Put slices that nothing could be found in between the others.

    Their images are those given. All other values are NaN, except in slices whose image is zero everywhere, where they
    are 0. With ``scaling``, these slices get the scale of their image, so that they count as reconstructed.
    """
    rows = [row for row in range(len(images)) if row not in reasons]
    unknown = torch.where(images.abs().amax((-2, -1), keepdim=True) > 0, math.nan, 0.0).expand(images.shape)

    def spread(values: Tensor, axis: int) -> Tensor:
        shape = (*values.shape[:axis], len(images), *values.shape[axis + 1 :])
        single = torch.tensor(math.nan if values.is_floating_point() else 0)
        blank = images if values.is_complex() else unknown if values.ndim > 1 else single
        out = blank.expand(shape).to(values.dtype).clone()
        out[(slice(None),) * axis + (rows,)] = values
        return out

    whole = solved.each(spread)
    findings = whole.findings
    if scaling is not None:
        scale = scaling.of(images)
        findings = replace(findings, scale=torch.where(scale > 0, scale, torch.nan))
    return replace(whole, findings=findings, warnings=(*reasons.values(), *solved.warnings))
