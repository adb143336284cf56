"""Factors that make the standard deviation of cheap draws an error bar, and the model card that keeps them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lightning_mri.diffusion import NetworkPrior, Prior
from lightning_mri.evaluation.coverage import LEVEL
from lightning_mri.sampling import EstimateType, Sampler
from lightning_mri.weights import fingerprint

CALIBRATION = "calibration"
"""Where in the model card of a prior its calibrations are."""

Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
"""Standard deviations on either side of the mean of a normal distribution that hold 90 % of it, 1.645."""

LARGE_ERROR = 0.15
"""Norm of calibrated std / norm of the image from which structures may be false.

On 29 measured and simulated scans it was above in all seven with a real error above 15 % at R = 8, and in one of two at
lower R; beside those in three with 9 to 13 %, all at R = 8, and in none of lower R. Lines held out tell less.
"""


@dataclass(frozen=True)
class Calibration:
    """What the standard deviation of one recipe is to be multiplied with, so that it is an error bar.

    The factor c of an acceleration is that for which magnitude +- 1.645 c std holds the true magnitude in 90 % of
    the foreground; between accelerations it is interpolated, log c linear in log R, and beyond them kept.

    Args:
        recipe: What the standard deviation is made with, from `recipe_of`.
        accelerations: Achieved R, ascending.
        factors: The factor for each.
        n_subjects: Number of subjects that they were fitted on.
    """

    recipe: str
    accelerations: tuple[float, ...]
    factors: tuple[float, ...]
    n_subjects: int

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in pairwise(self.accelerations))
        positive = all(0 < value < math.inf for value in (*self.accelerations, *self.factors))
        if not self.factors or len(self.factors) != len(self.accelerations) or not ascending or not positive:
            raise ValueError(
                "accelerations must ascend and have one factor each, all positive: "
                f"got {self.accelerations} and {self.factors}"
            )

    @classmethod
    def fit(cls, recipe: str, scans: Sequence[tuple[float, Float[Tensor, " _"]]]) -> "Calibration":
        """Return the calibration with the `pooled_quantile` of each acceleration as its factor.

        Args:
            recipe: What is calibrated.
            scans: Achieved R, and abs(error) / (1.645 std) in the pixels of the foreground, of one scan a subject.

        Raises:
            ValueError: If there is no scan, or a factor would not be positive and finite.
        """
        if not scans:
            raise ValueError("scans must be of one subject or more: got none")
        rates = tuple(sorted({acceleration for acceleration, _ in scans}))
        factors = (pooled_quantile([scores for r, scores in scans if r == rate]) for rate in rates)
        return cls(recipe, rates, tuple(factors), len(scans))

    @property
    def description(self) -> str:
        """What holds, in words."""
        return (
            f"1.645 std held 90 % of the errors in {self.n_subjects} subjects "
            f"at R = {self.accelerations[0]:.2g} ... {self.accelerations[-1]:.2g}"
        )

    def covers(self, acceleration: float) -> bool:
        """Return whether an acceleration is among those that were calibrated, to two digits."""
        return 0.99 * self.accelerations[0] <= acceleration <= 1.01 * self.accelerations[-1]

    def factor(self, acceleration: float) -> float:
        """Return the factor at an achieved acceleration."""
        return math.exp(np.interp(math.log(acceleration), np.log(self.accelerations), np.log(self.factors)))


@dataclass(frozen=True)
class ErrorBar:
    """What the standard deviation of a reconstruction is worth.

    Args:
        factor: What it is multiplied with; 1 where it is not calibrated.
        description: Why, in words.
        warnings: What a reader should know.
        calibrated: Whether it is an error bar.
    """

    factor: float
    description: str
    warnings: tuple[str, ...] = ()
    calibrated: bool = False

    def remarks(
        self, std: Float[Tensor, "slice y x"], image: Shaped[Tensor, "slice y x"], slices: Sequence[int]
    ) -> list[str]:
        """Return the warnings, and which slices are to be expected far from the truth.

        Args:
            std: Standard deviation before the factor.
            image: The slices, in the same unit.
            slices: Their indices in the scan.
        """
        if not self.calibrated:
            return list(self.warnings)
        # in double precision, as squares in units of the input may be too large for single
        error, size = (torch.linalg.vector_norm(x.abs().double(), dim=(-2, -1)) for x in (std, image))
        shares = zip(slices, (self.factor * error / size).tolist(), strict=True)
        return [
            *self.warnings,
            *(
                f"slice {at}: the error bars expect an error of {100 * share:.0f} % of the signal: structures may be "
                "missing or false, see std"
                for at, share in shares
                if share > LARGE_ERROR
            ),
        ]


def recipe_of(sampler: Sampler, n_samples: int, std_from: str) -> str:
    """Return what a standard deviation depends on beside prior and data.

    The number of steps of a point estimate plays no part: from 20 to 80 of them the factors of HQS fell by 5 %.

    Args:
        sampler: What makes the image.
        n_samples: Number of its samples.
        std_from: What the standard deviation is made from.
    """
    name = repr(sampler)
    if sampler.estimate_type is EstimateType.POINT:
        name = re.sub(r"n_steps=\d+, (n_restarts=\d+, )?", "", name, count=1)
    return f"{n_samples} x {name}, std from {std_from}"


def pooled_quantile(scores: Sequence[Float[Tensor, " _"]], level: float = LEVEL) -> float:
    """Return the smallest q that holds ``level`` of the scores, each subject's share of them counting alike.

    This is split conformal prediction for pixels within subjects, which are exchangeable only as a whole: pixels
    of one subject depend on each other. If a new subject is exchangeable with these K, one of its pixels at random
    has a score of at most q with a probability of at least level K / (K + 1), whatever the distributions
    (hierarchical conformal prediction; Lee, Barber and Willett 2023), and of ``level`` as K grows (Dunn, Wasserman
    and Ramdas 2023). That is an average over pixels, subjects, and the choice of the K. Nothing is promised for one
    subject or one place, a lesion say, nor for scans of another kind than these.

    Args:
        scores: Of each subject's pixels.
        level: Share to hold.
    """
    values, order = torch.cat(list(scores)).double().sort()
    share = torch.cat([torch.full(each.shape, 1 / (len(scores) * len(each)), dtype=torch.float64) for each in scores])
    first = int((share[order].cumsum(0) < level - 1e-9).sum())
    return float(values[first])


def error_bar(prior: Prior, wanted: str, acceleration: float, parallel: bool = True) -> ErrorBar:
    """Return what a prior's model card says of the standard deviation of a recipe.

    Args:
        prior: Its weights must be those that were calibrated.
        wanted: The recipe.
        acceleration: Achieved R.
        parallel: Whether the scan is one of plain parallel imaging, as those that calibrations are made with.

    Raises:
        ValueError: If the card's calibration is malformed.
    """
    entry = prior.card.get(CALIBRATION) if isinstance(prior, NetworkPrior) else None
    if entry is None:
        return _no_error_bar("the prior has no calibration")
    if not parallel:
        return _no_error_bar("the prior was calibrated for parallel imaging alone")
    assert isinstance(prior, NetworkPrior)
    weights, known = _read(entry)
    if weights != fingerprint(prior):
        return _no_error_bar("the prior was calibrated with other weights")
    found = next((calibration for calibration in known if calibration.recipe == wanted), None)
    if found is None:
        return _no_error_bar("the prior was calibrated for other samplers")
    warning = f"std is calibrated for R = {found.accelerations[0]:.2g} ... {found.accelerations[-1]:.2g}, here R is "
    warnings = () if found.covers(acceleration) else (f"{warning}{acceleration:.1f}",)
    return ErrorBar(found.factor(acceleration), found.description, warnings, True)


def _no_error_bar(reason: str) -> ErrorBar:
    return ErrorBar(1.0, f"none: {reason}", (f"std is not calibrated, and no error bar: {reason}",))


def with_calibration(card: Mapping[str, Any], weights: str, new: Calibration) -> dict[str, Any]:
    """Return a prior's model card with one more calibration; those of other weights are dropped.

    Args:
        card: The model card.
        weights: Fingerprint of the prior's weights.
        new: Their calibration, in place of any other of its recipe.

    Raises:
        ValueError: If the card's calibration is malformed.
    """
    theirs, known = _read(card[CALIBRATION]) if CALIBRATION in card else (weights, [])
    kept = [each for each in known if each.recipe != new.recipe] if theirs == weights else []
    lists = ("accelerations", "factors")
    described = [{**asdict(each), **{name: list(getattr(each, name)) for name in lists}} for each in (*kept, new)]
    return {**card, CALIBRATION: {"weights": weights, "recipes": described}}


def _read(entry: Any) -> tuple[str, list[Calibration]]:
    """Return the fingerprint and the calibrations of a model card, which may come from any file."""
    try:
        return str(entry["weights"]), [
            Calibration(
                recipe=str(each["recipe"]),
                accelerations=tuple(map(float, each["accelerations"])),
                factors=tuple(map(float, each["factors"])),
                n_subjects=int(each["n_subjects"]),
            )
            for each in entry["recipes"]
        ]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"the card's {CALIBRATION} must be what `calibrate` writes: {error}") from error
