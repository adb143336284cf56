"""Ratios of paired scores carry the uncertainty that few subjects leave."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from lightning_mri.evaluation import paired_ratio


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    logs = np.log([0.5, 0.7, 0.4, 0.65, 0.52])
    mean, low, high = paired_ratio(logs)
    assert mean == pytest.approx((0.5 * 0.7 * 0.4 * 0.65 * 0.52) ** 0.2)
    expected = ttest_1samp(logs, 0.0).confidence_interval(0.95)
    assert (math.log(low), math.log(high)) == pytest.approx((expected.low, expected.high))


def test_intervals_are_those_of_paired_logarithms() -> None:
    mean, low, high = paired_ratio(np.log([0.5, 0.4, 0.625]))
    assert mean == pytest.approx(0.5)
    assert low * high == pytest.approx(0.25)
    # log 1.25 is the standard deviation, 4.3027 Student's quantile for two degrees of freedom
    assert high / mean == pytest.approx(1.25 ** (4.3027 / 3**0.5), rel=1e-4)


def test_one_subject_has_a_ratio_but_no_interval() -> None:
    mean, low, high = paired_ratio([math.log(0.5)])
    assert mean == pytest.approx(0.5)
    assert math.isnan(low)
    assert math.isnan(high)


def test_no_subject_has_no_ratio() -> None:
    with pytest.raises(ValueError, match="one subject or more"):
        paired_ratio([])
