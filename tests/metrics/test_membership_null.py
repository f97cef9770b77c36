import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from safelight.metrics.membership import auc, tpr_at_fpr
from safelight.metrics.membership_null import p_values, planted, reach, shuffled, statistics

RATES = (0.001, 0.1, 0.5)
TIED = arrays(np.float64, st.integers(1, 30), elements=st.integers(0, 6).map(float))


@settings(max_examples=60, deadline=None)
@given(TIED, TIED)
def test_the_statistics_are_those_of_the_metrics(members, nonmembers):
    found = statistics(members, nonmembers, RATES)
    assert found[0] == pytest.approx(auc(members, nonmembers).value)
    for rate, value in zip(RATES, found[1:], strict=True):
        assert value == tpr_at_fpr(members, nonmembers, rate).tpr.value


def test_shuffles_are_drawn_from_every_dealing_of_the_labels():
    """Two members of five examples: ten dealings, whose statistics are known."""
    scores = np.array([4.0, 3, 2, 2, 1])
    every = []
    for one in range(5):
        for two in range(one):
            others = np.delete(scores, [one, two])
            every.append(tuple(statistics(scores[[one, two]], others, RATES)))
    drawn = shuffled(scores[:2], scores[2:], RATES, 20_000, seed=0)
    for row in set(every):
        share = (drawn == row).all(1).mean()
        assert share == pytest.approx(every.count(row) / 10, abs=0.015)


def test_the_same_seed_gives_the_same_shuffles():
    members, nonmembers = np.arange(9.0), np.arange(7.0)
    one, two, three = (shuffled(members, nonmembers, RATES, 20, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.integers(19, 60), elements=st.integers(0, 9).map(float)))
def test_what_is_beyond_reach_is_just_what_has_a_small_p_value(null):
    for error in (0.05, 0.2, 0.9):
        limit = reach(null[:, None], error)[0]
        for found in np.arange(-1.0, 11):
            p = p_values(np.array([found]), null[:, None])[0]
            assert (found > limit) == (p <= error + 1e-12)


def test_too_few_shuffles_for_a_level_are_refused():
    with pytest.raises(ValueError, match="take more"):
        reach(np.zeros((18, 1)), 0.05)


def test_p_values_are_uniform_where_nothing_leaks():
    rng = np.random.default_rng(0)
    found = []
    for seed in range(300):
        members, nonmembers = rng.normal(size=60), rng.normal(size=80)
        null = shuffled(members, nonmembers, RATES, 99, seed)
        found.append(p_values(statistics(members, nonmembers, RATES), null))
    rejected = (np.array(found) <= 0.1).mean(0)
    assert (rejected <= 0.1 + 3 * 0.0173).all()  # never more often than it says
    assert rejected[0] >= 0.1 - 3 * 0.0173  # and, where there are no ties, as often


def test_a_planted_leak_is_as_large_as_asked():
    rng = np.random.default_rng(1)
    source = rng.normal(size=400)
    members, nonmembers = planted(source, 200, 0.05, rng)
    assert (members.size, nonmembers.size) == (200, 400)
    assert (members > source.max()).sum() == 10
    assert np.isin(members[10:], source).all()
    assert np.isin(nonmembers, source).all()
