import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from safelight.metrics.membership import at_threshold, auc
from safelight.stats.membership import threshold

TIED = arrays(np.float64, st.integers(1, 20), elements=st.integers(0, 5).map(float))


@settings(max_examples=60, deadline=None)
@given(TIED, TIED)
def test_the_fitted_threshold_is_the_best_there_is(members, nonmembers):
    scores = np.append(members, nonmembers)
    inside = np.arange(scores.size) < members.size

    def gain(one):
        return (members >= one).mean() - (nonmembers >= one).mean()

    fitted = threshold.fit(scores, inside)
    assert gain(fitted) == pytest.approx(max(gain(one) for one in scores))
    assert threshold.fit(scores[::-1], inside[::-1]) == fitted


def test_yeom_calls_members_whose_loss_is_at_most_the_training_loss():
    losses = np.array([0.1, 0.5, 0.9])
    scores = threshold.score(losses)
    assert (scores >= threshold.average_loss(0.5)).tolist() == [True, True, False]


def classes(rng, shadows, n):
    """Class 1 is harder by 5, which drowns a leak of 1 unless each class has its own threshold."""
    labels = rng.integers(0, 2, n)
    inside = rng.random((shadows, n)) < 0.5
    scores = rng.normal(size=(shadows, n)) + 2 * inside - 5 * labels
    return labels, inside, scores


def test_one_threshold_a_class_sees_through_hard_classes():
    rng = np.random.default_rng(0)
    labels, inside, scores = classes(rng, 5, 3000)
    thresholds = threshold.fit_classes(scores[1:], inside[1:], labels)
    assert thresholds[0] - thresholds[1] == pytest.approx(5, abs=0.6)
    calibrated = threshold.score_by_class(scores[0], labels, thresholds)
    member = inside[0]
    plain = auc(scores[0][member], scores[0][~member])
    assert auc(calibrated[member], calibrated[~member]).low > plain.high
    calls = at_threshold(calibrated[member], calibrated[~member], 0.0)
    assert calls.accuracy.low > 0.8  # Phi(1) = 0.84 is the best


def test_a_class_without_both_sides_takes_the_threshold_of_all():
    labels = np.array([0, 0, 2])
    inside = np.array([[True, False, True], [False, True, True]])
    scores = np.array([[3.0, 1, 9], [0, 2, 8]])
    thresholds = threshold.fit_classes(scores, inside, labels)
    assert thresholds.tolist() == [2.0, 2.0, 2.0]


def test_members_only_are_refused():
    with pytest.raises(ValueError, match="members and non-members"):
        threshold.fit(np.zeros(3), np.ones(3, bool))
