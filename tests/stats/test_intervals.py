import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest

from safelight.stats.intervals import bonferroni, bootstrap_mean, clopper_pearson

LEVELS = st.sampled_from([0.8, 0.9, 0.95, 0.99, 0.999])
SAMPLES = arrays(np.float64, st.integers(2, 40), elements=st.floats(-1, 1, width=32))
COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))

few = settings(max_examples=25, deadline=None)


@few
@given(SAMPLES, LEVELS)
def test_the_bootstrap_interval_lies_within_the_sample_and_is_ordered(values, level):
    low, high = bootstrap_mean(values, level)
    assert values.min() - 1e-12 <= low <= high <= values.max() + 1e-12


@few
@given(SAMPLES, LEVELS)
def test_the_bootstrap_interval_contains_the_mean(values, level):
    low, high = bootstrap_mean(values, level)
    assert low - 1e-9 <= values.mean() <= high + 1e-9


@few
@given(SAMPLES)
def test_a_higher_level_makes_the_bootstrap_interval_no_narrower(values):
    narrow, wide = bootstrap_mean(values, 0.8), bootstrap_mean(values, 0.99)
    assert wide[0] <= narrow[0]
    assert wide[1] >= narrow[1]


def test_a_higher_level_makes_the_bootstrap_interval_strictly_wider_on_spread_values():
    values = np.random.default_rng(0).normal(size=50)
    widths = [np.ptp(bootstrap_mean(values, level)) for level in (0.8, 0.95, 0.999)]
    assert widths[0] < widths[1] < widths[2]


def test_the_bootstrap_of_nothing_is_not_a_number():
    assert all(math.isnan(limit) for limit in bootstrap_mean(np.array([])))


@pytest.mark.parametrize("n", [1, 2, 50])
def test_the_bootstrap_of_a_constant_is_the_constant(n):
    assert bootstrap_mean(np.full(n, 0.25)) == (0.25, 0.25)


def test_the_bootstrap_repeats_for_a_seed_and_not_for_another():
    values = np.random.default_rng(1).normal(size=30)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_the_bootstrap_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    samples = rng.exponential(size=(150, 60))  # skewed, mean 1
    limits = [bootstrap_mean(sample, 0.9) for sample in samples]
    covered = sum(low <= 1 <= high for low, high in limits)
    assert 0.80 <= covered / len(samples) <= 0.97


def test_the_bootstrap_agrees_with_the_normal_interval_on_many_values():
    values = np.random.default_rng(3).uniform(size=2000)
    half = 1.959964 * values.std(ddof=1) / math.sqrt(values.size)
    low, high = bootstrap_mean(values, 0.95)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


@given(COUNTS, LEVELS)
def test_clopper_pearson_equals_the_exact_interval_of_scipy(counts, level):
    successes, n = counts
    exact = binomtest(successes, n).proportion_ci(level, method="exact")
    assert clopper_pearson(successes, n, level) == pytest.approx((exact.low, exact.high), abs=1e-9)


@given(COUNTS, LEVELS)
def test_clopper_pearson_contains_the_proportion_and_stays_in_the_unit_interval(counts, level):
    successes, n = counts
    low, high = clopper_pearson(successes, n, level)
    assert 0 <= low <= successes / n <= high <= 1
    assert low < high


@given(COUNTS, st.floats(0.01, 1), LEVELS)
def test_clopper_pearson_grows_with_every_fraction_of_a_success(counts, more, level):
    successes, n = counts
    assume(successes + more <= n)
    less, greater = (
        clopper_pearson(successes, n, level),
        clopper_pearson(successes + more, n, level),
    )
    assert less[0] <= greater[0]
    assert less[1] <= greater[1]


@given(COUNTS)
def test_clopper_pearson_is_wider_for_a_higher_level(counts):
    narrow, wide = clopper_pearson(*counts, 0.8), clopper_pearson(*counts, 0.99)
    assert wide[0] <= narrow[0]
    assert wide[1] >= narrow[1]
    assert wide != narrow


def test_clopper_pearson_of_no_trials_says_nothing():
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.97])
def test_clopper_pearson_covers_at_least_as_often_as_it_says(share):
    n = 80
    hits = np.random.default_rng(4).binomial(n, share, size=600)
    covered = [low <= share <= high for low, high in (clopper_pearson(int(k), n) for k in hits)]
    assert np.mean(covered) >= 0.94


@given(st.floats(0.5, 0.999), st.integers(1, 200))
def test_bonferroni_leaves_the_errors_of_all_tests_together_at_the_level(level, tests):
    each = bonferroni(level, tests)
    assert tests * (1 - each) == pytest.approx(1 - level)
    assert level - 1e-12 <= each < 1


def test_bonferroni_of_one_test_or_none_changes_nothing():
    assert bonferroni(0.95, 1) == pytest.approx(0.95)
    assert bonferroni(0.95, 0) == pytest.approx(0.95)
