"""Means over subjects and ratios of paired scores, with the uncertainty that few subjects leave."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lightning_mri.lazy import lazy

stats = lazy("scipy.stats")

N_DRAWS = 4000
FEW_SUBJECTS = 6
"""Below it a percentile bootstrap cannot hold 95 %: it lies between the smallest and the largest value, which hold
1 - 2^(1 - n) of all means at most."""
INTERVAL = f"95 % interval (bootstrap over subjects; Student's below {FEW_SUBJECTS} of them)"
"""What captions say of `bootstrapped_mean`."""


@dataclass(frozen=True)
class Interval:
    """A number over subjects, and its 95 % interval.

    Args:
        value: The number.
        low: Lower end of the interval; nan for a single subject.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def __format__(self, digits: str) -> str:
        """Return value and interval, as ``0.58 (0.54 to 0.63)`` for the format ``.2f``."""
        digits = digits or ".3f"
        if math.isnan(self.low):
            return f"{self.value:{digits}}"
        return f"{self.value:{digits}} ({self.low:{digits}} to {self.high:{digits}})"


def mean_of(values: Sequence[float] | Float[np.ndarray, " subject"]) -> Interval:
    """Return the mean of one value a subject, and Student's interval, mean -+ t s / sqrt(n).

    Raises:
        ValueError: If there is no subject.
    """
    if not len(values):
        raise ValueError("values must be of one subject or more: got none")
    mean, n = statistics.fmean(values), len(values)
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan
    return Interval(mean, mean - half, mean + half)


def widened_tail(n: int, tail: float = 0.025) -> float:
    """Return the share of the draws of a bootstrap over n subjects beyond each end of an interval.

    It is widened for few subjects: ``tail`` becomes Phi(-sqrt(n / (n - 1)) t), with t the quantile of Student's
    distribution of n - 1 degrees (Hesterberg, The American Statistician 69, 371, 2015).
    """
    return float(stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(1 - tail, n - 1)))


def bootstrapped_mean(values: Sequence[float]) -> Interval:
    """Return the mean of one value a subject, and its interval by a bootstrap over subjects, or Student's for few."""
    mean, n = statistics.fmean(values), len(values)
    if n < FEW_SUBJECTS:
        return mean_of(values)
    options = {"n_resamples": N_DRAWS, "method": "percentile", "rng": np.random.default_rng(0)}
    found = stats.bootstrap((values,), np.mean, confidence_level=1 - 2 * widened_tail(n), **options)
    return Interval(mean, float(found.confidence_interval.low), float(found.confidence_interval.high))


@dataclass(frozen=True)
class Ratio(Interval):
    """Geometric mean of paired ratios, with the interval of the logarithms' mean."""

    @classmethod
    def of_logs(cls, logs: Sequence[float] | Float[np.ndarray, " subject"]) -> "Ratio":
        """Return the ratio of one logarithm of ours / theirs a subject.

        Raises:
            ValueError: If there is no subject.
        """
        found = mean_of(logs)
        return cls(math.exp(found.value), math.exp(found.low), math.exp(found.high))

    @classmethod
    def of(cls, ours: Iterable[float], theirs: Iterable[float]) -> "Ratio":
        """Return the ratio of scores, one pair a subject."""
        return cls.of_logs([math.log(a / b) for a, b in zip(ours, theirs, strict=True)])
