"""Checks each image against its data; where they disagree, takes the fallback that predicts these best, and warns."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mri.evaluation import noise_floor, prediction_error
from lightning_mri.physics import GaussianLikelihood, Mask
from lightning_mri.reconstruction.draws import Estimate
from lightning_mri.reconstruction.fallbacks import FALLBACKS, Draw, Fallback
from lightning_mri.reconstruction.problem import Problem
from lightning_mri.reconstruction.result import Residual, measure_residual
from lightning_mri.reconstruction.symptoms import (
    aliased,
    block_of,
    contradicted,
    join,
    moved,
    off_centre,
    wrong_noise,
)

EVERY = 5
"""Of the acquired lines outside of the calibration block candidates are compared on one in so many: one fold of five,
the usual cross-validation (Hastie et al., The Elements of Statistical Learning, 7.10)."""

FEWEST = 3
"""Lines outside of the calibration block below which none is spared."""

MARGIN = 0.98
"""A fallback must predict the held-out lines better by this factor than what came before.

The closest choice that was right in the robustness matrix was by 2.5 %, the others by 17 % and more.
"""

UNPREDICTED = 0.8
"""Share of the power of those lines, less the noise, that a prediction must not miss: else nothing predicts them.

The first way missed 0.14 to 0.33 of it on four intact simulated heads at R = 4, 0.9 on a fifth one, and all of it with
the centre of k-space elsewhere.
"""


PARALLEL_CAUSES = "coil maps, motion or a cut field of view"
OTHER_CAUSES = "the noise level, what was assumed of the scanner, or motion"


DrawSlice = Callable[[Problem, int, bool], Estimate]
"""The user's choice of prior and sampler for one slice: its problem, its place in the batch, and whether it is a trial
that needs neither all samples nor a standard deviation."""


@dataclass(frozen=True)
class Guard:
    """Find slices whose data and model disagree, and fall back to what predicts their data best.

    A slice is suspect where the residual on the acquired samples, less the noise, is a sizeable part of the signal;
    where the calibration block shows a second set of coil maps or lacks the centre of k-space; and where the noise
    level is not that of the data. Only suspect slices cost more: each fallback reconstructs them without a fifth of
    their lines and predicts those lines, and so does the first way; the one of lowest `prediction_error` then gets all
    of the data. The warnings say what happened, and where no way predicts anything.

    A head that moves leaves little unexplained, since the image takes in what few lines contradict. The calibration
    lines contradict each other first, and lines whose phases differ contradict the image: where they do, there is a
    warning alone, as no fallback undoes it.

    The residual is that of the maps as calibrated: maps refined together with the image would hide what is wrong. Among
    the calibration lines it is that of the refined ones, which do not hide motion.

    Args:
        unexplained: Largest share of the measured signal beyond the noise that a residual may hold. It was 0.03 or less
            on 56 of 58 intact simulated scans, 0.04 and 0.05 on two whose head nearly filled the field of view, 0 to
            0.04 where the head had turned by 3 degrees, 0.05 to 0.09 with a wrong noise level or a two-fold wrap.
        fallbacks: Other ways to try, those that change least first; `FALLBACKS` if not given, none of them
            only to warn.
        contradicted: Largest such share in the calibration block, through refined maps. It was 0 on 28 intact simulated
            scans, 0.007 or less on a measured one, 0.002 to 0.020 where the head had turned by 3 degrees half-way, over
            0.008 in 21 of 25. Through maps as calibrated, of samplers without refinement, intact ones have up to 0.05.
        contradicted_outside: Largest such share outside of the calibration block. It was 0.05 or less on 31 simulated
            scans and 60 of four measured objects. After each outer line had got a phase of its own it was more than
            0.08 in 46 of 84 cases, not with few coils, much noise or R = 6 and more; in all but 2 of them another
            limit was exceeded, too.
    """

    unexplained: float = 0.03
    fallbacks: tuple[Fallback, ...] | None = None
    contradicted: float = 0.008
    contradicted_outside: float = 0.08

    def __post_init__(self) -> None:
        for name in ("unexplained", "contradicted", "contradicted_outside"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative: got {getattr(self, name)}")
        for fallback in self.candidates:
            if not isinstance(fallback, Fallback):
                raise ValueError(f"fallbacks must each be a Fallback: got {fallback!r}")

    @property
    def candidates(self) -> tuple[Fallback, ...]:
        """The fallbacks to try."""
        return FALLBACKS if self.fallbacks is None else self.fallbacks

    def reasons(self, estimate: Estimate) -> dict[int, str]:
        """Return why slices are suspect, by their place in the batch.

        Args:
            estimate: Images with the problem that they were made from.
        """
        problem, residual = estimate.problem, measure_residual(estimate.problem.likelihood, estimate.image)
        unexplained, noise = self._unexplained(problem, residual), wrong_noise(problem, residual)
        if not problem.is_parallel:
            return join(noise, unexplained)
        return join(unexplained, aliased(problem), off_centre(problem), noise, contradicted(problem))

    def review(self, estimate: Estimate, slices: Sequence[int], draw: DrawSlice) -> dict[int, "Verdict"]:
        """Return what becomes of each suspect slice, by its place in the batch.

        Args:
            estimate: What the first way made of a batch.
            slices: Indices of its slices in the scan.
            draw: The first way for one slice.
        """
        verdicts, reasons = {}, self.reasons(estimate)
        harmless = _not_unfolded(estimate.problem) if reasons else {}
        for row, reason in reasons.items():
            if reason == harmless.get(row):
                continue
            verdict = self._verdict(estimate.problem, row, draw)
            verdicts[row] = replace(verdict, description=f"slice {slices[row]}: {reason}; {verdict.description}")
        limits = (self.contradicted, self.contradicted_outside)
        remarks = moved(estimate, *limits) if estimate.problem.is_parallel else {}
        for row, remark in join(remarks, harmless).items():
            # a warning that begins with the slice marks it as one not to be trusted
            text = f"slice {slices[row]}: {remark}" if row in remarks else f"{remark}, in slice {slices[row]}"
            verdicts.setdefault(row, Verdict(text))
        return verdicts

    def _unexplained(self, problem: Problem, residual: Residual) -> dict[int, str]:
        """Compare what noise leaves of the residual with the signal."""
        causes = PARALLEL_CAUSES if problem.is_parallel else OTHER_CAUSES
        rows = zip(residual.unexplained.tolist(), residual.noise_ratio.tolist(), strict=True)
        return {
            row: f"beyond the noise {100 * share:.3g} % of the measured signal are unexplained, over the limit of "
            f"{100 * self.unexplained:.3g} %, the residual is {noise:.1f} x the noise: {causes} may be the cause"
            for row, (share, noise) in enumerate(rows)
            if not share <= self.unexplained
        }

    def _verdict(self, problem: Problem, row: int, draw: DrawSlice) -> "Verdict":
        """Return the fallback that predicts held-out lines of a suspect slice best, and its image."""
        if not self.candidates:
            return Verdict("no fallback was tried")
        if not problem.is_parallel:
            return Verdict("no fallback is known for this kind of scan")
        one = problem.only(row)
        split = _split(one)
        if split is None:
            return Verdict("too few lines outside of the calibration block to choose a fallback by")
        errors = self._errors(one, *split, lambda problem: draw(problem, row, True))
        floor = float(noise_floor(_masked(one.likelihood, one.likelihood, split[1]))) ** 2
        best = _lowest(errors)
        predicted = errors[best] ** 2 <= floor + UNPREDICTED * (1 - floor)
        warning = "" if predicted else "; nothing predicts held-out lines: do not trust this slice"
        if best == 0:
            return Verdict(f"no fallback predicts held-out lines better than {errors[0]:.2f}, relative error{warning}")
        chosen = self.candidates[best - 1]
        description = (
            f"reconstructed with {chosen.description}, which predicts held-out lines with a relative error of "
            f"{errors[best]:.2f} instead of {errors[0]:.2f}{warning}"
        )
        return Verdict(description, best, chosen.reconstruct(one, lambda problem: draw(problem, row, False)))

    def _errors(self, problem: Problem, kept: Tensor, held: Tensor, draw: Draw) -> list[float]:
        """Return the relative error of the held-out lines, of the first way and then of each fallback."""
        part = replace(problem, likelihood=_masked(problem.likelihood, problem.likelihood, kept))
        errors = []
        for estimate in (draw(part), *(fallback.reconstruct(part, draw) for fallback in self.candidates)):
            if estimate is None:
                errors.append(math.inf)
                continue
            unseen = _masked(estimate.likelihood, problem.likelihood, held)
            errors.append(float(prediction_error(estimate.image, unseen)))
        return errors


@dataclass(frozen=True, eq=False)
class Verdict:
    """What became of one suspect slice.

    Args:
        description: In words.
        fallback: Number of the fallback that was taken, from 1; 0 for none.
        estimate: What it made of the slice.
    """

    description: str
    fallback: int = 0
    estimate: Estimate | None = None


def _not_unfolded(problem: Problem) -> dict[int, str]:
    """Return what is said of a field of view that cuts or wraps the object where nothing is unfolded.

    So it is where hardly a line lies outside of the calibration block, as of full sampling. Its image is wrong only if
    it leaves some of the data unexplained.
    """
    return aliased(problem) if problem.is_parallel and _split(problem) is None else {}


def _lowest(errors: Sequence[float]) -> int:
    """Return the place of the lowest error; what comes later must be clearly better than what comes before.

    And than an image of zeros, whose error is 1: where nothing predicts, strong regularisation comes nearest to that.
    """
    best = 0
    for place, error in enumerate(errors):
        if error < MARGIN * min(errors[best], 1.0) or (math.isfinite(error) and not math.isfinite(errors[best])):
            best = place
    return best


def _masked(likelihood: GaussianLikelihood, measured: GaussianLikelihood, mask: Tensor) -> GaussianLikelihood:
    """Return a likelihood of those measured samples that a mask holds."""
    return likelihood.replace(A=likelihood.A.replace(Mask, Mask(mask)), y=torch.where(mask, measured.y, 0))


def _split(problem: Problem) -> tuple[Bool[Tensor, "1 y x"], Bool[Tensor, "1 y x"]] | None:
    """Return masks of the lines for trials and of those to compare them by; None where no line can be spared.

    Every fifth by distance is held out: all of them at the edge of k-space, where there is little but noise, would
    tell nothing. The first two, one at each side of the block, are not, as maps of the block predict them in any case.
    """
    outside, distance = problem.acquired & ~block_of(problem), _distance(problem)
    places = distance[outside].unique()
    if len(places) < FEWEST:
        return None
    held = outside & torch.isin(distance, places[min(2, len(places) // 2) :: EVERY])
    return problem.acquired & ~held, held


def _distance(problem: Problem) -> Float[Tensor, "1 y x"]:
    """Return how far outside of the calibration block each sample lies, in samples."""
    away = []
    for lines, n in zip((problem.acs.y, problem.acs.x), problem.acquired.shape[-2:], strict=True):
        places = torch.arange(n, device=problem.acquired.device)
        away.append(torch.maximum(lines.start - places, places - lines.stop + 1).clamp(min=0))
    return torch.hypot(away[0][:, None].float(), away[1].float())[None]
