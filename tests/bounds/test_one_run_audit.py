import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binom

from safelight.bounds.one_run_audit import (
    audit,
    correct_guesses,
    epsilon_lower_bound,
    p_value,
)
from safelight.bounds.two_run_audit import epsilon_of_mu


@pytest.mark.parametrize(
    ("canaries", "guesses", "right", "delta", "epsilon"),
    [
        (1000, 100, 75, 1e-4, 0.673),  # printed in appendix D
        (100_000, 1510, 1439, 1e-5, 2.675),  # printed in section 7, cut off after the third digit
        (1000, 100, 75, 1e-5, 0.699),
        (1000, 100, 100, 1e-5, 3.465),
        (1000, 50, 50, 1e-5, 2.756),
        (1000, 1000, 600, 1e-5, 0.297),
        (200, 200, 120, 1e-5, 0.159),
    ],
)
def test_reference_values(canaries, guesses, right, delta, epsilon):
    found = epsilon_lower_bound(canaries, guesses, right, delta)
    assert found == pytest.approx(epsilon, abs=1e-3)


def test_the_p_value_as_printed():
    assert p_value(100, 100, 75, math.log(3), 0) == pytest.approx(0.553, abs=5e-4)


def slow_p_value(m, r, v, epsilon, delta):
    """Appendix D, term by term in exact sums of a binomial written out."""
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    mass = [math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(r + 1)]
    alpha = max([math.fsum(mass[v - i : v]) / i for i in range(1, v + 1)], default=0)
    return min(math.fsum(mass[v:]) + 2 * m * delta * alpha, 1)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 40).flatmap(lambda r: st.tuples(st.just(r), st.integers(0, r))),
    st.integers(0, 100),
    st.floats(0, 5),
    st.sampled_from([0.0, 1e-5, 1e-3, 0.5]),
)
def test_the_p_value_by_its_definition(counts, abstained, epsilon, delta):
    guesses, right = counts
    m = guesses + abstained
    expected = slow_p_value(m, guesses, right, epsilon, delta)
    assert p_value(m, guesses, right, epsilon, delta) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("guesses", [10, 100, 1000])
@pytest.mark.parametrize("true", [0.0, 0.5, 2.0, 4.0])
def test_randomized_response_is_never_overestimated_and_nearly_reached(true, guesses):
    """It is the worst epsilon-private mechanism: each guess is right with e^eps / (1 + e^eps)."""
    chances = binom.pmf(np.arange(guesses + 1), guesses, expit(true))
    bounds = np.array(
        [
            epsilon_lower_bound(guesses, guesses, right, 0.0) if chance > 1e-12 else 0
            for right, chance in enumerate(chances)
        ]
    )
    assert chances[bounds > true].sum() <= 0.05
    if guesses == 1000:
        assert chances @ bounds > true - 0.5
        assert chances[bounds > true].sum() > 0.025  # not idle


def test_randomized_response_with_a_failure_is_never_overestimated():
    """With probability delta a canary's coin is shown openly: epsilon and delta are both used."""
    rng = np.random.default_rng(0)
    true, delta, m = 1.0, 0.01, 400
    over = 0
    for _ in range(150):
        coins = rng.random(m) < 0.5
        answer = np.where(rng.random(m) < expit(true), coins, ~coins)
        shown = rng.random(m) < delta
        scores = np.where(shown, np.where(coins, 3, -3), np.where(answer, 1, -1))
        over += audit(scores + rng.uniform(0, 0.1, m), coins, [20, 400], delta).epsilon > true
    assert over <= 0.05 * 150


def gaussian_run(rng, m, mu, sensitivity=1.0, noise=1.0):
    """Noisy sums with one direction a canary: mu-GDP where sensitivity / noise is as accounted."""
    coins = rng.random(m) < 0.5
    scores = sensitivity * coins + noise / mu * rng.normal(size=m)
    return scores, coins


DELTA = 1e-5


def proved(rng, runs, **mechanism):
    found = [audit(*gaussian_run(rng, 1000, **mechanism), [100, 400], DELTA) for _ in range(runs)]
    return np.array([one.epsilon for one in found])


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.0])
def test_a_correct_gaussian_mechanism_is_not_flagged(mu):
    epsilon = epsilon_of_mu(mu, DELTA)
    assert (proved(np.random.default_rng(1), 100, mu=mu) > epsilon).mean() <= 0.05


@pytest.mark.parametrize(
    "bug", [{"noise": 0.0}, {"noise": 0.1}, {"sensitivity": 10.0}], ids=["none", "tenth", "clip"]
)
def test_a_broken_gaussian_mechanism_is_flagged(bug):
    """No noise, a tenth of it, or gradients ten times the bound that the noise is meant for."""
    claimed = epsilon_of_mu(0.5, DELTA)
    flagged = proved(np.random.default_rng(2), 20, mu=0.5, **bug) > claimed
    assert flagged.mean() >= 0.95


def test_dropping_the_delta_term_overstates():
    with_delta = epsilon_lower_bound(10_000, 100, 75, 1e-4)
    assert with_delta < epsilon_lower_bound(10_000, 100, 75, 0.0) - 0.2


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200).flatmap(lambda r: st.tuples(st.just(r), st.integers(1, r))))
def test_more_right_guesses_prove_more_and_more_confidence_less(counts):
    guesses, right = counts
    bound = epsilon_lower_bound(300, guesses, right, DELTA)
    assert bound >= epsilon_lower_bound(300, guesses, right - 1, DELTA)
    assert bound >= epsilon_lower_bound(300, guesses, right, DELTA, level=0.99)
    assert bound >= epsilon_lower_bound(600, guesses, right, DELTA)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200).flatmap(lambda r: st.tuples(st.just(r), st.integers(1, r))))
def test_the_p_value_grows_up_to_the_bound(counts):
    """Which is what finding the bound by bisection takes."""
    guesses, right = counts
    bound = epsilon_lower_bound(300, guesses, right, 1e-3)
    p = [p_value(300, guesses, right, one, 1e-3) for one in np.linspace(0, bound, 30)]
    assert (np.diff(p) >= -1e-12).all()


def test_guesses_take_the_highest_and_the_lowest():
    scores = np.array([0.9, 0.1, 0.8, 0.2, 0.5])
    included = np.array([True, False, False, True, True])
    assert [correct_guesses(scores, included, guesses) for guesses in (1, 2, 3, 4, 5)] == [
        1,
        2,
        2,
        2,
        3,
    ]


def test_several_numbers_of_guesses_cost_what_bonferroni_asks():
    scores, coins = gaussian_run(np.random.default_rng(3), 500, mu=2.0)
    best = audit(scores, coins, [50, 200], DELTA)
    each = [
        epsilon_lower_bound(500, one, correct_guesses(scores, coins, one), DELTA, level=0.975)
        for one in (50, 200)
    ]
    assert best.epsilon == max(each)
    assert best.guesses == [50, 200][int(np.argmax(each))]
    assert best.epsilon < audit(scores, coins, [best.guesses], DELTA).epsilon


def test_coins_in_any_order_give_the_same():
    scores, coins = gaussian_run(np.random.default_rng(4), 300, mu=1.0)
    order = np.random.default_rng(5).permutation(300)
    assert audit(scores[order], coins[order], [60], DELTA) == audit(scores, coins, [60], DELTA)


def test_what_cannot_be_is_refused():
    scores, coins = np.arange(4.0), np.array([True, False, True, False])
    with pytest.raises(ValueError, match="same length"):
        audit(scores[:3], coins, [2], DELTA)
    with pytest.raises(ValueError, match="same length"):
        audit(np.array([0, 1, 2, np.nan]), coins, [2], DELTA)
    for guesses in ([], [0], [5]):
        with pytest.raises(ValueError, match="numbers of guesses"):
            audit(scores, coins, guesses, DELTA)
    for counts in ((3, 4, 2), (4, 2, 3), (4, 2, -1)):
        with pytest.raises(ValueError, match="must not fall"):
            epsilon_lower_bound(*counts, DELTA)
