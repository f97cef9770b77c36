"""Downstream accuracy and the Fréchet distance, each against an independent implementation."""

import dataclasses
import functools
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.stats import binomtest
from sklearn.neural_network import MLPClassifier

from safelight.data.images import ImageSet
from safelight.data.roles import deal
from safelight.errors import DataError
from safelight.metrics.generator_quality import (
    downstream_accuracy,
    feature_distance,
    frechet_distance,
)
from safelight.plan.plan import DataPlan, RolePlan


@functools.cache
def digits():
    return deal(
        DataPlan(
            source="embedded",
            size=16,
            private=RolePlan(count=2000),
            public=RolePlan(count=1000),
            holdout=RolePlan(count=1000),
        )
    )


def test_accuracy_is_near_that_of_an_independent_classifier():
    taught, tested = digits().private, digits().holdout
    found = downstream_accuracy(taught, tested, steps=300)
    theirs = MLPClassifier((128,), random_state=0, max_iter=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would go on
        theirs.fit(taught.images.flatten(1).numpy(), taught.labels.numpy())
    reference = theirs.score(tested.images.flatten(1).numpy(), tested.labels.numpy())
    assert reference - 0.02 < found.value < reference + 0.07
    interval = binomtest(round(found.value * 1000), 1000).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.n == 1000


def test_labels_without_meaning_give_chance():
    taught = digits().private
    order = torch.randperm(len(taught), generator=torch.Generator().manual_seed(0))
    shuffled = dataclasses.replace(taught, labels=taught.labels[order])
    found = downstream_accuracy(shuffled, digits().holdout, steps=30)
    assert found.low < 0.17


def test_the_same_seed_gives_the_same_accuracy():
    one, other = (
        downstream_accuracy(digits().public, digits().holdout, steps=30, seed=3) for _ in range(2)
    )
    assert one == other


def test_sets_of_another_kind_are_refused():
    small = ImageSet(torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.long), ("a",), "noise")
    with pytest.raises(DataError, match="of the same kind"):
        downstream_accuracy(small, digits().holdout)
    with pytest.raises(DataError, match="no pictures"):
        downstream_accuracy(small.rows(torch.arange(0)), small)


@pytest.mark.parametrize(("n", "width"), [(200, 5), (20, 12)])
def test_the_distance_is_that_of_a_matrix_square_root(n, width):
    """Also where there are hardly more rows than features."""
    rng = np.random.default_rng(0)
    one = rng.normal(size=(n, width)) @ rng.normal(size=(width, width)) + 1
    other = rng.normal(size=(n + 10, width)) ** 2
    a, b = np.cov(one.T), np.cov(other.T)
    root = scipy.linalg.sqrtm(a @ b).real
    expected = np.sum((one.mean(0) - other.mean(0)) ** 2) + np.trace(a + b - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)


def test_the_distance_is_zero_to_itself_and_known_in_one_dimension():
    one = np.random.default_rng(0).normal(size=(500, 1))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    # |m1 - m2|^2 + (s1 - s2)^2
    shift, s = 2.0, one.std(ddof=1)
    assert frechet_distance(one, 3 * one + shift) == pytest.approx(
        (2 * one.mean() + shift) ** 2 + (2 * s) ** 2
    )


def test_the_distance_grows_with_what_is_wrong_with_the_pictures():
    real, others = digits().public.images, digits().holdout.images
    draw = torch.Generator().manual_seed(0)
    project = torch.randn(256, 20, generator=draw) / 16

    def features(x):
        return (x.flatten(1) @ project).relu()

    values = [
        feature_distance((others + amount * noise).clamp(0, 1), real, features)
        for noise in [torch.randn(others.shape, generator=draw)]
        for amount in (0.0, 0.2, 1.0)
    ]
    assert values == sorted(values)
    assert values[0] < 0.1 * values[2]
