import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom, norm
from sklearn.metrics import (
    accuracy_score,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from safelight.metrics.membership import (
    advantage,
    at_threshold,
    auc,
    precision_at_prior,
    roc,
    tpr_at_fpr,
)
from safelight.stats.intervals import clopper_pearson

#: Few different values: ties everywhere.
TIED = arrays(np.float64, st.integers(1, 30), elements=st.integers(0, 6).map(float))
FPRS = st.sampled_from([0.001, 0.05, 0.1, 0.25, 0.5])
few = settings(max_examples=60, deadline=None)


def truth(members, nonmembers):
    return np.append(np.ones(len(members)), np.zeros(len(nonmembers))), np.append(
        members, nonmembers
    )


def gaussians(rng, m, n, shift):
    return rng.normal(shift, 1, m), rng.normal(size=n)


@few
@given(TIED, TIED)
def test_the_curve_and_its_area_are_those_of_scikit_learn(members, nonmembers):
    labels, scores = truth(members, nonmembers)
    fpr, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    ours = roc(members, nonmembers)
    assert np.allclose(ours.fpr, fpr)
    assert np.allclose(ours.tpr, tpr)
    assert np.array_equal(ours.thresholds, thresholds)
    assert auc(members, nonmembers).value == pytest.approx(roc_auc_score(labels, scores))


@few
@given(TIED, TIED)
def test_the_area_is_the_share_of_pairs_that_are_ranked_right(members, nonmembers):
    pairs = members[:, None] - nonmembers
    share = (pairs > 0).mean() + (pairs == 0).mean() / 2
    assert auc(members, nonmembers).value == pytest.approx(share)
    assert auc(nonmembers, members).value == pytest.approx(1 - share)


@few
@given(TIED, TIED, FPRS)
def test_tpr_at_fpr_is_the_best_threshold_within_the_rate(members, nonmembers, fpr):
    candidates = [np.inf, *members, *nonmembers]
    allowed = [
        t for t in candidates if (nonmembers >= t).sum() <= math.floor(fpr * nonmembers.size)
    ]
    best = max((members >= t).mean() for t in allowed)
    found = tpr_at_fpr(members, nonmembers, fpr)
    assert found.tpr.value == best
    assert (members >= found.threshold).mean() == best
    assert (nonmembers >= found.threshold).sum() <= found.false_alarms
    assert found.curve.low <= best + 1e-12


@few
@given(TIED, TIED, st.randoms(use_true_random=False))
def test_neither_order_nor_a_rising_function_changes_anything(members, nonmembers, random):
    others = [np.array(random.sample(list(side), len(side))) for side in (members, nonmembers)]
    risen = [np.exp(side) - 3 for side in others]
    for measure in (auc, advantage, lambda a, b: tpr_at_fpr(a, b, 0.1).tpr):
        first = measure(members, nonmembers)
        assert measure(*others) == pytest.approx(first)
        assert measure(*risen) == pytest.approx(first)


@few
@given(TIED, TIED, st.floats(-1, 7))
def test_calls_at_a_threshold_are_those_of_scikit_learn(members, nonmembers, threshold):
    labels, scores = truth(members, nonmembers)
    called = scores >= threshold
    calls = at_threshold(members, nonmembers, threshold)
    assert calls.accuracy.value == pytest.approx(accuracy_score(labels, called))
    assert calls.recall.value == pytest.approx(recall_score(labels, called))
    assert calls.fpr.value == pytest.approx((nonmembers >= threshold).mean())
    if called.any():
        assert calls.precision.value == pytest.approx(precision_score(labels, called))
    else:
        assert math.isnan(calls.precision.value)
        assert calls.precision[1:] == (0.0, 1.0)
    for one in (calls.accuracy, calls.recall, calls.fpr):
        assert one.low <= one.value <= one.high


def test_worked_numbers():
    members, nonmembers = np.array([3.0, 2, 2, 1]), np.array([2.0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    assert auc(members, nonmembers).value == pytest.approx((10 + 9.5 + 9.5 + 8.5) / 40)
    found = tpr_at_fpr(members, nonmembers, 0.1)  # one alarm: everybody from 2 on
    assert (found.false_alarms, found.threshold, found.tpr.value) == (1, 2.0, 0.75)
    assert found.tpr.low == pytest.approx(0.1941, abs=1e-4)  # 3 of 4, Clopper and Pearson
    assert advantage(members, nonmembers).value == pytest.approx(0.8)  # from 1 on: 1 - 2 / 10


def test_equal_scores_leave_the_curve_open():
    assert tpr_at_fpr(np.ones(500), np.ones(500), 0.1).curve == (0, 0, 1)


def test_one_false_alarm_in_ten_thousand_needs_ten_thousand_non_members():
    rng = np.random.default_rng(0)
    found = tpr_at_fpr(*gaussians(rng, 500, 500, 3), 0.001)
    assert found.false_alarms == 0
    assert found.tpr.low > 0.2  # exact at this threshold
    assert found.curve.low == 0  # but where the curve lies at 0.1 % nobody can know


@pytest.mark.parametrize("n", [30, 400, 3000])
@pytest.mark.parametrize("fpr", [0.001, 0.02, 0.5, 0.999])
def test_the_curve_interval_by_its_definition(fpr, n):
    """Non-members at 1 ... n and one member at each half step: counts can be read off."""
    nonmembers, members = np.arange(1.0, n + 1), np.arange(0, n + 1) + 0.5
    tail, m = 0.0125, n + 1
    below = [k for k in range(n) if binom.cdf(k, n, fpr) <= tail]
    above = [k for k in range(1, n + 1) if binom.sf(k - 1, n, fpr) <= tail]
    # Above the (k+1)-th highest non-member lie k + 1 members, above the k-th highest k.
    low = clopper_pearson(max(below) + 1, m, 1 - 2 * tail)[0] if below else 0.0
    high = clopper_pearson(min(above), m, 1 - 2 * tail)[1] if above else 1.0
    found = tpr_at_fpr(members, nonmembers, fpr).curve
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize(("shift", "fpr", "n"), [(0, 0.1, 300), (1, 0.01, 1500), (2, 0.05, 400)])
def test_the_curve_interval_covers_and_the_threshold_interval_alone_does_not(shift, fpr, n):
    rng = np.random.default_rng(1)
    true = norm.sf(norm.isf(fpr) - shift)
    found = [tpr_at_fpr(*gaussians(rng, 3000, n, shift), fpr) for _ in range(300)]
    assert np.mean([one.curve.low <= true <= one.curve.high for one in found]) >= 0.95
    # Many members, few non-members: what moves the estimate is the threshold.
    assert np.mean([one.tpr.low <= true <= one.tpr.high for one in found]) < 0.85


def test_the_threshold_interval_covers_at_its_own_threshold():
    rng = np.random.default_rng(2)
    found = [tpr_at_fpr(*gaussians(rng, 200, 300, 1), 0.1) for _ in range(400)]
    true = [norm.sf(one.threshold - 1) for one in found]
    covered = [one.tpr.low <= t <= one.tpr.high for one, t in zip(found, true, strict=True)]
    assert np.mean(covered) >= 0.93  # 0.95 less two deviations of 400 draws


@pytest.mark.parametrize("sizes", [(100, 100), (60, 600)])
@pytest.mark.parametrize("world", ["null", "shifted", "few leak", "apart"])
def test_the_area_interval_covers_in_every_world(world, sizes):
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        members, nonmembers = gaussians(rng, *sizes, {"shifted": 1, "apart": 4}.get(world, 0))
        if world == "few leak":
            members[rng.random(sizes[0]) < 0.1] += 9
        true = {"few leak": 0.9 * 0.5 + 0.1, "shifted": norm.cdf(1 / 2**0.5), "null": 0.5}.get(
            world, norm.cdf(4 / 2**0.5)
        )
        estimate = auc(members, nonmembers)
        covered += estimate.low <= true <= estimate.high
    assert covered >= 0.93 * 400


def test_the_area_interval_does_not_vanish_where_nothing_overlaps():
    estimate = auc(np.arange(100.0) + 1000, np.arange(100.0))
    assert estimate.value == 1
    assert 0.95 < estimate.low < 0.97


def test_the_advantage_is_flattered_and_its_interval_knows():
    rng = np.random.default_rng(4)
    nulls = [advantage(*gaussians(rng, 200, 200, 0)) for _ in range(200)]
    assert np.mean([one.value for one in nulls]) > 0.04
    assert np.mean([one.low == 0 for one in nulls]) >= 0.95
    true = 2 * norm.cdf(0.5) - 1
    found = [advantage(*gaussians(rng, 200, 200, 1)) for _ in range(200)]
    assert np.mean([one.low <= true <= one.high for one in found]) >= 0.95


@pytest.mark.parametrize(
    ("tpr", "fpr", "prior", "right"),
    [(0.1, 0.001, 0.01, 0.5025), (1, 0.5, 0.5, 2 / 3), (0.01, 0.01, 0.3, 0.3), (0, 0.1, 0.5, 0)],
)
def test_precision_at_a_prior(tpr, fpr, prior, right):
    assert precision_at_prior(tpr, fpr, prior) == pytest.approx(right, abs=1e-4)


def test_precision_of_no_call_is_not_a_number():
    assert math.isnan(precision_at_prior(0, 0, 0.5))


@pytest.mark.parametrize("bad", [np.array([]), np.array([1.0, np.nan]), np.zeros((3, 1))])
def test_what_is_no_row_of_numbers_is_refused(bad):
    good = np.zeros(3)
    for measure in (roc, auc, advantage, lambda a, b: tpr_at_fpr(a, b, 0.1)):
        with pytest.raises(ValueError, match="scores of members"):
            measure(bad, good)
        with pytest.raises(ValueError, match="scores of non-members"):
            measure(good, bad)
