"""Paired ordinal scores of several readers: differences with intervals, non-inferiority, agreement, sample size."""

import itertools
import math
import warnings
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lightning_mri.evaluation.paired import N_DRAWS, widened_tail
from lightning_mri.lazy import lazy

pandas, pingouin, stats = lazy("pandas"), lazy("pingouin"), lazy("scipy.stats")
inter_rater, power_of_tests = lazy("statsmodels.stats.inter_rater"), lazy("statsmodels.stats.power")

ALPHA = 0.025
"""Of the one-sided test, whose bound is that of the two-sided interval of 95 %."""
FEW_PATIENTS = 10
"""Below it nothing is claimed: scores are whole numbers, and a few equal ones have an interval without any width."""
FEW_IMAGES = 5
"""Below it two raters have no agreement."""
ROUNDING = 1e-9
"""Points of the scale that differ by rounding alone."""
LEAST_EFFECT = 1e-6
"""Loss in standard deviations that no study can tell from none."""


@dataclass(frozen=True)
class Difference:
    """Mean paired difference, test less reference.

    Args:
        mean: In points of the scale; each reader weighs the same.
        low: Lower end of the interval of 95 %.
        high: Upper end.
        p_not_worse: One-sided p of the paired t-test over patients against a loss of the margin; NaN if all patients
            differ by the same.
        p_wilcoxon: Two-sided p of Wilcoxon's signed-rank test over patients; 1 if no patient differs.
        n_patients: Patients that both images of were scored.
    """

    mean: float
    low: float
    high: float
    p_not_worse: float
    p_wilcoxon: float
    n_patients: int

    def is_non_inferior(self, margin: float) -> bool:
        """Return whether the whole interval lies above a loss of the margin, of at least `FEW_PATIENTS`."""
        return self.n_patients >= FEW_PATIENTS and self.low > -margin + ROUNDING


@dataclass(frozen=True)
class Agreement:
    """How well two scores of the same image agree.

    Args:
        kappa: Cohen's kappa with quadratic weights, averaged over pairs of readers, each over the images that both
            scored; a pair of fewer than `FEW_IMAGES`, or whose scores are all equal, is left out, NaN without any.
        icc: Intraclass correlation of single scores, two-way random effects, absolute agreement: ICC(A,1).
        icc_low: Lower end of its interval of 95 %.
        icc_high: Upper end.
        n: Images scored twice or by all readers, which the intraclass correlation is over.
        p_chance: One-sided p of scores that tell no image from another, by the F test of images; NaN as ``icc``.
    """

    kappa: float
    icc: float
    icc_low: float
    icc_high: float
    n: int
    p_chance: float


def paired_difference(
    differences: Float[np.ndarray, "reader patient"], margin: float, seed: int = 0, n_draws: int = N_DRAWS
) -> Difference:
    """Return the mean paired difference with a bootstrap over patients.

    A patient is drawn with the scores of all readers (cluster bootstrap); readers are strata, of which each weighs
    the same. The percentiles are widened for few patients.

    Args:
        differences: Test less reference; NaN where a reader has not scored both images.
        margin: Greatest loss that counts as not worse, positive.
        seed: Of the draws.
        n_draws: Number of draws.

    Raises:
        ValueError: If fewer than two patients have scores.
    """
    differences = differences[:, np.isfinite(differences).any(0)]
    n = differences.shape[1]
    if n < 2:
        raise ValueError(f"scores must be of at least 2 patients with both images scored: got {n}")
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_draws).astype(float)
    tail = widened_tail(n, ALPHA)
    low, high = np.nanquantile(mean_over_readers(differences, weights), [tail, 1 - tail])
    mean = float(mean_over_readers(differences)[0])
    of_patients = np.nanmean(differences, axis=0)
    return Difference(mean, float(low), float(high), _p_not_worse(of_patients, margin), _p_wilcoxon(of_patients), n)


def mean_over_readers(
    values: Float[np.ndarray, "reader patient"], weights: Float[np.ndarray, "draw patient"] | None = None
) -> Float[np.ndarray, " draw"]:
    """Return the mean over readers of each reader's weighted mean; a reader without a patient in a draw is left out.

    Values that are NaN do not count. Without weights there is one draw, in which all patients weigh the same.
    """
    scored = np.isfinite(values)
    weights = np.ones((1, values.shape[1])) if weights is None else weights
    totals = weights @ np.where(scored, values, 0).T
    counts = weights @ scored.T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(totals / counts, axis=1)


def _p_not_worse(differences: Float[np.ndarray, " patient"], margin: float) -> float:
    if np.ptp(differences) < ROUNDING:
        return math.nan
    return float(stats.ttest_1samp(differences, -margin, alternative="greater").pvalue)


def _p_wilcoxon(differences: Float[np.ndarray, " patient"]) -> float:
    differences = differences.round(9)  # means over three scans: what rounding keeps apart has one rank, or none
    return float(stats.wilcoxon(differences).pvalue) if np.any(differences) else 1.0


def agreement(scores: Float[np.ndarray, "image rater"]) -> Agreement:
    """Return the agreement of raters, which are several readers, or one reader's first and second look.

    Args:
        scores: Whole numbers from 1; NaN for images that a rater left out.
    """
    pairs = [_complete(np.stack(pair, 1)) for pair in itertools.combinations(scores.T, 2)]
    kappas = [weighted_kappa(*pair.T.astype(int)) for pair in pairs if len(pair) >= FEW_IMAGES]
    known = [kappa for kappa in kappas if not math.isnan(kappa)]
    kappa = float(np.mean(known)) if known else math.nan
    complete = _complete(scores)
    n, n_raters = complete.shape
    if n < FEW_IMAGES or n_raters < 2 or np.ptp(complete) == 0:
        return Agreement(kappa, math.nan, math.nan, math.nan, n, math.nan)
    image, rater = np.indices(complete.shape)
    table = pandas.DataFrame({"image": image.ravel(), "rater": rater.ravel(), "score": complete.ravel()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pingouin's own, of pandas
        row = pingouin.intraclass_corr(table, "image", "rater", "score").set_index("Type").loc["ICC(A,1)"]
    low, high = map(float, row["CI95"])
    return Agreement(kappa, float(row["ICC"]), low, high, n, float(row["pval"]))


def _complete(scores: Float[np.ndarray, "image rater"]) -> Float[np.ndarray, "complete rater"]:
    """Return the images that all raters scored."""
    return scores[np.isfinite(scores).all(1)]


def weighted_kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Return Cohen's kappa with quadratic weights; NaN where both always give the same one score."""
    levels = int(max(a.max(), b.max()))
    table = np.zeros((levels, levels))
    np.add.at(table, (a - 1, b - 1), 1)
    if np.count_nonzero(table.sum(0)) == np.count_nonzero(table.sum(1)) == 1 and np.trace(table) == len(a):
        return math.nan
    return float(inter_rater.cohens_kappa(table, wt="quadratic", return_results=False))


def sample_size(
    standard_deviation: float,
    margin: float,
    true_difference: float = 0.0,
    power: float = 0.8,
    n_primary: int = 1,
) -> int:
    """Return how many patients show non-inferiority, if it is true; `FEW_PATIENTS` at least.

    The one-sided paired t-test of `ALPHA` has a power of 1 - (1 - power) / n_primary at an effect of (difference +
    margin) / deviation: that all of n_primary items show it has the power asked for, however they correlate.

    Args:
        standard_deviation: Of the patients' differences, averaged over readers, in points of the scale.
        margin: Greatest loss that counts as not worse, positive.
        true_difference: Test less reference, as expected.
        power: Chance to show it of every primary item.
        n_primary: Items that the claim rests on, of this deviation each.

    Raises:
        ValueError: If a value is out of range, or the expected loss is not smaller than the margin.
    """
    if not (standard_deviation > 0 and 0 < margin < math.inf and -margin < true_difference < math.inf):
        values = f"{standard_deviation}, {margin} and {true_difference}"
        rule = "standard_deviation and margin must be positive, and true_difference above -margin"
        raise ValueError(f"{rule}: got {values}")
    if not (ALPHA < power < 1):
        raise ValueError(f"power must lie between alpha ({ALPHA}) and 1: got {power}")
    if n_primary < 1:
        raise ValueError(f"n_primary must be 1 or more: got {n_primary}")
    effect = min((true_difference + margin) / standard_deviation, 1 / LEAST_EFFECT)
    if effect < LEAST_EFFECT:
        rule = f"standard_deviation must be at most {1 / LEAST_EFFECT:g} times true_difference + margin"
        raise ValueError(f"{rule}: got {standard_deviation}")

    of_one = 1 - (1 - power) / n_primary

    def is_enough(n: int) -> bool:  # solve_power of the same class finds nothing where few are enough
        return bool(power_of_tests.TTestPower().power(effect, n, ALPHA, alternative="larger") >= of_one)

    enough = FEW_PATIENTS
    while not is_enough(enough):
        enough *= 2
    return bisect_left(range(enough), True, FEW_PATIENTS, key=is_enough)
