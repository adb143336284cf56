"""Signs that slices and their model disagree: residual, aliased field of view, centre of k-space, noise level."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics import Fourier, GaussianLikelihood, Maps, Mask, estimate_maps, estimate_noise_std, find_acs
from lightning_mri.reconstruction.fallbacks import mask_of
from lightning_mri.reconstruction.prepare import LOWEST_NOISE, Problem
from lightning_mri.tensors import centre_crop

OFF_CENTRE = 0.1
"""Mean power outside of the calibration block relative to that inside, above which the centre is elsewhere."""

WRONG_NOISE = 3.0
"""Ratio of given and estimated noise level above which the given one counts as wrong."""

NOISE_POWER = 1.05
"""Power of the noise, in units of what its level says, that is never taken for signal: levels are known to 2 %."""

COARSE = 64
"""Samples of k-space an axis to look for a second set of maps with: as much as smooth maps need."""

ALIASED = 0.05
"""Share of the object on which a second set of maps means that the field of view wraps or cuts it.

On six slices of simulated heads: at most 0.025 where the head fits, 0.06 to 0.18 where a quarter of the width is
missing.
"""

TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, eq=False)
class Residual:
    """What images leave of the acquired samples, one value a slice.

    Args:
        noise_ratio: Standard deviation of the residual / that of the noise; 1 for a perfect fit.
        signal_ratio: Norm of the residual / norm of the measurement.
    """

    noise_ratio: Float[Tensor, "batch"]
    signal_ratio: Float[Tensor, "batch"]

    @property
    def unexplained(self) -> Float[Tensor, "batch"]:
        """Norm of what noise leaves of the residual, as powers subtract / norm of the measurement."""
        return self.signal_ratio * (1 - NOISE_POWER / self.noise_ratio.square()).clamp(min=0).sqrt()


def measure_residual(likelihood: GaussianLikelihood, x: Complex[Tensor, "..."]) -> Residual:
    """Compare the residual of the acquired samples with noise and signal.

    Args:
        likelihood: The scan.
        x: Images [sample, batch, (set,) y, x] or without the samples; the mean over samples is returned.
    """
    residual = likelihood.residual_std(x)
    residual = residual.reshape(-1, residual.shape[-1]).square().mean(0).sqrt()
    power = likelihood.y.abs().square().sum((-3, -2, -1)) / (2 * likelihood.n_acquired)
    return Residual(residual / likelihood.noise_std, residual / power.sqrt().clamp(min=TINY))


def aliased_share(problem: Problem) -> Float[Tensor, " batch"] | None:
    """Return the share of the object that a second set of coil maps covers, slice by slice, on a coarse grid.

    Where the field of view cuts or wraps the object, one set of maps is not enough.  None where a second set was asked
    for already, or there is one coil.
    """
    n_sets, n_coils = problem.maps.shape[1:3]
    factor = problem.likelihood.A.find(Mask)
    if n_sets > 1 or n_coils < 2 or factor is None:
        return None
    y, mask = problem.likelihood.y, factor.mask
    size = (min(COARSE, y.shape[-2]), min(COARSE, y.shape[-1]))
    y, mask = centre_crop(y, size), centre_crop(mask, size)
    maps = estimate_maps(y, mask, find_acs(mask).limited(), problem.likelihood.noise_std, 2)
    n_first, n_second = (maps != 0).any(2).sum((-2, -1)).unbind(1)
    return n_second / n_first.clamp(min=1)


def is_parallel(problem: Problem) -> bool:
    """Return whether a problem is plain parallel imaging, A = Mask @ Fourier @ Maps with one mask for all slices."""
    factors = problem.likelihood.A.factors
    mask = problem.likelihood.A.find(Mask)
    plain = all(isinstance(factor, Mask | Fourier | Maps) for factor in factors)
    return plain and mask is not None and mask.mask.ndim == 3


def calibration_block(problem: Problem) -> Bool[Tensor, "1 y x"]:
    """Return the calibration block as a mask."""
    block = torch.zeros_like(mask_of(problem))
    block[:, problem.acs.y, problem.acs.x] = True
    return block


def aliased(problem: Problem) -> dict[int, str]:
    """Look for places that one set of coil maps does not describe."""
    shares = aliased_share(problem)
    return {
        row: f"the field of view cuts or wraps the object, {100 * share:.0f} % of it needs two sets of coil maps"
        for row, share in enumerate([] if shares is None else shares.tolist())
        if share > ALIASED
    }


def off_centre(problem: Problem) -> dict[int, str]:
    """Compare the mean power of the samples outside and inside of the calibration block, both less the noise."""
    block = calibration_block(problem)[0]
    outside = mask_of(problem)[0] & ~block
    if not bool(outside.any()):
        return {}
    power = problem.likelihood.y.abs().square().mean(1) - 2 * problem.likelihood.noise_std[:, None, None].square()
    ratios = power[:, outside].mean(1) / power[:, block].mean(1).clamp(min=TINY)
    return {
        row: "the calibration block does not hold the centre of k-space: "
        f"the other samples have {100 * ratio:.0f} % of its mean power"
        for row, ratio in enumerate(ratios.tolist())
        if ratio > OFF_CENTRE
    }


def wrong_noise(problem: Problem, residual: Residual) -> dict[int, str]:
    """Compare the noise level with that of the data; an estimate may be too high, so a low level needs the residual."""
    estimate = estimate_noise_std(problem.likelihood.y, mask_of(problem)).clamp(min=LOWEST_NOISE)
    ratios = (problem.likelihood.noise_std / estimate).tolist()
    return {
        row: f"the noise level is {ratio:.2g} x that of the data"
        for row, (ratio, beyond) in enumerate(zip(ratios, residual.noise_ratio.tolist(), strict=True))
        if ratio > WRONG_NOISE or (ratio * WRONG_NOISE < 1 and beyond > WRONG_NOISE)
    }
