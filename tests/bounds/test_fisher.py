import numpy as np
import pytest
import torch
from torch import nn

from safelight.bounds import fisher
from safelight.bounds.fisher import Noise, diagonal_leakage, gram, mean_gram, trace, trace_limit
from safelight.stats.seeds import Seeds


class Matrix(nn.Module):
    """The edge z = A x, whose J'J is A'A for every picture."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix

    def forward(self, x):
        return x.flatten(1) @ self.matrix.T


def small_edge():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.Sigmoid(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU()]
    return nn.Sequential(*layers).double().requires_grad_(False)


def by_differences(edge, picture, step=1e-6):
    """J'J from central differences, one pixel at a time: independent of automatic derivatives."""
    units = step * torch.eye(picture.numel(), dtype=torch.float64).reshape(-1, *picture.shape)
    columns = (edge(picture + units) - edge(picture - units)).flatten(1) / (2 * step)
    return columns @ columns.T


@pytest.mark.parametrize("layers", [5, 3, 1])  # 96, 144 and 256 numbers from 100 pixels
@pytest.mark.parametrize("chunk", [7, 1000])
def test_the_gram_matrix_is_that_of_finite_differences(layers, chunk):
    edge = small_edge()[:layers]
    picture = torch.rand(1, 10, 10, dtype=torch.float64)
    exact = by_differences(edge, picture)
    assert torch.allclose(gram(edge, picture, chunk), exact, atol=1e-7 * float(exact.max()))


def test_both_ways_through_the_jacobian_are_taken_and_agree(monkeypatch):
    picture = torch.rand(1, 10, 10, dtype=torch.float64)
    wide, narrow = small_edge()[:1], small_edge()[:4]
    monkeypatch.setattr(fisher, "_jacobian_rows", lambda *_: iter(()))
    assert torch.allclose(gram(wide, picture), by_differences(wide, picture), atol=1e-7)
    assert not gram(narrow, picture).any()


def test_the_mean_gram_is_the_mean():
    edge, pictures = small_edge(), torch.rand(3, 1, 10, 10, dtype=torch.float64)
    each = torch.stack([by_differences(edge, one) for one in pictures])
    assert torch.allclose(mean_gram(edge, pictures), each.mean(0), atol=1e-8)


def test_float32_edges_give_float64_matrices_without_gradients():
    edge = small_edge().float().requires_grad_(True)
    matrix = gram(edge, torch.rand(1, 10, 10))
    assert matrix.dtype == torch.float64
    assert not matrix.requires_grad


def test_probes_find_the_trace_of_each_picture():
    edge, pictures = small_edge(), torch.rand(3, 1, 10, 10, dtype=torch.float64)
    pictures[2] *= 3
    exact = np.array([float(gram(edge, one).trace()) for one in pictures])
    found = trace(edge, pictures, 4000, Seeds(0), chunk=1000)
    matrices = [gram(edge, one) for one in pictures]
    variance = [2 * float(one.square().sum() - one.diagonal().square().sum()) for one in matrices]
    error = 4 * np.sqrt(np.array(variance) / 4000)
    assert (np.abs(found.value.numpy() - exact) < error).all()
    assert (found.high.numpy() > exact).all()
    assert (found.high.numpy() < 1.1 * exact).all()


def test_probes_are_those_of_the_seed_and_not_of_the_chunk():
    edge, pictures = small_edge(), torch.rand(2, 1, 10, 10, dtype=torch.float64)
    first = trace(edge, pictures, 8, Seeds(0), chunk=8).value
    assert torch.equal(first, trace(edge, pictures, 8, Seeds(0), chunk=8).value)
    assert not torch.equal(first, trace(edge, pictures, 8, Seeds(1), chunk=8).value)


def probed(matrix, probes, runs, seed):
    """The means of ``runs`` times ``probes`` Rademacher probes of a matrix A'A given as A."""
    signs = np.random.default_rng(seed).integers(0, 2, (runs * probes, matrix.shape[1])) * 2 - 1
    return np.square(signs @ matrix.T).sum(1).reshape(runs, probes).mean(1)


DIRECTIONS = {
    "one direction, all pixels": np.ones((1, 16)) / 4,
    "one direction, two pixels": np.array([[1.0, 1.0]]),
    "one direction, one of three pixels twice": np.array([[1.0, 1.0, 2.0]]),
    "a few directions": np.random.default_rng(3).normal(size=(3, 40)),
    "many directions": np.random.default_rng(4).normal(size=(80, 40)),
}


@pytest.mark.parametrize("probes", [8, 32, 128])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_the_limit_covers_the_trace_as_often_as_it_says(name, probes):
    matrix = DIRECTIONS[name]
    exact, norm = np.square(matrix).sum(), np.linalg.norm(matrix, 2)
    means = probed(matrix, probes, runs=2000, seed=probes)
    for known in (np.inf, norm, 2 * norm):
        limit = trace_limit(means, probes, matrix.shape[1], level=0.9, norm=known)
        assert (limit >= exact).mean() >= 0.9
        assert (limit >= means).all()


def test_the_limit_is_within_reach_of_what_is_possible():
    """Two pixels read as one: X is 0 or 2 T by a fair coin, and q KL's known value is reached."""
    means = probed(DIRECTIONS["one direction, two pixels"], 32, runs=20000, seed=0)
    limit = trace_limit(means, 32, 2, level=0.9)
    assert 0.9 <= (limit >= 2).mean() <= 0.98  # not vacuous: a coin of 32 throws is this coarse


def test_the_t_limit_would_not_cover():
    """Why the limit is not the usual one: in one direction it misses more often than it says."""
    matrix = DIRECTIONS["one direction, all pixels"]
    signs = np.random.default_rng(0).integers(0, 2, (20000, 8, 16)) * 2 - 1
    squares = np.square(signs @ matrix.T)[..., 0]
    limit = squares.mean(1) + 1.415 * squares.std(1, ddof=1) / np.sqrt(8)  # t of 90 %, 7 degrees
    assert (limit >= 1).mean() < 0.85


def test_a_known_norm_sharpens_the_limit():
    """The research figures for a first convolution: trace 20906, 3,072 pixels, 32 probes."""
    mean = np.array([20906.0])
    assert trace_limit(mean, 32, 3072)[0] / 20906 == pytest.approx(2.32, abs=0.01)
    assert trace_limit(mean, 32, 3072, norm=3.0)[0] / 20906 < 1.03


def test_limits_of_nothing_seen():
    dead = np.zeros(1)
    assert trace_limit(dead, 4, 100)[0] == np.inf
    assert trace_limit(dead, 32, 100)[0] == pytest.approx(0, abs=1e-12)
    assert trace_limit(np.array([2.0]), 1, 1)[0] == pytest.approx(
        2
    )  # one pixel: every probe is exact
    assert trace_limit(np.array([2.0]), 2, 100)[0] == np.inf


@pytest.mark.parametrize(
    ("noise", "information"),
    [
        (Noise("gaussian", 0.5), 4),
        (Noise("gaussian", 0.5, sends=3), 12),
        (Noise("laplace", 0.5), 4),
        (Noise("laplace", 2.0, sends=8), 2),
        (Noise("gaussian", 0.0), np.inf),
    ],
)
def test_information_of_noise(noise, information):
    assert noise.information == information


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_information_is_the_mean_squared_score_of_the_density(kind):
    noise = Noise(kind, 0.7)
    z = np.linspace(-30, 30, 600_000)  # no grid point at 0, where Laplace has a corner
    shape = -0.5 * (z / 0.7) ** 2 if kind == "gaussian" else -np.abs(z) / 0.7
    density = np.exp(shape) / np.exp(shape).sum()
    score = np.gradient(shape, z)
    assert (density * score**2).sum() == pytest.approx(noise.information, rel=1e-3)


@pytest.mark.parametrize(("scale", "sends"), [(-1.0, 1), (float("nan"), 1), (1.0, 0)])
def test_impossible_noise_is_refused(scale, sends):
    with pytest.raises(ValueError, match="not"):
        Noise("gaussian", scale, sends)


def test_leakage_grows_with_sends_and_falls_with_noise():
    traces = torch.tensor([6.0, 12.0])
    leakage = diagonal_leakage(traces, 3, Noise("gaussian", 2.0))
    assert leakage.tolist() == [0.5, 1.0]
    assert diagonal_leakage(traces, 3, Noise("gaussian", 2.0, sends=4)).tolist() == [2.0, 4.0]
    assert diagonal_leakage(traces, 3, Noise("gaussian", 4.0)).tolist() == [0.125, 0.25]
    assert diagonal_leakage(traces, 3, Noise("gaussian", 0.0)).isinf().all()
