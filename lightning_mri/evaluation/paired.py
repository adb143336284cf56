"""Ratios of paired scores, with the uncertainty that few subjects leave."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student


@dataclass(frozen=True)
class Ratio:
    """Geometric mean of paired ratios, and its 95 % interval, exp(m -+ t s / sqrt(n)) of the logarithms.

    Args:
        value: Geometric mean.
        low: Lower end of the interval; nan for a single pair.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of_logs(cls, logs: Sequence[float] | Float[np.ndarray, " subject"]) -> "Ratio":
        """Return the ratio of one logarithm of ours / theirs a subject.

        Raises:
            ValueError: If there is no subject.
        """
        if not len(logs):
            raise ValueError("logs must be of one subject or more: got none")
        mean, n = statistics.fmean(logs), len(logs)
        half = float(student.ppf(0.975, n - 1)) * statistics.stdev(logs) / math.sqrt(n) if n > 1 else math.nan
        return cls(math.exp(mean), math.exp(mean - half), math.exp(mean + half))

    @classmethod
    def of(cls, ours: Iterable[float], theirs: Iterable[float]) -> "Ratio":
        """Return the ratio of scores, one pair a subject."""
        return cls.of_logs([math.log(a / b) for a, b in zip(ours, theirs, strict=True)])

    def __format__(self, digits: str) -> str:
        """Return value and interval, as ``0.58 (0.54 to 0.63)`` for the format ``.2f``."""
        digits = digits or ".3f"
        if math.isnan(self.low):
            return f"{self.value:{digits}}"
        return f"{self.value:{digits}} ({self.low:{digits}} to {self.high:{digits}})"


def geometric_mean(values: Iterable[float]) -> float:
    """Return exp(mean log x)."""
    return math.exp(statistics.fmean(map(math.log, values)))
