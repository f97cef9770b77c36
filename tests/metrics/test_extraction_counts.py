import numpy as np
import pytest

from safelight.metrics.extraction import above, extracted, shuffled_counts


def brute(members, others, rate):
    """The most members above any threshold that is a member's score and false enough."""
    best = 0
    for threshold in members:
        called, false = (members >= threshold).sum(), (others >= threshold).sum()
        if false * (members.size / others.size) <= rate * called:
            best = max(best, called)
    return best


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.5])
@pytest.mark.parametrize(("n", "m"), [(30, 30), (30, 60), (200, 50)])
def test_the_count_is_the_most_that_any_threshold_gives(rate, n, m):
    rng = np.random.default_rng(n + m)
    for shift in (0.0, 1.0, 3.0):
        members, others = rng.normal(shift, 1, n).round(1), rng.normal(size=m).round(1)
        found = extracted(members, others, rate)
        assert found.called == brute(members, others, rate)
        if found.called:
            assert (members >= found.threshold).sum() == found.called
            assert (others >= found.threshold).sum() == found.false


def test_with_a_hundred_each_it_is_those_above_every_other_picture():
    members = np.concatenate([np.full(60, 0.9), np.linspace(0, 0.5, 40)])
    others = np.concatenate([[0.6], np.linspace(0, 0.5, 99)])
    assert extracted(members, others, 0.01).called == 60


def test_without_a_leak_one_is_called_in_the_mean_and_many_hardly_ever():
    rng = np.random.default_rng(0)
    counts = shuffled_counts(rng.normal(size=100), rng.normal(size=100), 0.01, 4000, 0)
    assert counts.mean() == pytest.approx(1, abs=0.1)  # sum over k of 2^-k
    assert (counts >= 1).mean() == pytest.approx(0.5, abs=0.03)
    assert (counts >= 8).mean() < 0.01


def test_nobody_is_called_where_everybody_scores_the_same():
    assert extracted(np.zeros(5), np.zeros(5), 0.01).called == 0


def test_the_rule_of_the_literature_counts_at_and_above_its_bar():
    assert above(np.array([0.39, 0.4, 0.9, -np.inf]), 0.4) == 0.5
