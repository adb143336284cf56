"""Ratios of paired scores carry the uncertainty that few subjects leave."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from lightning_mri.evaluation import Ratio, geometric_mean


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    logs = np.log([0.5, 0.7, 0.4, 0.65, 0.52])
    found = Ratio.of_logs(logs)
    mean, low, high = found.value, found.low, found.high
    assert mean == pytest.approx((0.5 * 0.7 * 0.4 * 0.65 * 0.52) ** 0.2)
    expected = ttest_1samp(logs, 0.0).confidence_interval(0.95)
    assert (math.log(low), math.log(high)) == pytest.approx((expected.low, expected.high))


def test_intervals_are_those_of_paired_logarithms() -> None:
    found = Ratio.of([1, 2, 5], [2, 5, 8])
    mean, low, high = found.value, found.low, found.high
    assert mean == pytest.approx(0.5)
    assert low * high == pytest.approx(0.25)
    # log 1.25 is the standard deviation, 4.3027 Student's quantile for two degrees of freedom
    assert high / mean == pytest.approx(1.25 ** (4.3027 / 3**0.5), rel=1e-4)


def test_one_subject_has_a_ratio_but_no_interval() -> None:
    found = Ratio.of([1], [2])
    assert found.value == pytest.approx(0.5)
    assert math.isnan(found.low)
    assert f"{found:.2f}" == "0.50"


def test_no_subject_has_no_ratio() -> None:
    with pytest.raises(ValueError, match="one subject or more"):
        Ratio.of([], [])


def test_geometric_mean_of_two_and_eight_is_four() -> None:
    assert geometric_mean([2, 8]) == pytest.approx(4)
