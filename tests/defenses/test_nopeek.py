import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from safelight.defenses.nopeek import NoPeek, distance_correlation
from safelight.plan.plan import FitPlan
from safelight.targets.classifiers.lenet import LeNet
from safelight.targets.cut import cut
from safelight.targets.fit import fit
from safelight.targets.target import Normalized
from safelight.testing import worlds
from safelight.testing.defenses import TrainingDefenseContract


def dcor(x, y, metric="euclidean"):
    """The definition, by scipy's distances and in float64."""
    centered = []
    for one in (x, y):
        d = squareform(pdist(np.asarray(one, dtype=float).reshape(len(one), -1), metric))
        centered.append(d - d.mean(0) - d.mean(1)[:, None] + d.mean())
    a, b = centered
    return np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))


def sample(n, seed, *shape):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [3, 50])
@pytest.mark.parametrize("shapes", [((2,), (3,)), ((1, 4, 4), (8, 2, 2)), ((1,), (500,))])
def test_it_is_the_published_formula(n, shapes):
    x, y = sample(n, 1, *shapes[0]), sample(n, 2, *shapes[1])
    y[:, 0] += x.flatten(1)[:, :1].square().reshape(n, *[1] * (y.ndim - 2))
    assert float(distance_correlation(x, y)) == pytest.approx(dcor(x, y), rel=1e-4)


def test_roots_of_distances_not_their_squares():
    """A parabola: squared distances see no dependence, distances do."""
    x = torch.linspace(-1, 1, 201)[:, None]
    y = x.square()
    assert dcor(x, y, "sqeuclidean") < 1e-6
    assert float(distance_correlation(x, y)) == pytest.approx(dcor(x, y), rel=1e-4)
    assert float(distance_correlation(x, y)) > 0.4


def test_known_values():
    x = sample(100, 0, 5)
    turn = torch.linalg.qr(sample(5, 1, 5))[0]
    assert float(distance_correlation(x, 3 * x @ turn + 7)) == pytest.approx(1, abs=1e-4)
    few = float(distance_correlation(sample(100, 1, 1), sample(100, 2, 1)))
    many = float(distance_correlation(sample(2000, 1, 1), sample(2000, 2, 1)))
    assert many < few < 0.3  # independent: toward 0 as the sample grows
    assert float(distance_correlation(x, torch.ones(100, 3))) < 1e-4


def test_its_gradient_is_that_of_the_formula():
    x, y = sample(12, 1, 3), sample(12, 2, 2).requires_grad_()
    (along,) = torch.autograd.grad(distance_correlation(x, y), y)
    step = sample(12, 3, 2)
    h = 1e-4
    up, down = (dcor(x, (y + sign * h * step).detach()) for sign in (1, -1))
    assert float((along * step).sum().detach()) == pytest.approx((up - down) / (2 * h), rel=1e-2)


def test_pictures_sent_twice_break_no_gradient():
    x, y = sample(6, 1, 3), sample(6, 2, 2)
    x[1], y[1] = x[0], y[0]
    y.requires_grad_()
    distance_correlation(x, y).backward()
    assert torch.isfinite(y.grad).all()


def test_training_lowers_the_correlation_on_other_pictures():
    roles = worlds.digits()
    recipe, left = FitPlan(epochs=4, batch_size=50, learning_rate=3e-3), []
    for train in (fit, NoPeek(cut="relu2", weight=10.0).train):
        torch.manual_seed(0)
        model = Normalized(LeNet(), (0.5,), (0.5,))
        train(model, roles.public, recipe)
        images = roles.holdout.images[:300]
        left.append(dcor(images, cut(model, "relu2", (1, 28, 28))(images)))
    plain, defended = left
    assert defended < plain - 0.03


class TestNoPeek(TrainingDefenseContract):
    defense = NoPeek(cut="relu2", noise=0.5)
