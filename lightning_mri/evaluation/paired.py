"""Ratios of paired scores, with the uncertainty that few subjects leave."""

import math
import statistics
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student


def paired_ratio(logs: Sequence[float] | Float[np.ndarray, "subject"]) -> tuple[float, float, float]:
    """Return the geometric mean of paired ratios and the ends of its 95 % interval, exp(m -+ t s / sqrt(n)).

    Args:
        logs: Logarithm of ours / theirs, one a subject. A single one has the interval nan to nan.

    Raises:
        ValueError: If there is no subject.
    """
    if not len(logs):
        raise ValueError("logs must be of one subject or more: got none")
    mean, n = statistics.fmean(logs), len(logs)
    half = float(student.ppf(0.975, n - 1)) * statistics.stdev(logs) / math.sqrt(n) if n > 1 else math.nan
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)
