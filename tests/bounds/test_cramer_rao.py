import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.covariance import ledoit_wolf
from torch import nn

from safelight.bounds.cramer_rao import GaussianPrior, bayes_bound, fit_prior
from safelight.bounds.fisher import Noise, diagonal_leakage, gram, mean_gram
from safelight.errors import DataError
from safelight.stats.seeds import Seeds

DOUBLE = torch.float64


def smooth_prior(side, channels=1, length=2.0, floor=1e-2):
    """Variance 1, pixels alike at short distance."""
    axis = torch.arange(side, dtype=DOUBLE)
    near = torch.exp(-(axis[:, None] - axis).abs() / length)
    plane = torch.kron(near, near)
    covariance = torch.kron(torch.eye(channels, dtype=DOUBLE), plane)
    covariance = (1 - floor) * covariance + floor * torch.eye(len(covariance), dtype=DOUBLE)
    return GaussianPrior(torch.full((channels, side, side), 0.5, dtype=DOUBLE), covariance)


def linear_edge(channels=1, out=4):
    torch.manual_seed(1)
    return nn.Conv2d(channels, out, 3, padding=1).double().requires_grad_(False)


class Bend(nn.Module):
    """Two pixels -> three numbers, far from linear over the prior."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.matrix = torch.randn(3, 2, dtype=DOUBLE, generator=generator)

    def forward(self, x):
        return torch.tanh(2 * x.flatten(1) @ self.matrix.T) + 0.3 * x.flatten(1) @ self.matrix.T


def two_pixels():
    covariance = torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=DOUBLE)
    return GaussianPrior(torch.tensor([0.2, -0.1], dtype=DOUBLE).reshape(1, 1, 2), covariance)


def draws(prior, count, seed=0):
    return prior.draw(count, Seeds(seed)).double()


@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0, 30.0])
@pytest.mark.parametrize("sends", [1, 5])
def test_a_linear_edge_attains_the_bound(scale, sends):
    """The oracle: closed form S - S A' (A S A' + s^2 / k I)^-1 A S, without any inverse of S."""
    prior, edge = smooth_prior(6), linear_edge()
    bound = bayes_bound(edge, prior, Noise("gaussian", scale, sends), draws(prior, 4))
    units = torch.eye(36, dtype=DOUBLE).reshape(36, 1, 6, 6)
    matrix = (edge(units) - edge(torch.zeros_like(units))).flatten(1).T
    seen = matrix @ prior.covariance @ matrix.T
    seen += scale**2 / sends * torch.eye(len(matrix), dtype=DOUBLE)
    gain = prior.covariance @ matrix.T @ torch.linalg.inv(seen)
    exact = float((prior.covariance - gain @ matrix @ prior.covariance).trace()) / 36
    assert bound.holds == "yes"
    assert bound.value == pytest.approx(exact, rel=1e-6)
    assert bound.estimate == pytest.approx(exact, rel=1e-6)


def test_the_posterior_mean_of_a_linear_edge_errs_by_the_bound():
    prior, edge, scale, count = smooth_prior(6), linear_edge(), 0.5, 12000
    pictures = draws(prior, count, seed=1)
    noise = torch.randn(count, 144, dtype=DOUBLE, generator=torch.Generator().manual_seed(3))
    messages = edge(pictures).flatten(1) + scale * noise
    units = torch.eye(36, dtype=DOUBLE).reshape(36, 1, 6, 6)
    matrix = (edge(units) - edge(torch.zeros_like(units))).flatten(1).T
    precision = matrix.T @ matrix / scale**2 + torch.linalg.inv(prior.covariance)
    expected = edge(prior.mean[None]).flatten(1)
    step = torch.linalg.solve(precision, matrix.T / scale**2 @ (messages - expected).T).T
    errors = (prior.mean.flatten() + step - pictures.flatten(1)).square().mean(1)
    bound = bayes_bound(edge, prior, Noise("gaussian", scale), draws(prior, 4))
    margin = 4 * float(errors.std()) / math.sqrt(count)
    assert margin < 0.02 * bound.value
    assert float(errors.mean()) == pytest.approx(bound.value, abs=margin)


#: Noise -> exact Bayes error, 1 / dFIL, scalar van Trees bound, all per pixel, of a 3x3
#: convolution (64 out of 3) of 12x12 pictures, computed once by other code.
TOY = {
    0.1: (0.00145, 0.00154, 0.00129),
    0.5: (0.0193, 0.0384, 0.0067),
    1.0: (0.0487, 0.1535, 0.0077),
    10.0: (0.460, 15.4, 0.0081),
}


def toy():
    """The table's prior and weights were not kept: these four numbers and the seed fit it."""
    with torch.random.fork_rng():
        torch.manual_seed(146)
        edge = nn.Conv2d(3, 64, 3, padding=1, bias=False, dtype=DOUBLE).requires_grad_(False)
    axis = torch.arange(12, dtype=DOUBLE)
    near = torch.exp(-((((axis[:, None] - axis).abs()) / 4.914) ** 1.3059))
    channels = torch.full((3, 3), 0.67378, dtype=DOUBLE).fill_diagonal_(1)
    covariance = torch.kron(channels, torch.kron(near, near))
    covariance += 7.6177e-4 * torch.eye(432, dtype=DOUBLE)
    return edge, GaussianPrior(torch.zeros(3, 12, 12, dtype=DOUBLE), covariance / covariance[0, 0])


@pytest.fixture(scope="module")
def toy_world():
    edge, prior = toy()
    return edge, prior, gram(edge, prior.mean)


@pytest.mark.parametrize("scale", TOY)
def test_the_toy_table_is_reproduced(toy_world, scale):
    edge, prior, matrix = toy_world
    noise, (exact, inverse, scalar) = Noise("gaussian", scale), TOY[scale]
    leakage = diagonal_leakage(matrix.trace(), 432, noise)
    rough = torch.linalg.inv(prior.covariance).trace() / 432
    bound = bayes_bound(edge, prior, noise, draws(prior, 4))
    assert bound.value == pytest.approx(exact, rel=0.01)
    assert float(1 / leakage) == pytest.approx(inverse, rel=0.006)
    assert float(1 / (leakage + rough)) == pytest.approx(scalar, rel=0.01)
    assert bound.value > float(1 / (leakage + rough))  # the scalar bound is the weaker
    assert bound.value < float(1 / leakage)  # 1 / dFIL is beaten by the posterior mean


def errors_of_the_posterior_mean(edge, prior, scale, count, samples):
    """Squared errors per pixel of E[x | z], by importance sampling from the prior."""
    secret = draws(prior, count, seed=5)
    clean = edge(secret)
    noise = torch.randn(clean.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(6))
    seen = clean + scale * noise
    guesses = draws(prior, samples, seed=7)
    logs = -torch.cdist(seen, edge(guesses)).square() / (2 * scale**2)
    posterior_mean = logs.softmax(1) @ guesses.flatten(1)
    return (posterior_mean - secret.flatten(1)).square().mean(1)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_the_best_attacker_of_a_bent_edge_stays_above_the_bound(scale):
    prior, edge = two_pixels(), Bend()
    bound = bayes_bound(edge, prior, Noise("gaussian", scale), draws(prior, 400), chunk=64)
    errors = errors_of_the_posterior_mean(edge, prior, scale, count=1500, samples=10000)
    best, margin = float(errors.mean()), 3 * float(errors.std()) / math.sqrt(1500)
    assert bound.value < best + margin
    assert bound.value > 0.3 * best  # and the bound says something


def true_bound(edge, prior, noise):
    """B(E[J'J]) with the mean over a fine grid of quantiles, for two pixels."""
    levels = torch.from_numpy(stats.norm.ppf((np.arange(60) + 0.5) / 60))
    grid = torch.stack(torch.meshgrid(levels, levels, indexing="ij"), -1).reshape(-1, 2)
    root = torch.linalg.cholesky(prior.covariance)
    pictures = (prior.mean.flatten() + grid @ root.T).reshape(-1, 1, 1, 2)
    jacobians = torch.func.vmap(torch.func.jacrev(lambda x: edge(x[None])[0]))(pictures)
    flat = jacobians.flatten(2)
    mean = (flat.mT @ flat).mean(0)
    total = noise.information * mean + torch.linalg.inv(prior.covariance)
    return float(torch.linalg.inv(total).trace()) / 2


def test_the_one_sided_margin_covers_as_often_as_it_says():
    prior, edge, noise = two_pixels(), Bend(), Noise("gaussian", 0.5)
    exact = true_bound(edge, prior, noise)
    bounds = [
        bayes_bound(edge, prior, noise, draws(prior, 40, seed), level=0.9) for seed in range(100)
    ]
    covered = np.mean([one.value <= exact for one in bounds])
    assert covered >= 0.85  # 0.9, less two standard deviations of 100 runs
    assert np.mean([one.value for one in bounds]) > 0.6 * exact
    prior_information = torch.linalg.inv(prior.covariance)
    plug_in = [
        float(
            torch.linalg.inv(
                noise.information * mean_gram(edge, draws(prior, 40, seed)) + prior_information
            ).trace()
        )
        / 2
        for seed in range(100)
    ]
    assert np.mean(plug_in) > exact  # convex: the reason for the tangent


def test_more_noise_raises_the_bound_and_more_sends_lower_it():
    prior, edge = two_pixels(), Bend()
    pictures = draws(prior, 40)
    noise = [bayes_bound(edge, prior, Noise("gaussian", s), pictures).value for s in (0.3, 1, 3)]
    sends = [
        bayes_bound(edge, prior, Noise("gaussian", 1.0, k), pictures).value for k in (1, 4, 16)
    ]
    laplace = bayes_bound(edge, prior, Noise("laplace", 1.0), pictures).value
    assert noise == sorted(noise)
    assert sends == sorted(sends, reverse=True)
    assert sends[0] == noise[1] == laplace
    assert max(noise) <= float(prior.covariance.trace()) / 2  # what the prior mean errs by


def test_a_deterministic_edge_gets_no_bound_and_is_told_why():
    prior = two_pixels()
    bound = bayes_bound(Bend(), prior, Noise("gaussian", 0.0), draws(prior, 4))
    assert (bound.value, bound.estimate, bound.holds) == (None, None, "no")
    assert "without randomness" in bound.detail
    assert bound.record().holds == "no"


def test_a_fitted_prior_is_not_called_a_certificate_for_real_pictures():
    prior = fit_prior(torch.rand(50, 1, 1, 2))
    bound = bayes_bound(Bend(), prior, Noise("gaussian", 1.0), draws(prior, 8))
    assert bound.holds == "unknown"
    assert "fitted" in bound.detail
    assert bound.record().value == bound.value > 0


@pytest.mark.parametrize("count", [2, 10, 300])
def test_the_fitted_covariance_is_that_of_an_independent_implementation(count):
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(count, 1, 4, 5, generator=generator) ** 2
    pictures[:, 0, 1:] += pictures[:, 0, :1]
    prior = fit_prior(pictures)
    expected, weight = ledoit_wolf(pictures.flatten(1).double().numpy())
    assert prior.shrinkage == pytest.approx(weight)
    assert np.allclose(prior.covariance.numpy(), expected)
    assert torch.allclose(prior.mean, pictures.double().mean(0))


def test_a_fit_with_pixels_that_never_change_can_be_used():
    pictures = torch.rand(30, 1, 3, 3)
    pictures[:, :, 0] = 0
    prior = fit_prior(pictures)
    bound = bayes_bound(nn.Flatten(), prior, Noise("gaussian", 0.1), draws(prior, 4))
    assert bound.value > 0


def test_the_prior_draws_what_it_says():
    prior = smooth_prior(3)
    pictures = draws(prior, 40000).flatten(1)
    assert torch.allclose(pictures.mean(0), prior.mean.flatten(), atol=0.03)
    assert torch.allclose(torch.cov(pictures.T), prior.covariance, atol=0.04)


def test_what_cannot_be_used_is_refused_with_the_remedy():
    prior = two_pixels()
    with pytest.raises(DataError, match="4 draws"):
        bayes_bound(Bend(), prior, Noise("gaussian", 1.0), draws(prior, 3))
    flat = GaussianPrior(prior.mean, torch.ones(2, 2, dtype=DOUBLE))
    with pytest.raises(DataError, match="positive definite"):
        bayes_bound(Bend(), flat, Noise("gaussian", 1.0), draws(prior, 4))
    for pictures in (torch.rand(1, 1, 2, 2), torch.ones(5, 1, 2, 2)):
        with pytest.raises(DataError, match="add pictures"):
            fit_prior(pictures)
