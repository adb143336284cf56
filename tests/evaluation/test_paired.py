"""Ratios of paired scores carry the uncertainty that few subjects leave."""

import math

import numpy as np
import pytest
from scipy import stats

from lightning_mri.evaluation import Ratio, bootstrapped_mean
from lightning_mri.evaluation.paired import widened_tail


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    logs = np.log([0.5, 0.7, 0.4, 0.65, 0.52])
    found = Ratio.of_logs(logs)
    assert found.value == pytest.approx((0.5 * 0.7 * 0.4 * 0.65 * 0.52) ** 0.2)
    expected = stats.ttest_1samp(logs, 0.0).confidence_interval(0.95)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((expected.low, expected.high))


def test_intervals_are_those_of_paired_logarithms() -> None:
    found = Ratio.of([1, 2, 5], [2, 5, 8])
    assert found.value == pytest.approx(0.5)
    assert found.low * found.high == pytest.approx(0.25)
    # log 1.25 is the standard deviation, 4.3027 Student's quantile for two degrees of freedom
    assert found.high / found.value == pytest.approx(1.25 ** (4.3027 / 3**0.5), rel=1e-4)


def test_one_subject_has_a_ratio_but_no_interval() -> None:
    found = Ratio.of([1], [2])
    assert found.value == pytest.approx(0.5)
    assert math.isnan(found.low)
    assert f"{found:.2f}" == "0.50"


def test_no_subject_has_no_ratio() -> None:
    with pytest.raises(ValueError, match="one subject or more"):
        Ratio.of([], [])


@pytest.mark.parametrize("n", [2, 3, 6])
def test_intervals_of_few_subjects_hold_the_truth_as_often_as_they_say(n: int) -> None:
    """A percentile bootstrap lies between the least and the largest value, which hold 1 - 2^(1 - n) at most."""
    values = np.random.default_rng(n).standard_normal((150, n))
    found = [bootstrapped_mean(subjects.tolist()) for subjects in values]
    assert np.mean([each.low <= 0 <= each.high for each in found]) >= 0.95 - 3 * 0.018


def test_intervals_of_a_bootstrap_are_widened_as_published() -> None:
    """For seven Phi(-sqrt(7 / 6) 2.4469) at each end, with Student's quantile for six degrees of freedom."""
    assert widened_tail(7) == pytest.approx(0.00411, rel=0.01)
    values = np.random.default_rng(1).standard_normal(12).tolist()
    means, tail = np.random.default_rng(2).choice(values, (20_000, 12)).mean(1), widened_tail(12)
    found = bootstrapped_mean(values)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [tail, 1 - tail])), abs=0.03)
