import itertools

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from skimage.metrics import structural_similarity

from safelight.metrics.matching import (
    best_of,
    closeness,
    correlation,
    coverage,
    nearest,
    one_to_one,
    structural,
)

RNG = np.random.default_rng(0)


def pictures(n, seed=0):
    return torch.rand(n, 1, 9, 8, generator=torch.Generator().manual_seed(seed))


def test_correlation_is_that_of_deviations_from_the_center():
    left, right = pictures(4), pictures(3, 1)
    center = torch.rand(1, 9, 8)
    found = correlation(left, right, center)
    for i, j in itertools.product(range(4), range(3)):
        a, b = (left[i] - center).flatten(), (right[j] - center).flatten()
        assert found[i, j].item() == pytest.approx((a @ b / a.norm() / b.norm()).item(), abs=1e-6)
    # About each picture's own mean it would be Pearson's.
    flat = left - left.mean((1, 2, 3), keepdim=True)
    other = right - right.mean((1, 2, 3), keepdim=True)
    pearson = pearsonr(flat[0].flatten(), other[0].flatten()).statistic
    zero = torch.zeros(1, 9, 8)
    assert correlation(flat, other, zero)[0, 0].item() == pytest.approx(pearson, abs=1e-6)


def test_what_everybody_knows_is_like_nothing():
    center = torch.rand(1, 9, 8)
    assert correlation(pictures(3), center[None], center).abs().max() == 0


def test_closeness_is_the_root_mean_square_and_zero_for_equal_pictures():
    left = pictures(5)
    found = closeness(left, left)
    assert (found.diagonal() == 0).all()
    by_hand = -(left[1] - left[2]).square().mean().sqrt()
    assert found[1, 2].item() == pytest.approx(by_hand.item(), abs=1e-6)


def test_structural_is_skimage_s():
    left, right = pictures(2), pictures(3, 1)
    found = structural(left, right)
    for i, j in itertools.product(range(2), range(3)):
        theirs = structural_similarity(left[i, 0].numpy(), right[j, 0].numpy(), data_range=1.0)
        assert found[i, j].item() == pytest.approx(theirs, abs=1e-4)


def test_nearest_shares_candidates_and_one_to_one_does_not():
    likeness = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.6]])
    assert nearest(likeness).candidate.tolist() == [0, 0, 0]
    own = one_to_one(likeness)
    assert own.candidate.tolist() == [0, -1, 1]
    assert own.likeness[1] == -np.inf


@pytest.mark.parametrize(("n", "m"), [(4, 4), (3, 5), (5, 3)])
def test_one_to_one_is_the_best_of_all_assignments(n, m):
    for _ in range(20):
        likeness = RNG.normal(size=(n, m))
        found = one_to_one(likeness)
        kept = found.candidate >= 0
        assert kept.sum() == min(n, m)
        assert len(set(found.candidate[kept])) == kept.sum()
        rows = itertools.permutations(range(n), min(n, m))
        columns = list(itertools.permutations(range(m), min(n, m)))
        best = max(
            sum(likeness[r, c] for r, c in zip(row, column, strict=True))
            for row in rows
            for column in columns[: len(columns) if n <= m else 1]
        )
        if n <= m:
            assert found.likeness[kept].sum() == pytest.approx(best)


def test_coverage_counts_pictures_that_are_nearest_to_some_candidate():
    assert coverage(np.eye(4)) == 1
    assert coverage(np.array([[0.9, 0.9, 0.9], [0.1, 0.2, 0.3]])) == 0.5


def test_more_candidates_never_hurt_and_all_of_them_are_the_nearest():
    likeness = RNG.normal(size=(30, 40))
    means = [best_of(likeness, budget).mean() for budget in (1, 2, 5, 20, 40)]
    assert all(b >= a for a, b in itertools.pairwise(means))
    assert np.array_equal(best_of(likeness, 40), nearest(likeness).likeness)
    assert np.array_equal(best_of(likeness, 7), best_of(likeness, 7))
