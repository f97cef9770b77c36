import numpy as np

from safelight.metrics.membership import auc
from safelight.stats.membership.label_only import agreement


def test_agreement_counts_the_queries_that_are_labeled_right():
    predicted = np.array([[0, 0, 1], [2, 2, 2], [0, 1, 2]])
    assert agreement(predicted, np.array([0, 2, 3])).tolist() == [2 / 3, 1.0, 0.0]
    assert agreement(np.stack([predicted, predicted + 1]), np.array([0, 2, 3])).shape == (2, 3)


def test_members_are_found_by_their_robustness_and_more_queries_find_more():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 2000)
    member = np.arange(2000) < 1000
    right = rng.random((2000, 20)) < np.where(member, 0.9, 0.8)[:, None]
    predicted = np.where(right, labels[:, None], labels[:, None] + 1)
    areas = []
    for queries in (1, 20):
        scores = agreement(predicted[:, :queries], labels)
        areas.append(auc(scores[member], scores[~member]))
    assert areas[0].low < 0.55 < areas[0].high  # the gap attack: (1 + 0.9 - 0.8) / 2
    assert areas[1].low > 0.7
