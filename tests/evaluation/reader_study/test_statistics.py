"""Statistics of a reader study, against published examples, closed forms, and studies whose truth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lightning_mri.evaluation.reader_study import agreement, paired_difference, sample_size, weighted_kappa

# Shrout and Fleiss, Psychological Bulletin 86, 420 (1979), table 2: six targets, four judges
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
# Cohen, Psychological Bulletin 70, 213 (1968): his table of two judges' agreement in percent, as 200 cases
COHEN = np.array([[88, 14, 18], [10, 40, 10], [2, 6, 12]])


def test_icc_is_that_of_shrout_and_fleiss():
    found = agreement(SHROUT_FLEISS)
    assert found.p_chance == pytest.approx(stats.f.sf(11.02, 5, 15), rel=0.01)  # their mean squares: 11.24 and 1.02
    assert found.icc == pytest.approx(0.29, abs=0.005)  # their ICC(2,1)
    assert (found.icc_low, found.icc_high) == (pytest.approx(0.02, abs=0.01), pytest.approx(0.76, abs=0.01))


def test_agreement_is_that_of_psych_in_r():
    """`ICC(scores, lmer = FALSE)`, type ICC2, and `cohen.kappa` (quadratic weights) of psych 2.2.9 in R 4.2.2."""
    raters = ("4352443512345324", "4253433422445225", "5342542513344334")
    found = agreement(np.array([[float(score) for score in rater] for rater in raters]).T)
    assert found.icc == pytest.approx(0.76780186, abs=1e-5)
    assert (found.icc_low, found.icc_high) == (pytest.approx(0.553, abs=0.006), pytest.approx(0.903, abs=0.006))
    assert found.kappa == pytest.approx(np.mean([0.80722892, 0.83233533, 0.62264151]), abs=1e-7)


def test_tests_and_sample_sizes_are_those_of_r():
    """`wilcox.test`, `t.test(mu = -0.5, alternative = "greater")` and `power.t.test` of R 4.2.2."""
    tied = [0.5, -1, 0, 1.5, -0.5, 2, 0.5, 1, -1.5, 0, 0.5, 1, -0.5, 1, 0.5, 0, -1, 0.5, 1.5, 1, 0.5]
    found = paired_difference(np.array([tied]), margin=0.5)
    assert found.mean == pytest.approx(0.35714286)
    assert found.p_wilcoxon == pytest.approx(0.0974216893, rel=1e-8)  # exact = FALSE, correct = FALSE
    assert found.p_not_worse == pytest.approx(0.000144108036, rel=1e-8)
    exact = paired_difference(np.array([[1.2, -0.3, 0.7, 2.1, -0.9, 0.4, 1.6, -1.1, 0.25]]), margin=0.5)
    assert exact.p_wilcoxon == pytest.approx(0.30078125)
    assert sample_size(0.9, 0.45) == 34  # 33.367
    assert sample_size(0.6, 0.4, power=0.9) == 26  # 25.640


def test_kappa_is_one_for_agreement_zero_for_independence_and_follows_its_definition():
    scores = np.array([1, 2, 3, 4, 5, 5, 4, 3])
    assert weighted_kappa(scores, scores) == pytest.approx(1)
    a, b = (axis.ravel() for axis in np.meshgrid([1, 2, 3], [1, 2, 3]))
    assert weighted_kappa(a, b) == pytest.approx(0)
    first, second = np.repeat(np.argwhere(COHEN >= 0), COHEN.ravel(), axis=0).T + 1
    # 1 - mean squared disagreement / the same by chance
    by_chance = np.mean((first[:, None] - second[None]) ** 2)
    assert weighted_kappa(first, second) == pytest.approx(1 - np.mean((first - second) ** 2) / by_chance)
    assert math.isnan(weighted_kappa(np.full(4, 3), np.full(4, 3)))


def test_two_readers_who_never_differ_leave_the_agreement_with_a_third():
    scores = np.array([[5, 5, third] for third in (5, 4, 5, 3, 5, 4)], float)
    assert agreement(scores).kappa == pytest.approx(0)  # of either of them with the third; their own is not defined


@pytest.mark.parametrize("deviation", [1e-12, 0.01, 0.02, 0.05])
def test_as_many_patients_are_planned_as_a_claim_takes(deviation):
    assert sample_size(deviation, 0.5) == 10


def test_sample_size_is_that_of_the_noncentral_t_distribution():
    n = sample_size(standard_deviation=1.0, margin=0.5)
    assert n == 34  # published tables: effect 0.5, paired, one-sided 0.025, power 0.80

    def power(n):
        return stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, 0.5 * math.sqrt(n))

    assert power(n) >= 0.8 > power(n - 1)
    assert sample_size(1.0, 0.5, n_primary=2) == sample_size(1.0, 0.5, power=0.9)  # both fail to show in 2 x 10 %
    assert sample_size(1.0, 0.5, true_difference=0.5) < n < sample_size(1.0, 0.5, true_difference=-0.1)


@pytest.mark.parametrize(
    "values", [(0, 0.5), (1, 0), (1, 0.5, -0.5), (1, 0.5, 0.0, 0.02), (1e9, 0.5), (math.inf, 0.5), (1, math.inf)]
)
def test_impossible_sample_sizes_are_refused(values):
    with pytest.raises(ValueError, match="must"):
        sample_size(*values)


def test_difference_of_complete_scores_is_the_mean_with_students_interval():
    rng = np.random.default_rng(0)
    differences = rng.normal(-0.2, 0.7, (2, 40))
    found = paired_difference(differences, margin=0.5)
    of_patients = differences.mean(0)
    low, high = stats.t.interval(0.95, 39, of_patients.mean(), of_patients.std(ddof=1) / math.sqrt(40))
    assert found.mean == pytest.approx(of_patients.mean())
    assert (found.low, found.high) == (pytest.approx(low, abs=0.04), pytest.approx(high, abs=0.04))
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(of_patients).pvalue)
    assert found.p_not_worse == pytest.approx(stats.ttest_1samp(of_patients + 0.5, 0, alternative="greater").pvalue)


def test_readers_weigh_the_same_however_many_patients_they_read():
    differences = np.full((2, 6), np.nan)
    differences[0, :6] = [1, 1, 1, 1, 1, 1]
    differences[1, :2] = [0, 0]
    assert paired_difference(differences, 0.5).mean == pytest.approx(0.5)


def test_equal_scores_throughout_are_no_difference():
    found = paired_difference(np.zeros((2, 8)), 0.5)
    assert (found.mean, found.low, found.high, found.p_wilcoxon) == (0, 0, 0, 1)
    assert math.isnan(found.p_not_worse)  # the t-test knows no deviation
    assert math.isnan(paired_difference(np.full((3, 8), 0.1) * [[1], [2], [4]], 0.5).p_not_worse)  # but for rounding


def test_few_patients_claim_nothing_however_well_they_agree():
    assert [paired_difference(np.zeros((1, n)), 0.5).is_non_inferior(0.5) for n in (2, 9, 10)] == [False, False, True]
    assert not paired_difference(np.full((2, 10), -1.0), 0.5).is_non_inferior(0.5)


@pytest.mark.slow
def test_a_loss_of_the_margin_is_seldom_claimed_from_whole_numbers():
    """Each patient loses a point or none, as a coin falls: a true loss of 0.5. How many lose is binomial."""
    for n in (2, 5, 10):
        losses = (-(np.arange(n) < k).astype(float)[None] for k in range(n + 1))
        claims = [paired_difference(loss, 0.5).is_non_inferior(0.5) for loss in losses]
        assert float(stats.binom.pmf(np.arange(n + 1), n, 0.5) @ claims) <= 0.025


def test_rounding_makes_no_ranks():
    """Patients' means over three scans, and two readers, are thirds: equal ones are ties, and zeros are none."""
    rng = np.random.default_rng(0)
    reference = rng.integers(2, 5, (2, 15, 3)).astype(float)
    test = reference + rng.integers(-1, 2, reference.shape)
    found = paired_difference(test.mean(-1) - reference.mean(-1), 0.5, n_draws=10)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon((test - reference).sum((0, 2))).pvalue)
    assert not replace(found, low=-0.5 + 1e-16, n_patients=15).is_non_inferior(0.5)


def test_a_reader_of_few_images_leaves_the_agreement_of_the_others():
    scores = np.array([[5, 5], [4, 3], [5, 4], [3, 3], [2, 3], [4, 4], [1, 2]], float)
    third = np.array([5, 4, np.nan, np.nan, np.nan, np.nan, np.nan])
    found = agreement(np.column_stack([scores, third]))
    assert found.kappa == agreement(scores).kappa
    assert (math.isnan(found.icc), found.n) == (True, 2)


def test_one_patient_is_too_few():
    with pytest.raises(ValueError, match="got 1"):
        paired_difference(np.array([[1.0, np.nan]]), 0.5)


def _study(shift, rng, n=21, n_readers=2):
    """Scores of 1 to 5 from patients, readers and noise; returns test less reference [reader, patient]."""
    quality, habits, own = rng.normal(3.8, 0.5, n), rng.normal(0, 0.3, (n_readers, 1)), rng.normal(0, 0.3, n)

    def scores(shift):
        return np.clip(np.rint(quality + habits + own + rng.normal(0, 0.5, (n_readers, n)) + shift), 1, 5)

    return scores(shift) - scores(0)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, -0.25, -0.5])
def test_intervals_hold_the_truth_and_a_loss_of_the_margin_is_seldom_overlooked(shift):
    rng = np.random.default_rng(1)
    truth = float(np.mean([_study(shift, rng).mean() for _ in range(20_000)]))
    found = [paired_difference(_study(shift, rng), max(-truth, 0.1), seed, 1000) for seed in range(500)]
    coverage = np.mean([difference.low <= truth <= difference.high for difference in found])
    assert 0.92 <= coverage <= 0.98  # 500 studies: 0.95 within three standard errors
    # the margin is the true loss: claiming less is wrong, and allowed in 2.5 %
    assert np.mean([difference.low > truth for difference in found]) <= 0.025 + 3 * 0.007
