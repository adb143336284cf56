"""What makes a slice suspect before its image is looked at: coil maps, centre of k-space and noise level."""

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics import (
    Fourier,
    GaussianLikelihood,
    Mask,
    cg_sense,
    estimate_noise_std,
    find_acs,
    sense,
)
from lightning_mri.reconstruction.draws import Estimate
from lightning_mri.reconstruction.maps import ESPIRIT_LINES
from lightning_mri.reconstruction.problem import LOWEST_NOISE, CalibrationLines, Problem
from lightning_mri.reconstruction.result import NOISE_POWER, Residual
from lightning_mri.tensors import TINY

OFF_CENTRE = 0.1
"""Mean power outside of the calibration block relative to that inside, above which the centre is elsewhere.

At most 0.044 on four measured objects and in 40 scenarios of simulated heads, 0.2 to 1.2 where the centre is not.
"""

WRONG_NOISE = 3.0
"""Ratio of given and estimated noise level above which the given one counts as wrong.

Estimates were 0.98 to 1.3 x the true level up to 30 dB, so that 3 is no error of theirs; above, they are too high.
"""

CALIBRATED = 12
"""Calibration lines from which on contradictions among them count: with 8, those of the coil maps were as large."""

COARSE = 64
"""Samples of k-space an axis to look for a second set of maps with: as much as smooth maps need."""

ALIASED = 0.05
"""Share of the object on which a second set of maps means that the field of view wraps or cuts it.

On 24 simulated heads, each with an array of its own: at most 0.045 where the head fits, 0.06 to 0.095 on three that
come within two pixels of an edge, 0.02 to 0.24 where a quarter of the width wraps, 0.29 and more where half of it does.
"""

ALIASED_OF_FEW = 0.1
"""The same for fewer than `CALIBRATED` lines: with 8, a measured head that fits showed 6 % of a second set."""

CONTRADICTED = 0.3
"""Share of the signal of the other lines that maps of the calibration lines alone may leave.

0.38 on a simulated head with one coil of the wrong sign in its calibration lines, at most 0.1 on intact ones, 0.22
where the field of view wraps and on measured heads with 8 lines. With 6, a measured head gets a warning without
need, at 0.69.
"""


def aliased_share(problem: Problem) -> Float[Tensor, " batch"] | None:
    """Return the share of the object that a second set of coil maps covers, slice by slice, on a coarse grid.

    Where the field of view cuts or wraps the object, one set of maps is not enough.  None where a second set was asked
    for already, or there is one coil.
    """
    n_sets, n_coils = problem.maps.shape[1:3]
    if n_sets > 1 or n_coils < 2 or problem.likelihood.A.find(Mask) is None or min(problem.acs.shape) < ESPIRIT_LINES:
        return None
    lines = _coarse(problem)
    maps = lines.maps(find_acs(lines.mask), 2)
    n_first, n_second = (maps != 0).any(2).sum((-2, -1)).unbind(1)
    return n_second / n_first.clamp(min=1)


def contradicted_share(problem: Problem) -> Float[Tensor, " batch"] | None:
    """Return the share of the signal of the other lines that maps of the calibration lines do not explain.

    An inversion of all lines finds maps that fit both, and hides a calibration that is wrong. None where no maps were
    inverted; on a coarse grid as in `aliased_share`.
    """
    inverted = problem.findings.maps_inverted
    if inverted is None or not bool(inverted.any()) or min(problem.acs.shape) < ESPIRIT_LINES:
        return None
    lines = _coarse(problem)  # the measurement's own: from lines apart no maps are inverted
    acs = find_acs(lines.mask)
    likelihood = GaussianLikelihood(sense(lines.maps(acs, 1), lines.mask), lines.kspace, lines.noise_std)
    residual, others = likelihood.residual(cg_sense(likelihood)), lines.mask[0].clone()
    others[acs.y, acs.x] = False
    left, signal = (_beyond_noise(samples, others, lines.noise_std) for samples in (residual, lines.kspace))
    return (left / signal.clamp(min=TINY)).sqrt()


def _beyond_noise(
    samples: Complex[Tensor, "batch coil y x"], where: Bool[Tensor, "y x"], noise_std: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Return the power of samples of all coils that noise does not explain."""
    n_coils = (samples != 0).flatten(2).any(2).sum(1)  # coils of zeros have no noise
    noise = NOISE_POWER * 2 * noise_std.square() * where.sum() * n_coils
    return (samples[..., where].abs().square().sum((-2, -1)) - noise).clamp(min=0)


def _coarse(problem: Problem) -> CalibrationLines:
    """Return the centre of the k-space that coil maps are found from."""
    rows, columns = problem.likelihood.y.shape[-2:]
    return problem.calibration.cropped((min(COARSE, rows), min(COARSE, columns)))


def block_of(problem: Problem) -> Bool[Tensor, "1 y x"]:
    """Return the calibration block as a mask."""
    block = torch.zeros_like(problem.acquired)
    block[:, problem.acs.y, problem.acs.x] = True
    return block


def aliased(problem: Problem) -> dict[int, str]:
    """Look for places that one set of coil maps does not describe."""
    largest = ALIASED if min(problem.acs.shape) >= CALIBRATED else ALIASED_OF_FEW
    about = "the field of view cuts or wraps the object, or hardly holds it: {:.0f} % of it needs two sets of coil maps"
    return _above(aliased_share(problem), largest, about)


def contradicted(problem: Problem) -> dict[int, str]:
    """Look for calibration lines that do not belong to the others."""
    about = "maps of the calibration lines leave {:.0f} % of the other lines unexplained"
    return _above(contradicted_share(problem), CONTRADICTED, about)


def moved(estimate: Estimate, within: float, outside: float) -> dict[int, str]:
    """Look for lines that no image explains: calibration lines that contradict each other, others that contradict it.

    The calibration lines are compared through the maps as the sampler refined them, which take in what the
    calibration got wrong, but not motion.

    Args:
        estimate: What was made of the scan.
        within: Largest share of the signal of the calibration block that an image may leave.
        outside: The same of the other samples.
    """
    problem = estimate.problem
    block, acquired = block_of(problem)[0], problem.acquired[0]

    def share_left(where: Bool[Tensor, "y x"], likelihood: GaussianLikelihood) -> Float[Tensor, " batch"]:
        residual, signal = likelihood.residual(estimate.image), likelihood.y[..., where].abs().square().sum((-2, -1))
        return (_beyond_noise(residual, where, likelihood.noise_std) / signal.clamp(min=TINY)).sqrt()

    about = (
        "the lines outside of the calibration block contradict the image by {:.0f} % of their signal: motion or a "
        "phase that differs between lines may be the cause"
    )
    found = _above(share_left(acquired & ~block, problem.likelihood), outside, about)
    if min(problem.acs.shape) < CALIBRATED:
        return found
    about = (
        "the calibration lines contradict each other by {:.1f} % of their signal: motion or coil maps may be the cause"
    )
    return join(_above(share_left(acquired & block, estimate.likelihood), within, about), found)


def off_centre(problem: Problem) -> dict[int, str]:
    """Compare the mean power of the samples outside and inside of the calibration block, both less the noise."""
    block = block_of(problem)[0]
    outside, block = problem.acquired[0] & ~block, problem.acquired[0] & block
    if not bool(outside.any()) or not bool(block.any()):
        return {}
    power = problem.likelihood.y.abs().square().mean(1) - 2 * problem.likelihood.noise_std[:, None, None].square()
    ratios = power[:, outside].mean(1) / power[:, block].mean(1).clamp(min=TINY)
    about = (
        "the calibration block does not hold the centre of k-space: the other samples have {:.0f} % of its mean power"
    )
    return _above(ratios, OFF_CENTRE, about)


def wrong_noise(problem: Problem, residual: Residual) -> dict[int, str]:
    """Compare the noise level with that of the data; an estimate may be too high, so a low level needs the residual.

    A high level of one coil does, too: where an image was set to zero around the object, the estimate finds no noise.
    """
    A = problem.likelihood.A
    if A.find(Mask) is None or A.find(Fourier) is None:
        return {}  # the samples need not be those of k-space
    estimate = estimate_noise_std(problem.likelihood.y, problem.likelihood.acquired).clamp(min=LOWEST_NOISE)
    ratios = (problem.likelihood.noise_std / estimate).tolist()
    return {
        row: f"the noise level is {ratio:.2g} x that of the data"
        for row, (ratio, beyond) in enumerate(zip(ratios, residual.noise_ratio.tolist(), strict=True))
        if (ratio > WRONG_NOISE and (problem.is_parallel or beyond * WRONG_NOISE < 1))
        or (ratio * WRONG_NOISE < 1 and beyond > WRONG_NOISE)
    }


def join(*found: dict[int, str]) -> dict[int, str]:
    """Return all that was found about each slice as one text, by its place in the batch."""
    rows = sorted({row for each in found for row in each})
    return {row: "; ".join(each[row] for each in found if row in each) for row in rows}


def _above(shares: Float[Tensor, " batch"] | None, limit: float, about: str) -> dict[int, str]:
    """Return words about the slices whose share is above a limit, by their place in the batch."""
    found = enumerate([] if shares is None else shares.tolist())
    return {row: about.format(100 * share) for row, share in found if share > limit}
