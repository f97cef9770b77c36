import copy
import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight import catalog
from safelight.defenses.fit_at_cut import Bottleneck, TrainedAtCut
from safelight.errors import LoadError, PlanError
from safelight.plan.plan import FitPlan
from safelight.targets.classifiers.lenet import LeNet
from safelight.targets.cut import Cloud, cut
from safelight.targets.fit import fit
from safelight.targets.target import Normalized
from safelight.testing import worlds

SHAPE = (1, 28, 28)
RECIPE = FitPlan(epochs=1, batch_size=50, learning_rate=3e-3, flip=True, shift=1, seed=3)

#: The defenses that train at a cut, with the options they cannot do without.
DEFENSES = {
    "noise_aware": {"noise": 0.5},
    "nopeek": {},
    "attacker_aware": {"width": 4},
    "conditional_entropy": {"noise": 0.5},
}


@dataclass(frozen=True, kw_only=True)
class Watching(TrainedAtCut):
    """Adds ``weight`` times a number that the network cannot change; keeps what it sees."""

    seen: list
    weight: float = 0.0

    def penalty(self, room):
        def look(passing):
            self.seen.append((room, passing))  # with its graph
            return self.weight * passing.sent.square().mean()

        return look


def digits(n=150):
    return worlds.digits().public.rows(torch.arange(n))


def model(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Normalized(LeNet(), (0.5,), (0.5,))


def weights(made):
    return torch.cat([value.flatten() for value in made.state_dict().values()])


def build(name, **options):
    return catalog.build("defense", name, {"cut": "relu2", **DEFENSES[name], **options})


def test_without_noise_and_price_it_is_plain_training():
    plain, defended = model(), model()
    facts = fit(plain, digits(), RECIPE)
    told = Watching(cut="relu2", seen=[]).train(defended, digits(), RECIPE)
    assert torch.equal(weights(plain), weights(defended))
    assert facts.items() <= told.items()


def test_what_is_sent_carries_noise_of_the_stated_deviation():
    seen = []
    Watching(cut="relu2", noise=0.7, seen=seen).train(model(), digits(), RECIPE)
    for room, passing in seen:
        passing = type(passing)(*(one.detach() for one in passing))
        noise = (passing.sent - passing.message).flatten()
        expected = 0.7 * passing.message.std()
        assert passing.message.shape == (50, 16, 8, 8) == (50, *room.message_shape)
        assert float(passing.deviation) == pytest.approx(float(expected))
        assert float(noise.std()) == pytest.approx(float(expected), rel=0.02)
        assert abs(float(noise.mean())) < 5 * float(expected) / len(noise) ** 0.5


def test_the_network_behind_the_cut_hears_the_noise():
    """The loss of the first step is that of the cloud on what was sent."""
    seen, losses, made = [], [], model()
    data = digits(50)
    edge = cut(copy.deepcopy(made), "relu2", SHAPE)
    cloud = Cloud(edge, SHAPE)
    defense = Watching(cut="relu2", noise=2.0, seen=seen)
    recipe = FitPlan(epochs=1, batch_size=50)
    made.network.fc3.register_forward_hook(lambda _layer, _given, out: losses.append(out.detach()))
    defense.train(made, data, recipe)
    passing = seen[0][1]
    assert torch.allclose(cloud(passing.sent), losses[-1], atol=1e-5)
    assert not torch.allclose(cloud(passing.message), losses[-1], atol=1e-2)


class Louder(Watching):
    """Pays for what the noise leaves of the message; its gradient shows what would pay off."""

    def penalty(self, room):
        def gain(passing):
            clear = (passing.message / passing.deviation).square().sum()
            (along,) = torch.autograd.grad(clear, passing.message, retain_graph=True)
            self.seen.append(((along * passing.message).sum() / clear).item())
            return clear * 0

        return gain


def test_noise_scales_with_the_message_so_that_shouting_does_not_help():
    """d ln(signal / noise) / d ln(scale of the message) = 0; 2 if the noise stood still."""
    seen = []
    Louder(cut="relu2", noise=0.5, seen=seen).train(model(), digits(), RECIPE)
    assert len(seen) == 3
    assert all(abs(one) < 1e-3 for one in seen)


def test_a_third_of_training_is_free():
    """Six steps: what the first three do costs nothing, so that four messages are the same."""

    def messages(weight):
        seen = []
        defense = Watching(cut="relu2", weight=weight, seen=seen)
        defense.train(model(), digits(50), FitPlan(epochs=6, batch_size=50))
        return [passing.message.detach() for _, passing in seen]

    same = [torch.equal(*both) for both in zip(messages(0.0), messages(1e3), strict=True)]
    assert same == [True] * 4 + [False] * 2


@pytest.mark.parametrize(
    ("channels", "stride", "message"),
    [(4, 1, (4, 8, 8)), (4, 2, (4, 4, 4)), (4, 3, (4, 3, 3)), (5, 8, (5,)), (5, 9, (5,))],
)
def test_the_message_is_the_bottleneck_and_the_cloud_needs_nothing_else(channels, stride, message):
    defense = Watching(cut="relu2", channels=channels, stride=stride, seen=[])
    made = defense.prepared(model(), SHAPE)
    pictures = digits(6).images
    edge = cut(made.eval(), defense.sends, SHAPE)
    sent = edge(pictures)
    assert defense.sends == "relu2.narrow"
    assert sent.shape == (6, *message)
    assert torch.allclose(Cloud(edge, SHAPE)(sent), made(pictures), atol=1e-5)
    assert cut(made, "relu2", SHAPE)(pictures).shape == (6, 16, 8, 8)


def test_a_bottleneck_behind_a_vector():
    made = Watching(cut="relu3", channels=7, seen=[]).prepared(model(), SHAPE)
    assert cut(made.eval(), "relu3.narrow", SHAPE)(digits(3).images).shape == (3, 7)


def test_a_bottleneck_is_the_same_each_time_and_draws_from_nobody():
    before = torch.random.get_rng_state()
    one, two = (
        Watching(cut="relu2", channels=4, seen=[]).prepared(model(), SHAPE) for _ in range(2)
    )
    assert torch.equal(weights(one), weights(two))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_nested_layer_takes_a_bottleneck():
    made = Normalized(nn.Sequential(nn.Sequential(nn.Conv2d(1, 3, 5), nn.ReLU())), (0,), (1,))
    made = Watching(cut="0.1", channels=2, seen=[]).prepared(made, SHAPE)
    assert isinstance(made.network[0][1], Bottleneck)
    assert cut(made, "0.1.narrow", SHAPE)(digits(2).images).shape == (2, 2, 24, 24)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)
        self.head = nn.Linear(784, 10)

    def forward(self, x):
        return self.head(self.layer(self.layer(x)).flatten(1))


@pytest.mark.parametrize("name", ["layer", "layer#2"])
def test_a_layer_that_is_called_twice_is_refused(name):
    made = Normalized(Twice(), (0.5,), (0.5,))
    with pytest.raises(PlanError, match=r"layer more than once.*choose"):
        Watching(cut=name, seen=[]).prepared(made, SHAPE)


def test_a_layer_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(LoadError, match=r"relu22.*did you mean 'relu2'"):
        Watching(cut="relu22", seen=[]).prepared(model(), SHAPE)
    with pytest.raises(LoadError, match=r"relu2\.narrow"):  # it was not prepared
        Watching(cut="relu2", channels=4, seen=[]).train(model(), digits(), RECIPE)


def test_full_gradient_descent_is_refused():
    recipe = FitPlan(epochs=1, optimizer="gradient descent")
    with pytest.raises(PlanError, match="adamw"):
        Watching(cut="relu2", seen=[]).train(model(), digits(), recipe)


@pytest.mark.parametrize("name", DEFENSES)
@pytest.mark.parametrize("channels", [0, 3])
def test_training_repeats_and_leaves_a_plain_model(name, channels):
    defense = build(name, noise=0.5, channels=channels, stride=4)
    before = torch.random.get_rng_state()
    one, two, other = (defense.prepared(model(), SHAPE) for _ in range(3))
    data = digits(100)
    facts = defense.train(one, data, RECIPE)
    defense.train(two, data, RECIPE)
    defense.train(other, data, RECIPE.model_copy(update={"seed": 4}))
    assert torch.equal(weights(one), weights(two))
    assert not torch.equal(weights(one), weights(other))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.isfinite(weights(one)).all()
    assert not one.training
    assert facts["message at"] == ("relu2.narrow" if channels else "relu2")
    with torch.no_grad():  # no hook, and no noise, is left behind
        assert torch.equal(one(data.images), one(data.images))
        again = pickle.loads(pickle.dumps(one))
        assert torch.equal(again(data.images), one(data.images))


@pytest.mark.parametrize("name", DEFENSES)
def test_the_release_adds_the_noise_of_training(name):
    assert build(name, noise=0.3).at_release.deviation == 0.3
    if name in ("nopeek", "attacker_aware"):
        assert build(name).at_release is None


@pytest.mark.parametrize("name", DEFENSES)
@pytest.mark.parametrize("wrong", [{"noise": -1}, {"channels": -1}, {"stride": 0}, {"nois": 1}])
def test_wrong_options_are_refused(name, wrong):
    with pytest.raises(PlanError):
        build(name, **wrong)


@pytest.mark.parametrize("name", DEFENSES)
def test_bfloat16_trains(name):
    defense = build(name, noise=0.2, channels=4)
    made = defense.prepared(model(), SHAPE)
    defense.train(made, digits(100), RECIPE.model_copy(update={"precision": "bfloat16"}))
    assert torch.isfinite(weights(made)).all()
    assert F.cross_entropy(made(digits(100).images), digits(100).labels) < 3
