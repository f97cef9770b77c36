"""One release: its sensitivity, its noise, its epsilon, and what can be learned from it."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from safelight.data.images import ImageSet
from safelight.data.roles import deal
from safelight.defenses.dp_merf import DPMERF, gaussian_delta, gaussian_epsilon, gaussian_noise
from safelight.defenses.dp_sgd import epsilon_of
from safelight.errors import DataError, PlanError
from safelight.metrics.generator_quality import downstream_accuracy
from safelight.plan.plan import DataPlan, RolePlan
from safelight.stats.seeds import Seeds
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.testing.defenses import GeneratorDefenseContract

CPU = torch.device("cpu")
RECIPE = GeneratorRecipe(
    resolution=16,
    z_dim=8,
    channel_base=128,
    channel_max=16,
    steps=3,
    batch_size=20,
    learning_rate=1e-2,
    beta1=0.9,
    beta2=0.999,
    ema=0.9,
    conditional=True,
    seed=2**62 + 5,
)


@functools.cache
def digits():
    return deal(
        DataPlan(
            source="embedded",
            size=16,
            private=RolePlan(count=3000),
            public=RolePlan(count=10),
            holdout=RolePlan(count=1000),
        )
    )


def pictures(n=30, seed=0):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (n,), generator=draw)
    return ImageSet(torch.rand(n, 1, 16, 16, generator=draw), labels, ("a", "b"), "noise")


def released(data, noise=0.0, defense=None, classes=2, seed=0):
    defense = defense or DPMERF()
    embed = defense.embedding(data.shape, Seeds(0), CPU)
    draw = np.random.default_rng(seed)
    return defense.release(data, embed, classes, noise, draw)


def test_features_have_unit_norm_and_the_products_of_the_kernel():
    """k(x, y) = exp(-d^2 / (2 length^2)), d the root mean square difference."""
    x = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    embed = DPMERF(features=40_000, length=0.4).embedding((1, 16, 16), Seeds(1), CPU)
    features = embed(x)[:, :-1]
    assert torch.allclose(features.norm(dim=1), torch.ones(6), atol=1e-5)
    kernel = torch.exp(-((torch.cdist(x.flatten(1), x.flatten(1)) / 16) ** 2) / (2 * 0.4**2))
    assert torch.allclose(features @ features.T, kernel, atol=5 / math.sqrt(20_000))


def test_one_more_picture_moves_the_release_by_the_sensitivity_and_no_more():
    data, defense = pictures(), DPMERF(counting=0.3)
    moved = released(data, defense=defense) - released(data.rows(torch.arange(29)), defense=defense)
    assert moved.norm() == pytest.approx(math.sqrt(1 + 0.3**2), rel=1e-4)
    assert (moved.norm(dim=1) > 1e-3).sum() == 1


def test_the_noise_has_the_deviation_that_is_claimed():
    data = pictures()
    noise = released(data, noise=3.0) - released(data)
    deviation = 3.0 * math.sqrt(1 + 0.1**2)
    assert kstest(noise.flatten().numpy() / deviation, norm.cdf).pvalue > 1e-3


@pytest.mark.parametrize(("epsilon", "delta"), [(1.0, 1e-5), (0.2, 1e-6), (10.0, 1e-5)])
def test_the_noise_is_what_the_accountant_says(epsilon, delta):
    noise = gaussian_noise(epsilon, delta)
    assert gaussian_epsilon(noise, delta) == pytest.approx(epsilon, rel=1e-6)
    assert gaussian_epsilon(noise, delta) <= epsilon
    assert epsilon_of(noise, 1.0, 1, delta) == pytest.approx(epsilon, abs=0.02)


def test_delta_is_the_excess_of_the_worst_event():
    """By Monte Carlo: delta = E max(0, 1 - e^(epsilon - loss)) of the privacy loss."""
    draw = torch.Generator().manual_seed(0)
    loss = 0.5 + torch.randn(2_000_000, generator=draw, dtype=torch.float64)  # at noise 1
    expected = (1 - torch.exp(0.7 - loss)).clamp_min(0).mean()
    assert gaussian_delta(0.7, 1.0) == pytest.approx(float(expected), rel=5e-3)
    assert gaussian_epsilon(1e3, 0.1) == 0.0


def test_the_generator_learns_from_the_release_alone():
    """The same release from other pictures, the same generator: there is no other way in."""
    defense = DPMERF(noise=1e-3, features=100)
    data = pictures()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))
    one, other = (defense.train(each, RECIPE, CPU).generator for each in (data, data.rows(order)))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-3)


def test_no_fact_undoes_the_guarantee():
    one = RECIPE.model_copy(update={"seed": 123_456_789_123_456_789})
    made = DPMERF(features=100).train(pictures(), one, CPU)
    assert "123456789123456789" not in str(made.facts)
    assert pictures().sha256() not in str(made.facts)
    assert made.discriminator is None
    assert made.facts["privacy"]["epsilon"] == pytest.approx(1.0)


@pytest.mark.parametrize(("noise", "low", "high"), [(1e-3, 0.7, 1.0), (1e4, 0.0, 0.35)])
def test_a_classifier_learns_from_its_pictures_unless_noise_drowns_them(noise, low, high):
    recipe = RECIPE.model_copy(update={"steps": 150, "batch_size": 50})
    made = DPMERF(noise=noise, features=1000).train(digits().private, recipe, CPU)
    labels = torch.arange(1500) % 10
    drawn = ImageSet(made.pictures(1500, 0, labels), labels, digits().holdout.classes, "made")
    assert low <= downstream_accuracy(drawn, digits().holdout, steps=150).value <= high


def test_rare_classes_do_not_pull_at_frequent_ones():
    """Class b has a tenth of the pictures: dark ones; what is drawn as a stays bright."""
    labels = (torch.arange(220) >= 200).long()
    values = torch.where(labels == 0, 0.9, 0.1)[:, None, None, None]
    data = ImageSet(values.expand(-1, 1, 16, 16).clone(), labels, ("a", "b"), "levels")
    recipe = RECIPE.model_copy(update={"steps": 250})
    made = DPMERF(noise=1e-3, features=200, length=0.4).train(data, recipe, CPU)
    asked = torch.arange(40) % 2
    level = made.pictures(40, 0, asked).flatten(1).mean(1)
    assert level[asked == 0].mean() == pytest.approx(0.9, abs=0.1)
    assert level[asked == 1].mean() < 0.5


def test_generators_without_classes_match_one_mean():
    recipe = RECIPE.model_copy(update={"conditional": False, "steps": 100})
    data = dataclasses.replace(pictures(), images=torch.full((30, 1, 16, 16), 0.8))
    made = DPMERF(noise=1e-3, features=200).train(data, recipe, CPU)
    assert (made.pictures(10, 0) - 0.8).abs().mean() < 0.1


def test_what_cannot_be_promised_is_refused():
    with pytest.raises(PlanError, match="set it below"):
        DPMERF(delta=0.1).train(pictures(), RECIPE, CPU)
    with pytest.raises(DataError, match=r"set data\.size to 32"):
        DPMERF().train(pictures(), RECIPE.model_copy(update={"resolution": 32}), CPU)


class TestDPMERF(GeneratorDefenseContract):
    defense = DPMERF(epsilon=1.0)
    recipe = RECIPE
    images = pictures()
