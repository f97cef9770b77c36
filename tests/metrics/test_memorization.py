import numpy as np
import torch
from scipy.spatial.distance import cdist

from safelight.metrics.memorization import SCALE_OF, distances, likeness_to_claims, nearest, scale


def pictures(count, seed):
    return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


def apart(left, right):
    return cdist(left.flatten(1).double().numpy(), right.flatten(1).double().numpy()) / 6


def test_distances_are_root_mean_squared_differences():
    one, two = pictures(20, 0), pictures(30, 1)
    assert np.allclose(distances(one, two).numpy(), apart(one, two), atol=1e-5)


def test_the_nearest_come_in_order_and_are_those():
    one, two = pictures(600, 0), pictures(30, 1)
    found, which = nearest(one, two, 3)
    expected = np.sort(apart(one, two), axis=1)[:, :3]
    assert np.allclose(found.numpy(), expected, atol=1e-5)
    assert (which.numpy() == np.argsort(apart(one, two), axis=1)[:, :3]).all()


def test_likeness_is_the_distance_over_the_scale_of_the_claim():
    x, claims, own = pictures(40, 0), pictures(25, 1), pictures(200, 2)
    scales = scale(claims, own)
    expected = np.sort(apart(claims, own), axis=1)[:, :SCALE_OF].mean(1)
    assert np.allclose(scales.numpy(), expected, atol=1e-5)
    ratio = apart(x, claims) / expected
    alike, which = likeness_to_claims(x, claims, scales)
    assert np.allclose(alike.numpy(), -ratio.min(1), atol=1e-4)
    assert (which.numpy() == ratio.argmin(1)).all()
