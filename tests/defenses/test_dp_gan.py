"""What is private of a GAN: single gradients, clipped and noised, counted once."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest, norm
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.data.images import ImageSet
from safelight.defenses.dp_gan import DPGAN, check
from safelight.defenses.dp_gan import _real_loss as real_loss
from safelight.defenses.dp_sgd import epsilon_of
from safelight.errors import DataError, LoadError, PlanError
from safelight.targets.generators.adversarial import networks_of, squared_slope
from safelight.targets.generators.dcgan import dcgan_discriminator
from safelight.targets.generators.defended import secret_draw
from safelight.targets.generators.discriminator import discriminator
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.generators.released import load_generator, save_generator
from safelight.testing.defenses import GeneratorDefenseContract

CPU = torch.device("cpu")
LONG = 2**62
RECIPE = GeneratorRecipe(
    resolution=16,
    z_dim=8,
    w_dim=8,
    channel_base=64,
    channel_max=8,
    steps=2,
    batch_size=5,
    learning_rate=2e-3,
    conditional=True,
    seed=LONG,
)
CLIPPINGS = ["flat", "per layer", "per channel"]


def pictures(n=20, seed=0):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (n,), generator=draw)
    return ImageSet(torch.rand(n, 1, 16, 16, generator=draw), labels, ("a", "b"), "noise")


def recipe(**changes):
    return RECIPE.model_copy(update=changes)


def weights(network):
    return torch.cat([one.detach().flatten() for one in network.parameters()])


def judge(architecture="dcgan"):
    return networks_of(recipe(architecture=architecture), pictures())[1]


def one_by_one(network, data, clip, clipping, r1):
    """Every picture's gradient by itself through plain autograd, clipped and summed."""
    own = list(network.parameters())
    total = [torch.zeros_like(one) for one in own]
    for x, y in zip(data.images * 2 - 1, F.one_hot(data.labels, 2).float(), strict=True):
        loss = F.softplus(-network(x[None], y[None])).sum()
        loss = loss + r1 / 2 * squared_slope(network, x[None], y[None]).sum() if r1 else loss
        # A bias behind the last activation moves no slope.
        grads = torch.autograd.grad(loss, own, allow_unused=True, materialize_grads=True)
        if clipping == "flat":
            scale = min(1, clip / torch.cat([g.flatten() for g in grads]).norm())
            parts = [g * scale for g in grads]
        elif clipping == "per layer":
            each = clip / math.sqrt(len(own))
            parts = [g * min(1, each / g.norm().clamp_min(1e-12)) for g in grads]
        else:
            each = clip / math.sqrt(sum(len(g) for g in grads))
            parts = [
                torch.stack([row * min(1, each / row.norm().clamp_min(1e-12)) for row in g])
                for g in grads
            ]
        total = [one + part for one, part in zip(total, parts, strict=True)]
    return total


def summed(network, data, defense, r1=0.0):
    labels = F.one_hot(data.labels, 2).float()
    return defense.clipped(network, real_loss(network, r1), data.images * 2 - 1, labels)


@pytest.mark.parametrize("clipping", CLIPPINGS)
@pytest.mark.parametrize("r1", [0.0, 5.0])
@pytest.mark.parametrize("architecture", ["dcgan", "stylegan2"])
def test_the_sum_is_that_of_clipped_single_gradients(architecture, r1, clipping):
    network, data = judge(architecture), pictures(7)
    defense = DPGAN(clip=0.05, clipping=clipping, at_once=3)
    found = summed(network, data, defense, r1)
    expected = one_by_one(network, data, 0.05, clipping, r1)
    for one, other in zip(found.values(), expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_the_sum_agrees_with_opacus():
    """Its hooks give the same single gradients, where there is no penalty."""
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    network, data = judge(), pictures(7)
    ours = summed(network, data, DPGAN(clip=0.05))
    wrapped = GradSampleModule(network, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(network.parameters(), 1.0),
        noise_multiplier=0.0,
        max_grad_norm=0.05,
        expected_batch_size=1,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Full backward hook is firing")
        logits = wrapped(data.images * 2 - 1, F.one_hot(data.labels, 2).float())
        F.softplus(-logits).sum().backward()
    optimizer.clip_and_accumulate()
    for (name, one), mine in zip(network.named_parameters(), ours.values(), strict=True):
        assert torch.allclose(one.summed_grad, mine, rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize("clipping", CLIPPINGS)
def test_one_more_picture_moves_the_sum_by_the_clip_at_most(clipping):
    network, data = judge(), pictures(9)
    data = dataclasses.replace(data, images=data.images.clone())
    defense = DPGAN(clip=0.02, clipping=clipping)
    without = summed(network, data.rows(torch.arange(8)), defense, 1e3)
    with_it = summed(network, data, defense, 1e3)
    moved = torch.cat([(with_it[name] - without[name]).flatten() for name in without]).norm()
    assert 0.002 < moved <= 0.02 * (1 + 1e-4)


def test_a_picture_with_no_finite_gradient_counts_as_none():
    network = judge()
    broken = {name: torch.full((2, *one.shape), 1.0) for name, one in network.named_parameters()}
    for one in broken.values():
        one[1] = float("nan")
    kept = torch.cat([one.flatten() for one in DPGAN(clip=0.5)._clip(broken).values()])
    assert kept.norm() == pytest.approx(0.5, rel=1e-4)


def test_the_noise_has_the_deviation_that_is_claimed():
    network = judge()
    nothing = {name: torch.zeros_like(one) for name, one in network.named_parameters()}
    DPGAN(clip=0.5)._add(network, nothing, 2.0, 5, np.random.default_rng(3))
    noise = torch.cat([one.grad.flatten() for one in network.parameters()])
    assert kstest(noise.numpy() / (2.0 * 0.5 / 5), norm.cdf).pvalue > 1e-3


def test_what_is_generated_is_added_as_it_is():
    network = judge()
    nothing = {name: torch.zeros_like(one) for name, one in network.named_parameters()}
    for one in network.parameters():
        one.grad = torch.ones_like(one)
    DPGAN(clip=0.5)._add(network, nothing, 0.0, 5, np.random.default_rng())
    assert all((one.grad == 1).all() for one in network.parameters())


def empty_seed():
    """Return a seed of the recipe with which the only batch is empty."""
    for seed in range(100):
        one = recipe(batch_size=1, steps=1, seed=LONG + seed)
        if not (secret_draw(one, "coins").random(20) < 1 / 20).any():
            return one
    raise AssertionError


def test_an_empty_batch_is_a_step_of_noise_alone():
    one = empty_seed()
    judges = [
        DPGAN(noise=noise).train(data, one, CPU).discriminator
        for noise, data in [(1.0, pictures(20)), (1.0, pictures(20, seed=1)), (0.01, pictures(20))]
    ]
    assert torch.equal(weights(judges[0]), weights(judges[1]))
    assert not torch.allclose(weights(judges[0]), weights(judges[2]))


def test_batches_are_poisson():
    """Steps with no picture at all are as frequent as independent coins make them."""

    class Counting(DPGAN):
        def clipped(self, network, loss, *batch):
            sizes.append(len(batch[0]))
            return super().clipped(network, loss, *batch)

    sizes = []
    Counting(noise=1.0).train(pictures(), recipe(batch_size=1, steps=150), CPU)
    assert len(sizes) == 150
    low, high = binom.ppf([1e-4, 1 - 1e-4], 150, (1 - 1 / 20) ** 20)
    assert low <= sizes.count(0) <= high
    assert sum(sizes) == pytest.approx(150, abs=4 * math.sqrt(150))


@pytest.mark.parametrize("clip", [1e-12, 1.0])
def test_pictures_and_labels_reach_the_networks_through_the_clipped_sum_alone(clip):
    """Clipped to nothing, other pictures of other classes leave the same networks; else not."""
    sets = [pictures(), pictures(seed=1)]
    sets[0] = dataclasses.replace(sets[0], labels=torch.zeros(20, dtype=torch.long))
    one, other = (
        DPGAN(noise=1.0, clip=clip).train(data, recipe(steps=6, r1=1.0), CPU) for data in sets
    )
    for name in ("generator", "discriminator"):
        a, b = (weights(getattr(each, name)) for each in (one, other))
        assert torch.allclose(a, b, atol=1e-4) == (clip < 1)


def test_no_fact_undoes_the_guarantee(tmp_path):
    released = DPGAN(noise=1.0).train(pictures(), recipe(seed=123_456_789_123_456_789), CPU)
    save_generator(released, tmp_path / "one.safetensors", torch.float32)
    text = str(load_generator(tmp_path / "one.safetensors").facts)
    assert "123456789123456789" not in text
    assert pictures().sha256() not in text


@pytest.mark.parametrize("scope", ["discriminator", "both"])
def test_each_step_of_the_discriminator_is_counted_once(scope):
    defense = DPGAN(noise=1.0, scope=scope)
    one = recipe(architecture="stylegan2", steps=4, discriminator_steps=2)
    privacy = defense.train(pictures(), one, CPU).facts["privacy"]
    assert privacy["steps"] == 4
    assert privacy["epsilon"] == pytest.approx(epsilon_of(1.0, 5 / 20, 4, 1e-5))


def test_the_target_epsilon_is_reached_and_not_passed():
    privacy = DPGAN(epsilon=3.0).privacy(2000, recipe(steps=100, batch_size=50))
    assert 2.9 < privacy["epsilon"] <= 3.0


def test_the_generator_of_scope_both_has_noise_of_its_own():
    """At the same seed, the discriminator's first step is alike and the generator's is not."""
    one = recipe(architecture="stylegan2", steps=1, ema=0.0)
    alone, both = (
        DPGAN(noise=1.0, scope=scope).train(pictures(), one, CPU)
        for scope in ("discriminator", "both")
    )
    assert torch.equal(weights(alone.discriminator), weights(both.discriminator))
    assert not torch.allclose(weights(alone.generator), weights(both.generator))


def test_the_same_seed_gives_the_same_networks():
    one, other = (DPGAN(noise=1.0).train(pictures(), recipe(), CPU) for _ in range(2))
    assert torch.equal(weights(one.generator), weights(other.generator))
    assert not torch.equal(
        weights(one.generator),
        weights(DPGAN(noise=1.0).train(pictures(), recipe(seed=LONG + 1), CPU).generator),
    )


@pytest.mark.parametrize(
    ("options", "changes", "told"),
    [
        ({}, {"batch_statistics": True}, "batch_statistics to false"),
        ({}, {"batch_statistics": True, "architecture": "stylegan2"}, "batch_statistics to false"),
        ({}, {"precision": "bfloat16"}, "precision to float32"),
        ({}, {"batch_size": 21}, "lower"),
        ({"delta": 0.1}, {}, "set it below"),
        ({"scope": "both"}, {}, "take scope discriminator"),
    ],
)
def test_what_would_break_the_guarantee_is_refused(options, changes, told):
    with pytest.raises(PlanError, match=told):
        DPGAN(**{"noise": 1.0} | options).train(pictures(), recipe(**changes), CPU)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(DataError, match=r"set data\.size to 32"):
        DPGAN(noise=1.0).train(pictures(), recipe(resolution=32), CPU)


@pytest.mark.parametrize(
    "network",
    [
        discriminator(16, img_channels=1, channel_base=64, channel_max=8),
        dcgan_discriminator(16, img_channels=1, channel_base=64, channel_max=8),
        nn.Sequential(nn.Flatten(), nn.Linear(256, 1), nn.BatchNorm1d(1)),
    ],
    ids=["minibatch deviation", "batch norm", "of others"],
)
def test_a_discriminator_that_mixes_pictures_is_found_by_asking(network):
    class Judge(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, images, labels):
            return self.network(images)

    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(LoadError, match="mixes pictures of a batch"):
        check(Judge(), (1, 16, 16), 0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class TestDPGAN(GeneratorDefenseContract):
    defense = DPGAN(epsilon=20.0)
    recipe = RECIPE
    images = pictures()
