import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import beta, norm

from safelight.bounds.rero import ApproximateDP, GaussianDP
from safelight.bounds.two_run_audit import (
    epsilon_lower_bound,
    epsilon_of_mu,
    mu_lower_bound,
    mu_of_scores,
)


def test_worked_numbers():
    """1,000 of 1,000 hits and no alarm: the exact limits are roots of the tail itself."""
    fpr = 1 - 0.025 ** (1 / 1000)
    found = epsilon_lower_bound(1000, 1000, 0, 1000, 0.0)
    assert found == pytest.approx(math.log((1 - fpr) / fpr))
    assert found == pytest.approx(5.6006, abs=1e-4)
    tpr, fpr = beta.ppf(0.025, 60, 41), beta.ppf(0.975, 21, 80)  # 60 and 20 of 100
    assert epsilon_lower_bound(60, 100, 20, 100, 0.01) == pytest.approx(
        max(math.log((tpr - 0.01) / fpr), math.log((1 - fpr - 0.01) / (1 - tpr)))
    )
    assert mu_lower_bound(60, 100, 20, 100) == pytest.approx(norm.ppf(tpr) - norm.ppf(fpr))


@pytest.mark.parametrize("true", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("runs", [50, 1000])
def test_randomized_response_is_not_overestimated(true, runs):
    rng = np.random.default_rng(0)
    hits, alarms = rng.binomial(runs, expit(true), 600), rng.binomial(runs, expit(-true), 600)
    bounds = [
        epsilon_lower_bound(int(h), runs, int(a), runs, 0.0)
        for h, a in zip(hits, alarms, strict=True)
    ]
    assert np.mean(np.array(bounds) > true) <= 0.05
    if runs == 1000:
        assert np.mean(bounds) > true - 0.5


def test_delta_is_kept():
    """A mechanism that shows the canary with probability 0.3 and says nothing else."""
    rng = np.random.default_rng(1)
    hits = rng.binomial(1000, 0.3, 300)
    bounds = [epsilon_lower_bound(int(one), 1000, 0, 1000, 0.3) for one in hits]
    assert np.mean(np.array(bounds) > 0) <= 0.05
    assert epsilon_lower_bound(300, 1000, 0, 1000, 0.0) > 3


@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_the_gaussian_mechanism_is_bounded_from_below_and_nearly_reached(mu):
    rng = np.random.default_rng(2)
    fpr = 0.1
    hits = rng.binomial(1000, norm.sf(norm.isf(fpr) - mu), 400)
    alarms = rng.binomial(1000, fpr, 400)
    pairs = [(int(h), 1000, int(a), 1000) for h, a in zip(hits, alarms, strict=True)]
    bounds = np.array([mu_lower_bound(*one) for one in pairs])
    assert (bounds > mu).mean() <= 0.05
    assert bounds.mean() > mu - 0.3
    epsilon = epsilon_of_mu(mu, 1e-5)
    proved = np.array([epsilon_lower_bound(*one, 1e-5) for one in pairs])
    assert (proved > epsilon).mean() <= 0.05
    # Knowing that the noise is Gaussian proves several times as much.
    assert epsilon_of_mu(bounds.mean(), 1e-5) > 1.5 * proved.mean()


@pytest.mark.parametrize(
    ("mu", "m", "n"), [(0.0, 30, 30), (1.0, 20, 50), (5.0, 100, 100), (9.0, 5, 5)]
)
def test_mu_of_gaussian_scores_is_covered(mu, m, n):
    rng = np.random.default_rng(3)
    found = [
        mu_of_scores(7 + 3 * rng.normal(mu, 1, m), 7 + 3 * rng.normal(size=n)) for _ in range(400)
    ]
    covered = np.mean([one.low <= mu <= one.high for one in found])
    assert 0.92 <= covered <= 0.98  # 0.95, give or take three deviations of 400 draws
    assert np.median([one.value for one in found]) == pytest.approx(mu, rel=0.1, abs=0.1)


@pytest.mark.parametrize(
    ("bug", "seen"),
    [({}, False), ({"noise": 0.0}, True), ({"noise": 0.5}, True), ({"size": 4.0}, True)],
    ids=["correct", "no noise", "half the noise", "no clipping"],
)
def test_planted_bugs_are_flagged_and_a_correct_run_is_not(bug, seen):
    """Clip to 1, add noise of deviation 1 / mu; a canary's gradient has norm 4."""
    rng, claimed = np.random.default_rng(4), 1.0
    size, noise = bug.get("size", 1.0), bug.get("noise", 1.0) / claimed
    flagged = []
    for _ in range(60):
        # Exact zeros would leave no deviation; floating point never is that quiet either.
        noisy = noise * rng.normal(size=(2, 200)) + 1e-6 * rng.normal(size=(2, 200))
        flagged.append(mu_of_scores(size + noisy[0], noisy[1]).low > claimed)
    assert np.mean(flagged) >= 0.95 if seen else np.mean(flagged) <= 0.05


@pytest.mark.parametrize("delta", [1e-6, 1e-3])
@pytest.mark.parametrize("mu", [0.2, 1.0, 4.0])
def test_the_epsilon_of_mu_touches_its_trade_off_curve(mu, delta):
    """The (epsilon, delta) region holds the Gaussian curve, and no smaller epsilon's does."""
    rates = np.concatenate([np.geomspace(1e-12, 0.5, 4000), 1 - np.geomspace(1e-12, 0.5, 4000)])
    gap = GaussianDP(mu).tradeoff(rates) - ApproximateDP(epsilon_of_mu(mu, delta), delta).tradeoff(
        rates
    )
    assert gap.min() >= -1e-9
    less = ApproximateDP(0.99 * epsilon_of_mu(mu, delta), delta).tradeoff(rates)
    assert (GaussianDP(mu).tradeoff(rates) - less).min() < 0


def test_known_epsilon_of_mu():
    assert epsilon_of_mu(1.0, 1e-5) == pytest.approx(4.3772, abs=1e-4)
    assert epsilon_of_mu(0.0, 1e-5) == 0
    assert epsilon_of_mu(1e-6, 0.1) == 0


def test_what_cannot_be_is_refused():
    for counts in ((5, 4, 0, 4), (0, 4, -1, 4)):
        with pytest.raises(ValueError, match="are no counts"):
            epsilon_lower_bound(*counts, 0.0)
        with pytest.raises(ValueError, match="are no counts"):
            mu_lower_bound(*counts)
    with pytest.raises(ValueError, match="two scores a side"):
        mu_of_scores(np.array([1.0]), np.arange(3.0))
    with pytest.raises(ValueError, match="no noise to measure"):
        mu_of_scores(np.ones(3), np.zeros(3))
    with pytest.raises(ValueError, match="mu is at least 0"):
        epsilon_of_mu(-1, 0.1)
    with pytest.raises(ValueError, match="delta in"):
        epsilon_of_mu(1, 0)
    with pytest.raises(ValueError, match="no epsilon below"):
        epsilon_of_mu(100, 1e-5)
