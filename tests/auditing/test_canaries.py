"""A sound private training passes every question; each planted bug fails one."""

import dataclasses

import pytest
import torch
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.auditing.canaries import Claim, audit, largest_mu, sensitivity
from safelight.defenses.dp_sgd import DPSGD
from safelight.plan.plan import FitPlan
from safelight.stats.seeds import Seeds
from safelight.targets.target import Normalized
from safelight.testing import worlds

DEFENSE = DPSGD(noise=1.0, clip=0.5)
RECIPE = FitPlan(epochs=4, batch_size=64)
CANARIES = 300
CLAIM = Claim(epsilon=6.5, delta=1e-5, noise=1.0, clip=0.5)


def model(*front):
    network = nn.Sequential(
        nn.Conv2d(1, 4, 5, 2), *front, nn.Tanh(), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(64, 10)
    )
    return Normalized(network, (0.0,), (1.0,))


def sound(noise, net, data, recipe):
    return dataclasses.replace(DEFENSE, noise=noise).train(net, data, recipe)


def no_noise(noise, net, data, recipe):
    del noise
    return dataclasses.replace(DEFENSE, noise=1e-4).train(net, data, recipe)


def half_noise(noise, net, data, recipe):
    return sound(noise / 2, net, data, recipe)


def no_clipping(noise, net, data, recipe):
    loose = dataclasses.replace(DEFENSE, clip=1e3, noise=noise * DEFENSE.clip / 1e3)
    return loose.train(net, data, recipe)


def shuffled(noise, net, data, recipe):
    """Batches of a fixed size, each picture once an epoch: not what the accountant counts."""
    order = torch.Generator().manual_seed(recipe.seed)
    net.train()
    wrapped = GradSampleModule(net.network, loss_reduction="sum")
    inner = torch.optim.SGD(net.network.parameters(), recipe.learning_rate)
    optimizer = DPOptimizer(
        inner,
        noise_multiplier=noise,
        max_grad_norm=DEFENSE.clip,
        expected_batch_size=recipe.batch_size,
        generator=torch.Generator().manual_seed(recipe.seed + 1),
    )
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(data), generator=order).split(recipe.batch_size):
            optimizer.zero_grad()
            x = ((data.images[rows] - net.mean) / net.std).requires_grad_()
            F.cross_entropy(wrapped(x), data.labels[rows], reduction="sum").backward()
            optimizer.step()
    optimizer.zero_grad()
    wrapped.cleanup()
    net.eval()
    return {}


def batch_statistics(noise, net, data, recipe):
    """Gradients of single pictures are clipped, but each depends on the whole batch."""
    order = torch.Generator().manual_seed(recipe.seed)
    net.train()
    own = list(net.network.parameters())
    rate, clip = recipe.batch_size / len(data), DEFENSE.clip
    for _ in range(round(recipe.epochs / rate)):
        rows = (torch.rand(len(data), generator=order) < rate).nonzero()[:, 0]
        total = [noise * clip * torch.randn(one.shape, generator=order) for one in own]
        if len(rows) > 1:
            losses = F.cross_entropy(net(data.images[rows]), data.labels[rows], reduction="none")
            for loss in losses:
                grads = torch.autograd.grad(loss, own, retain_graph=True)
                size = torch.cat([one.flatten() for one in grads]).norm()
                parts = [one * min(1.0, clip / float(size)) for one in grads]
                total = [one + part for one, part in zip(total, parts, strict=True)]
        with torch.no_grad():
            for one, summed in zip(own, total, strict=True):
                one -= recipe.learning_rate * summed / recipe.batch_size
    net.eval()
    return {}


def ask(train, net=None):
    data = worlds.digits().public.rows(torch.arange(64))
    answers = audit(train, CLAIM, net or model(), data, RECIPE, CANARIES)
    return [one.passed for one in answers], [one.detail for one in answers]


def test_a_sound_training_keeps_its_word():
    passed, told = ask(sound)
    assert passed == [True, True, True], told


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.parametrize(
    ("train", "question"), [(no_noise, 2), (half_noise, 2), (no_clipping, 0), (shuffled, 1)]
)
def test_a_planted_bug_is_flagged(train, question):
    passed, told = ask(train)
    assert not passed[question], told


@pytest.mark.parametrize(("front", "passed"), [((nn.BatchNorm2d(4),), False), ((), True)])
def test_batch_statistics_are_flagged_and_the_same_training_without_them_is_not(front, passed):
    """The planted training is sound but for the layer that looks at the whole batch."""
    data = worlds.digits().public.rows(torch.arange(64))
    answer = sensitivity(batch_statistics, CLAIM, model(*front), data, RECIPE, Seeds(0))
    assert answer.passed == passed, answer.detail


def test_the_promise_of_one_full_step_is_that_of_the_gaussian_mechanism():
    assert largest_mu(2.0, 1.0, 1) == 0.5
    assert largest_mu(1.0, 0.1, 100) == pytest.approx(1.0)
    assert largest_mu(0.0, 0.1, 100) == float("inf")
