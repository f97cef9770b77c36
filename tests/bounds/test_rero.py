import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from safelight.bounds.rero import ApproximateDP, GaussianDP, RenyiDP, reconstruction_bound

RATES = np.linspace(0, 1, 41)
GUARANTEES = [
    ApproximateDP(0.0),
    ApproximateDP(1.0),
    ApproximateDP(0.5, 0.1),
    ApproximateDP(8.0, 1e-5),
    GaussianDP(0.0),
    GaussianDP(1.3),
    RenyiDP(2.0, 0.5),
    RenyiDP(16.0, 3.0),
]


def best_misses(member, other, rates):
    """Least misses of any randomized test between two discrete laws (Neyman and Pearson 1933)."""
    with np.errstate(divide="ignore"):
        order = np.argsort(-np.where(other > 0, member / np.where(other > 0, other, 1), np.inf))
    alarms = np.append(0, np.cumsum(other[order]))
    hits = np.append(0, np.cumsum(member[order]))
    first = np.append(np.diff(alarms) > 0, True)  # of equal alarms the most hits
    return 1 - np.interp(rates, alarms[first], hits[first])


def renyi(p, q, alpha):
    return math.log((p**alpha * q ** (1 - alpha)).sum()) / (alpha - 1)


def smallest_delta(p, q, epsilon):
    return np.maximum(p - math.exp(epsilon) * q, 0).sum()


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.2), (1.0, 0.0), (0.7, 0.1), (3.0, 0.01)])
def test_the_extreme_mechanism_attains_the_approximate_curve(epsilon, delta):
    """Four outcomes, two of which give the secret away (Kairouz, Oh and Viswanath 2015)."""
    likely = (1 - delta) * math.exp(epsilon) / (1 + math.exp(epsilon))
    member = np.array([delta, likely, 1 - delta - likely, 0.0])
    other = member[::-1].copy()
    exact = best_misses(member, other, RATES)
    assert np.allclose(ApproximateDP(epsilon, delta).tradeoff(RATES), exact, atol=1e-12)


def test_a_discretized_gaussian_attains_the_gaussian_curve():
    edges = np.linspace(-9, 10, 4001)
    other, member = np.diff(norm.cdf(edges)), np.diff(norm.cdf(edges, 1.3))
    exact = best_misses(member / member.sum(), other / other.sum(), RATES)
    assert np.allclose(GaussianDP(1.3).tradeoff(RATES), exact, atol=1e-5)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    pairs=st.lists(st.tuples(st.floats(0.02, 1), st.floats(0.02, 1)), min_size=2, max_size=6),
    epsilon=st.floats(0, 3),
    alpha=st.floats(1.1, 30),
)
def test_no_test_of_a_discrete_mechanism_beats_its_guarantees(pairs, epsilon, alpha):
    """Any two laws, and the guarantees that they happen to satisfy, computed by definition."""
    member, other = np.array(pairs).T / np.array(pairs).sum(0)[:, None]
    delta = max(smallest_delta(member, other, epsilon), smallest_delta(other, member, epsilon))
    order = max(renyi(member, other, alpha), renyi(other, member, alpha))
    exact = best_misses(member, other, RATES)
    assert (ApproximateDP(epsilon, min(delta, 1)).tradeoff(RATES) <= exact + 1e-9).all()
    assert (RenyiDP(alpha, max(order, 0)).tradeoff(RATES) <= exact + 1e-9).all()


@pytest.mark.parametrize("alpha", [1.5, 4.0, 20.0])
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.7])
def test_some_coin_attains_the_renyi_curve(alpha, rate):
    """The bound is the largest that order alpha allows: the coin at it uses up epsilon."""
    epsilon = 0.4
    hit = 1 - RenyiDP(alpha, epsilon).tradeoff(np.array([rate]))[0]
    coin, fair = np.array([hit, 1 - hit]), np.array([rate, 1 - rate])
    assert max(renyi(coin, fair, alpha), renyi(fair, coin, alpha)) == pytest.approx(epsilon)
    closed_form = (rate * math.exp(epsilon)) ** ((alpha - 1) / alpha)
    assert hit <= closed_form


@pytest.mark.parametrize("guarantee", GUARANTEES, ids=str)
def test_every_curve_is_a_trade_off_function(guarantee):
    """Convex, falling, and never better for the defender than blind guessing."""
    curve = guarantee.tradeoff(RATES)
    assert (np.diff(curve) <= 1e-12).all()
    assert (np.diff(curve, 2) >= -1e-9).all()
    assert (curve <= 1 - RATES + 1e-12).all()
    assert (curve >= 0).all()


@pytest.mark.parametrize("guarantee", [ApproximateDP(0.0), GaussianDP(0.0), RenyiDP(3.0, 0.0)])
def test_perfect_privacy_leaves_blind_guessing(guarantee):
    assert np.allclose(guarantee.tradeoff(RATES), 1 - RATES, atol=1e-6)


def test_stronger_guarantees_lie_above():
    for weak, strong in [
        (ApproximateDP(2.0), ApproximateDP(1.0)),
        (ApproximateDP(1.0, 0.1), ApproximateDP(1.0, 0.01)),
        (GaussianDP(2.0), GaussianDP(1.0)),
        (RenyiDP(4.0, 2.0), RenyiDP(4.0, 1.0)),
        (RenyiDP(2.0, 1.0), RenyiDP(8.0, 1.0)),  # the same epsilon at a higher order says more
    ]:
        assert (strong.tradeoff(RATES) >= weak.tradeoff(RATES) - 1e-9).all()
        assert strong.tradeoff(RATES).sum() > weak.tradeoff(RATES).sum()


@pytest.mark.parametrize(
    ("guarantee", "kappa", "value"),
    [
        (ApproximateDP(math.log(2), 1e-5), 0.01, 0.02001),  # e^epsilon kappa + delta
        (ApproximateDP(math.log(2)), 0.8, 0.9),  # 1 - e^-epsilon (1 - kappa), below 1.6
        (GaussianDP(1.0), 0.01, 0.0924),  # Phi(-2.3263 + 1)
        (GaussianDP(2.0), 0.1, 0.7638),  # Phi(-1.2816 + 2)
        (GaussianDP(1.0), 0.5, 0.8413),  # Phi(1)
    ],
)
def test_worked_numbers_of_reconstruction(guarantee, kappa, value):
    bound = reconstruction_bound(guarantee, kappa)
    assert bound.holds == "yes"
    assert bound.value == pytest.approx(value, abs=5e-5)


def test_no_reconstructor_of_noisy_bits_beats_the_bound():
    """Three secret bits, each flipped at random: all 8^8 guessing rules are covered by the best."""
    flip = 0.2
    codes = np.array(list(product([0, 1], repeat=3)))
    apart = (codes[:, None] != codes).sum(2)
    channel = flip**apart * (1 - flip) ** (3 - apart)  # P(output | secret)
    best = channel.max(0).sum() / 8  # the most likely secret of each output, uniform prior
    epsilon = 3 * math.log((1 - flip) / flip)
    assert best <= reconstruction_bound(ApproximateDP(epsilon), 1 / 8).value
    blank = channel.mean(0)  # a neighbor without the record: its bit pattern drawn at random
    tighter = math.log((channel / blank).max())
    bound = reconstruction_bound(ApproximateDP(tighter), 1 / 8).value
    assert best == pytest.approx(min(math.exp(tighter) / 8, 1))  # attained: the bound is sharp
    assert bound <= best + 1e-12


def test_gaussian_reconstruction_stays_below_the_bound_and_comes_near():
    """Candidates at the corners of a simplex, seen under noise; add-or-remove mu is 1."""
    count, draws = 4, 200_000
    generator = np.random.default_rng(0)
    secret = generator.integers(0, count, draws)
    seen = generator.normal(size=(draws, count))
    seen[np.arange(draws), secret] += 1
    hits = (seen.argmax(1) == secret).mean()
    bound = reconstruction_bound(GaussianDP(1.0), 1 / count).value
    assert 0.8 * bound < hits < bound


@pytest.mark.parametrize("kappa", [0.0, 1e-4, 0.3, 1.0])
@pytest.mark.parametrize("guarantee", GUARANTEES, ids=str)
def test_a_bound_lies_between_the_prior_and_one(guarantee, kappa):
    value = reconstruction_bound(guarantee, kappa).value
    assert kappa - 1e-12 <= value <= 1


def test_training_without_privacy_gets_no_bound_and_is_told_why():
    bound = reconstruction_bound(None, 0.01)
    assert (bound.value, bound.holds) == (None, "no")
    assert "not differentially private" in bound.detail


def test_impossible_guarantees_are_refused():
    for make in (
        lambda: ApproximateDP(-1),
        lambda: ApproximateDP(float("inf")),
        lambda: ApproximateDP(1, 1.5),
        lambda: GaussianDP(float("nan")),
        lambda: RenyiDP(1.0, 1.0),
        lambda: RenyiDP(2.0, -1.0),
        lambda: reconstruction_bound(GaussianDP(1), 1.5),
    ):
        with pytest.raises(ValueError, match="not"):
            make()
