import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax

from safelight.stats.membership.signals import (
    confidence_of_logits,
    confidence_of_losses,
    cross_entropy,
)

LOGITS = arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(2, 6)), elements=st.floats(-9, 9)
)
few = settings(max_examples=50, deadline=None)


@few
@given(LOGITS, st.integers(0, 10**6))
def test_signals_by_definition(logits, seed):
    labels = np.random.default_rng(seed).integers(0, logits.shape[1], len(logits))
    rows = np.arange(len(logits))
    p = softmax(logits, -1)[rows, labels]
    assert np.allclose(cross_entropy(logits, labels), -log_softmax(logits, -1)[rows, labels])
    assert np.allclose(confidence_of_logits(logits, labels), np.log(p / (1 - p)), atol=1e-6)
    assert np.allclose(confidence_of_losses(-np.log(p)), np.log(p / (1 - p)), atol=1e-6)


def test_shadows_and_queries_ride_along():
    logits = np.random.default_rng(0).normal(size=(3, 4, 2, 5))  # shadows, n, queries, classes
    labels = np.array([0, 4, 2, 2])
    for signal in (cross_entropy, confidence_of_logits):
        every = signal(logits, labels[:, None])
        assert every.shape == (3, 4, 2)
        assert np.allclose(every[2, :, 1], signal(logits[2, :, 1], labels))


def test_certainty_is_told_apart_where_the_probability_has_rounded_to_one():
    logits = np.array([[40.0, 0, 0], [60.0, 0, 0]], dtype=np.float32)
    sure = confidence_of_logits(logits, np.array([0, 0]))
    assert sure == pytest.approx([40 - np.log(2), 60 - np.log(2)])


def test_losses_of_nothing_and_of_hundreds_stay_finite_and_ordered():
    losses = np.array([0.0, 1e-9, 1e-3, 1, 400, 800, 1e4])
    odds = confidence_of_losses(losses)
    assert np.isfinite(odds).all()
    assert (np.diff(odds) <= 0).all()
    assert odds[0] == pytest.approx(24 * np.log(2))
    assert odds[-1] == -1e4
