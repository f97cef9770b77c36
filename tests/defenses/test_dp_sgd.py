import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest, norm
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.defenses.dp_sgd import DPSGD, check, epsilon_of
from safelight.errors import LoadError, PlanError
from safelight.plan.plan import FitPlan
from safelight.targets.target import Normalized
from safelight.testing import worlds
from safelight.testing.defenses import TrainingDefenseContract

RECIPE = FitPlan(epochs=1, batch_size=20, learning_rate=0.5, weight_decay=0.0)
SILENT = 1e-6


def digits(n=40):
    return worlds.digits().public.rows(torch.arange(n))


def model(*front, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            *front, nn.Conv2d(1, 4, 5, stride=4), nn.Tanh(), nn.Flatten(), nn.Linear(144, 10)
        )
    return Normalized(network, (0.5,), (0.5,))


def clipped_sum(net, data, clip, clipping):
    """Every picture's gradient by itself, clipped and summed: a loop and nothing of Opacus."""
    own = list(net.network.parameters())
    total = [torch.zeros_like(one) for one in own]
    for x, y in zip(data.images, data.labels, strict=True):
        grads = torch.autograd.grad(F.cross_entropy(net(x[None]), y[None]), own)
        if clipping == "flat":
            scale = min(1, clip / torch.cat([g.flatten() for g in grads]).norm())
            parts = [g * scale for g in grads]
        elif clipping == "per layer":
            each = clip / math.sqrt(len(own))
            parts = [g * min(1, each / g.norm()) for g in grads]
        else:
            each = clip / math.sqrt(sum(len(g) for g in grads))
            parts = [torch.stack([row * min(1, each / row.norm()) for row in g]) for g in grads]
        total = [one + part for one, part in zip(total, parts, strict=True)]
    return total


@pytest.mark.parametrize("clipping", ["flat", "per layer", "per channel"])
@pytest.mark.parametrize("at_once", [512, 7])
def test_a_step_without_noise_is_the_sum_of_clipped_gradients(clipping, at_once):
    """The whole set is one batch: w' = w - rate / n sum of clip(g_i)."""
    data, before, after = digits(), model(), model()
    defense = DPSGD(noise=SILENT, clip=0.3, clipping=clipping, at_once=at_once)
    defense.train(after, data, RECIPE.model_copy(update={"batch_size": 40}))
    expected = clipped_sum(before, data, 0.3, clipping)
    pairs = zip(before.network.parameters(), after.network.parameters(), expected, strict=True)
    for old, new, summed in pairs:
        assert torch.allclose(old - new, 0.5 / 40 * summed, atol=2e-6)


def test_the_noise_has_the_deviation_that_is_claimed():
    """One step with hardly any clipping bound left to gradients: what moves is noise."""
    data, before, after = digits(), model(), model()
    recipe = RECIPE.model_copy(update={"batch_size": 40})
    DPSGD(noise=2.0, clip=1e-3).train(after, data, recipe)
    # Gradients add 40 x 1e-3 to a noise of 2 x 1e-3 on each weight: take them off.
    expected = clipped_sum(before, data, 1e-3, "flat")
    pairs = zip(before.network.parameters(), after.network.parameters(), expected, strict=True)
    noise = torch.cat([((a - b) * 40 / 0.5 - c).flatten() for a, b, c in pairs]).detach()
    assert kstest(noise.numpy() / 2e-3, norm.cdf).pvalue > 1e-3


def test_noise_and_coins_have_streams_of_their_own():
    net = model()
    optimizer = DPSGD(noise=1.0)._optimizer(net.network, RECIPE, 1.0)
    coins = torch.Generator().manual_seed(RECIPE.seed)
    assert not torch.equal(optimizer.generator.get_state(), coins.get_state())


def test_batches_are_poisson_and_empty_ones_are_steps():
    sizes = []

    class Counting(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return x

    data = digits(30)
    recipe = RECIPE.model_copy(update={"batch_size": 1, "epochs": 20})
    net = model(Counting())
    facts = DPSGD(noise=1.0).train(net, data, recipe)
    steps = facts["privacy"]["steps"]
    assert steps == 600
    drawn = sizes[2:]  # two forward passes look for mixed pictures
    empty = steps - len(drawn)
    low, high = binom.ppf([1e-4, 1 - 1e-4], steps, (1 - 1 / 30) ** 30)
    assert low <= empty <= high
    assert sum(drawn) == pytest.approx(600, abs=4 * math.sqrt(600))
    assert np.var([*drawn, *[0] * empty]) == pytest.approx(29 / 30, rel=0.35)


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "epsilon"), [(1.0, 1.0, 1, 4.38), (2.0, 1.0, 4, 4.38)]
)
def test_epsilon_of_full_batches_is_that_of_the_gaussian_mechanism(noise, rate, steps, epsilon):
    """Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu) = delta at mu = sqrt(steps) / noise."""
    found = epsilon_of(noise, rate, steps, 1e-5)
    mu = math.sqrt(steps) / noise
    delta = norm.cdf(mu / 2 - found / mu) - math.exp(found) * norm.cdf(-mu / 2 - found / mu)
    assert delta == pytest.approx(1e-5, rel=0.1)
    assert found == pytest.approx(epsilon, abs=0.03)


def test_the_target_epsilon_is_reached_and_not_passed():
    facts = DPSGD(epsilon=3.0).privacy(2000, RECIPE.model_copy(update={"epochs": 5}))
    assert 2.9 < facts["epsilon"] <= 3.0
    assert facts["noise"] > 0.2
    more = DPSGD(noise=2 * facts["noise"]).privacy(2000, RECIPE.model_copy(update={"epochs": 5}))
    assert more["epsilon"] < facts["epsilon"]
    assert {"delta", "sampling", "accountant", "neighbors", "steps"} <= facts.keys()


def test_training_is_repeatable_and_leaves_a_plain_model():
    one, two, other = model(), model(), model()
    facts = DPSGD(noise=1.0).train(one, digits(), RECIPE)
    DPSGD(noise=1.0).train(two, digits(), RECIPE)
    DPSGD(noise=1.0).train(other, digits(), RECIPE.model_copy(update={"seed": 1}))
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])
    assert not torch.equal(one.network[0].weight, other.network[0].weight)
    assert not one.training
    assert facts["n"] == 40
    assert all("grad_sample" not in vars(p) and p.grad is None for p in one.parameters())
    one(digits().images).sum().backward()  # no hook is left behind


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_it_learns(optimizer):
    data, net = digits(600), model()
    rate = 0.02 if optimizer == "adam" else 1.0
    recipe = FitPlan(epochs=12, batch_size=100, learning_rate=rate, weight_decay=0.0)
    DPSGD(epsilon=8.0, delta=1e-4, optimizer=optimizer).train(net, data, recipe)
    with torch.no_grad():
        assert (net(data.images).argmax(1) == data.labels).float().mean() > 0.6


class Deviation(nn.Module):
    """Appends the deviation over the batch, as a discriminator's minibatch layer does."""

    def forward(self, x):
        return x + x.std(0, keepdim=True)


def test_what_mixes_pictures_is_refused():
    with pytest.raises(LoadError, match="repair = true"):
        check(model(nn.BatchNorm2d(1)), (1, 28, 28))
    with pytest.raises(LoadError, match="mixes pictures"):
        DPSGD(noise=1.0).train(model(Deviation()), digits(), RECIPE)
    check(model(nn.GroupNorm(1, 1), nn.Dropout(0.5)), (1, 28, 28))


def test_batch_norm_is_repaired_where_that_is_asked_for():
    net = model(nn.BatchNorm2d(1))
    assert DPSGD(noise=1.0).prepared(net, (1, 28, 28)) is net
    repaired = DPSGD(noise=1.0, repair=True).prepared(net, (1, 28, 28))
    assert not any(isinstance(one, nn.BatchNorm2d) for one in repaired.modules())
    DPSGD(noise=1.0).train(repaired, digits(), RECIPE)


@pytest.mark.parametrize(
    ("options", "recipe", "error"),
    [
        ({}, {"batch_size": 50}, "lower target.fit.batch_size"),
        ({"delta": 0.1}, {}, "set it below"),
        ({}, {"precision": "bfloat16"}, "float32"),
    ],
)
def test_what_cannot_be_promised_is_refused(options, recipe, error):
    with pytest.raises(PlanError, match=error):
        DPSGD(noise=1.0, **options).train(model(), digits(), RECIPE.model_copy(update=recipe))


def test_noise_too_small_to_promise_anything_has_no_epsilon():
    facts = dataclasses.replace(DPSGD(), noise=0.01).privacy(100, RECIPE)
    assert facts["epsilon"] is None


class TestDPSGD(TrainingDefenseContract):
    defense = DPSGD(noise=1.0)
