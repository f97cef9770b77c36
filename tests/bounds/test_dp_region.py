import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from safelight.bounds.dp_region import (
    gaussian_with,
    largest_auc,
    largest_tpr,
    proved,
    region,
)
from safelight.bounds.rero import ApproximateDP, GaussianDP
from safelight.bounds.two_run_audit import epsilon_of_mu

EPSILONS = st.floats(0.05, 12)
DELTAS = st.floats(1e-8, 1e-2)


@settings(max_examples=40, deadline=None)
@given(EPSILONS, DELTAS)
def test_the_gaussian_mechanism_is_the_inverse_of_its_epsilon(epsilon, delta):
    assert epsilon_of_mu(gaussian_with(epsilon, delta).mu, delta) == pytest.approx(
        epsilon, rel=1e-6
    )


@settings(max_examples=40, deadline=None)
@given(EPSILONS, DELTAS)
def test_the_gaussian_curve_lies_within_that_of_its_epsilon_and_touches_it(epsilon, delta):
    fpr = np.geomspace(1e-9, 1, 4000)
    wide = largest_tpr(ApproximateDP(epsilon, delta), fpr)
    narrow = largest_tpr(gaussian_with(epsilon, delta), fpr)
    assert (narrow <= wide + 1e-9).all()
    assert (fpr <= narrow + 1e-12).all()


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 4))
def test_no_test_of_two_gaussians_beats_the_region(mu):
    """Thresholds on N(mu, 1) against N(0, 1): all points lie on the border."""
    thresholds = np.linspace(-3, 5, 50)
    fpr, tpr = norm.sf(thresholds), norm.sf(thresholds - mu)
    assert np.allclose(largest_tpr(GaussianDP(mu), fpr), tpr, atol=1e-9)
    assert largest_auc(GaussianDP(mu)) == pytest.approx(norm.cdf(mu / np.sqrt(2)), abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 5))
def test_no_test_of_randomized_response_beats_the_region(epsilon):
    """A coin that is right with chance e^eps / (1 + e^eps): its one threshold is on the border."""
    right = 1 / (1 + np.exp(-epsilon))
    assert largest_tpr(ApproximateDP(epsilon), np.array([1 - right]))[0] == pytest.approx(right)


def test_what_is_drawn_reaches_from_nobody_to_everybody():
    points = region(ApproximateDP(3.0, 1e-5)).points()
    assert points[0] == (0.0, pytest.approx(1e-5))
    assert points[-1] == (pytest.approx(1.0), pytest.approx(1.0))
    assert points == sorted(points)
    assert largest_auc(ApproximateDP(0.0)) == pytest.approx(0.5, abs=1e-4)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.2, 2))
def test_all_epsilons_of_a_gaussian_together_are_its_own_curve(mu):
    """The dual of its trade-off function: each pair is a tangent, which is nowhere below it."""
    fpr, deltas = np.geomspace(1e-4, 0.5, 40), np.geomspace(1e-12, 0.9, 80)
    pairs = [ApproximateDP(epsilon_of_mu(mu, one), one) for one in deltas]
    together, exact = (largest_tpr(one, fpr) for one in (proved(pairs), GaussianDP(mu)))
    assert (exact <= together + 1e-6).all()
    assert together == pytest.approx(exact, rel=0.1)
    for one in pairs[::10]:
        assert (together <= largest_tpr(one, fpr) + 1e-12).all()


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 1e-5), (1.0, 0.0), (1.0, 1.0)])
def test_what_no_gaussian_keeps_is_refused(epsilon, delta):
    with pytest.raises(ValueError, match="epsilon is above 0"):
        gaussian_with(epsilon, delta)
