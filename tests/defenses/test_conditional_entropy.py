import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from safelight.defenses.conditional_entropy import ConditionalEntropy, nats_beyond_class
from safelight.defenses.noise_aware import NoiseAware
from safelight.errors import PlanError
from safelight.plan.plan import FitPlan
from safelight.targets.classifiers.lenet import LeNet
from safelight.targets.cut import cut
from safelight.targets.target import Normalized
from safelight.testing import worlds
from safelight.testing.defenses import TrainingDefenseContract


def one(value):
    return torch.tensor(float(value))


def test_gaussian_messages_carry_exactly_that_much():
    """Two classes of independent Gaussians: I = sum 1/2 ln(1 + v / s^2), and centers are free."""
    draw = torch.Generator().manual_seed(0)
    spread = torch.tensor([[1.0, 2.0, 0.5], [3.0, 0.0, 1.0]])
    labels = torch.arange(40000) % 2
    message = torch.randn(40000, 3, generator=draw) * spread[labels] + 100 * labels[:, None]
    expected = 0.5 * np.log1p((spread.numpy() / 0.7) ** 2).sum(1).mean()
    assert float(nats_beyond_class(message, labels, one(0.7))) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("size", [0.3, 1.0, 3.0])
def test_it_is_no_less_than_what_a_coin_tells(size):
    """z = +-a under noise: I by integration, at most ln 2."""
    message = size * (torch.arange(2000) % 2 * 2 - 1.0)[:, None]

    def density(t):
        return 0.5 * norm.pdf(t, size) + 0.5 * norm.pdf(t, -size)

    entropy = quad(lambda t: -density(t) * np.log(density(t)), -size - 9, size + 9)[0]
    true = entropy - 0.5 * np.log(2 * np.pi * np.e)
    bound = float(nats_beyond_class(message, torch.zeros(2000), one(1)))
    assert true <= bound
    assert bound < true + 0.6 * size**2


def test_what_a_class_has_in_common_is_free():
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    message = torch.tensor([5.0, 5, 5, -9, -9, 3])[:, None]
    assert float(nats_beyond_class(message, labels, one(0.1))) == 0
    message[0] += 1
    assert float(nats_beyond_class(message, labels, one(0.1))) > 0


def test_units_do_not_matter():
    message, labels = torch.randn(60, 2, 3, 3), torch.arange(60) % 3
    told = nats_beyond_class(message, labels, one(0.5))
    assert torch.allclose(told, nats_beyond_class(50 * message, labels, one(25)))


def test_training_leaves_less_beyond_the_class_and_as_much_of_it():
    roles, options = worlds.digits(), {"cut": "relu2", "noise": 0.5, "channels": 8, "stride": 8}
    recipe, told, right = FitPlan(epochs=6, batch_size=32, learning_rate=2e-3), [], []
    for defense in (NoiseAware(**options), ConditionalEntropy(**options, weight=0.3)):
        torch.manual_seed(0)
        model = defense.prepared(Normalized(LeNet(), (0.5,), (0.5,)), (1, 28, 28))
        defense.train(model, roles.public, recipe)
        others = roles.holdout
        with torch.no_grad():
            message = cut(model, defense.sends, (1, 28, 28))(others.images)
            hits = (model(others.images).argmax(1) == others.labels).float().mean()
        told.append(float(nats_beyond_class(message, others.labels, 0.5 * message.std())))
        right.append(float(hits))
    assert told[1] < 0.9 * told[0]
    assert right[0] > 0.85
    assert right[1] > right[0] - 0.05


def test_no_noise_is_refused():
    with pytest.raises(PlanError, match=r"defense\.noise"):
        ConditionalEntropy(cut="relu2")


class TestConditionalEntropy(TrainingDefenseContract):
    defense = ConditionalEntropy(cut="relu2", noise=0.5)
