"""What is read off behind a cut computes what the model computes, and the rest is refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from safelight.encryption.tail import cuts, read
from safelight.errors import LoadError, PlanError
from safelight.targets.classifiers.cifar_cnn import CifarCNN
from safelight.targets.classifiers.lenet import LeNet
from safelight.targets.classifiers.mlp import MLP
from safelight.targets.classifiers.plain_cnn import PlainCNN
from safelight.targets.classifiers.vit import ViT
from safelight.targets.target import Normalized

GRAY = (1, 28, 28)


def model(network, channels=1):
    """The network in evaluation mode, its batch statistics drawn at random."""
    draw = torch.Generator().manual_seed(0)
    for one in network.modules():
        if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (one.running_mean, one.weight.data, one.bias.data):
                values.copy_(torch.randn(values.shape, generator=draw))
            one.running_var.uniform_(0.5, 2, generator=draw)
    return Normalized(network, (0.5,) * channels, (0.3,) * channels).eval().requires_grad_(False)


def chain(*layers):
    return nn.Sequential(nn.Conv2d(1, 3, 9, stride=5), nn.Flatten(), *layers)


class Functional(nn.Module):
    """No layer is a module but the matrices, and the message is flattened by a method."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 9, stride=5)
        self.first, self.second = nn.Linear(48, 20), nn.Linear(20, 4, bias=False)

    def forward(self, x):
        x = self.conv(x).reshape(len(x), -1)
        x = torch.relu_(self.first(x)) ** 2
        return F.log_softmax(self.second(x), 1)


class Branched(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.mix = nn.Conv2d(1, 3, 9, stride=5), nn.Linear(48, 48)
        self.head = nn.Linear(48, 4)

    def forward(self, x):
        x = self.conv(x).flatten(1)
        return self.head(x + self.mix(x))


class Loose(nn.Module):
    """Flattens channels last, which is another order than the message's."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 3, 9, stride=5), nn.Linear(48, 4)

    def forward(self, x):
        return self.head(self.conv(x).permute(0, 2, 3, 1).flatten(1))


NORMED = chain(
    nn.BatchNorm1d(48), nn.ReLU(), nn.BatchNorm1d(48), nn.Linear(48, 20), nn.BatchNorm1d(20),
    nn.Tanh(), nn.Dropout(0.5), nn.Linear(20, 9), nn.Linear(9, 4), nn.BatchNorm1d(4), nn.Sigmoid(),
)  # fmt: skip
TWICE = chain(nn.ReLU(), nn.BatchNorm1d(48), nn.Sigmoid(), nn.Linear(48, 4))


@pytest.mark.parametrize(
    ("network", "layer", "shape", "described"),
    [
        (LeNet(), "pool2", GRAY,
         ["linear 256 -> 120", "relu", "linear 120 -> 84", "relu", "linear 84 -> 10"]),
        (LeNet(), "fc2", GRAY, ["relu", "linear 84 -> 10"]),
        (CifarCNN(), "pool3", (3, 32, 32), ["linear 2048 -> 512", "sigmoid", "linear 512 -> 10"]),
        (PlainCNN(), "blocks", GRAY, ["linear 1152 -> 256", "leaky_relu", "linear 256 -> 10"]),
        (MLP(batch_norm=True, hidden=(50,)), "0", GRAY,
         ["linear 784 -> 50", "relu", "linear 50 -> 10"]),
        (Functional(), "conv", GRAY, ["linear 48 -> 20", "relu, pow", "linear 20 -> 4"]),
        (NORMED, "0", GRAY, ["relu", "linear 48 -> 20", "tanh", "linear 20 -> 4"]),
        (TWICE, "1", GRAY, ["relu, sigmoid", "linear 48 -> 4"]),
    ],
)  # fmt: skip
def test_reads_what_the_model_computes(network, layer, shape, described):
    whole = model(network, shape[0])
    edge, tail = read(whole, layer, shape)
    assert tail.describe() == described
    pictures = torch.rand(6, *shape, generator=torch.Generator().manual_seed(1))
    expected = whole(pictures).double()
    torch.testing.assert_close(tail.exact(edge(pictures)), expected, rtol=1e-4, atol=1e-5)


def test_the_device_finishes_what_no_circuit_has_to():
    _, tail = read(model(Functional()), "conv", GRAY)
    assert [one.name for one in tail.finish] == ["log_softmax"]
    _, tail = read(model(NORMED), "0", GRAY)
    assert [one.name for one in tail.finish] == ["sigmoid"]


def test_names_the_cuts_that_work():
    assert cuts(model(LeNet()), GRAY) == ["pool2", "fc1", "relu3", "fc2", "relu4"]
    with pytest.raises(PlanError) as caught:
        read(model(LeNet()), "relu2", GRAY)
    assert str(caught.value) == (
        "behind relu2 the cloud computes max_pool2d_with_indices, which CKKS cannot; "
        "cuts that work: pool2, fc1, relu3, fc2, relu4"
    )


@pytest.mark.parametrize(
    ("network", "layer", "told"),
    [
        (LeNet(), "pool1", "convolution"),
        (LeNet(), "fc3", "no linear layer"),
        (Branched(), "conv", "a branch"),
        (Loose(), "conv", "permute"),
        (chain(nn.Softmax(1), nn.Linear(48, 4)), "1", "softmax before a linear layer"),
        (ViT(), "embed", "which CKKS cannot"),
    ],
)
def test_refuses_the_rest_on_one_line(network, layer, told):
    with pytest.raises(PlanError, match=told) as caught:
        read(model(network), layer, GRAY)
    assert "\n" not in str(caught.value)


def test_a_branch_leaves_the_cut_behind_it():
    assert cuts(model(Branched()), GRAY) == []
    with pytest.raises(PlanError, match="this model has no cut that works"):
        read(model(Branched()), "conv", GRAY)


def test_an_unknown_layer_is_told():
    with pytest.raises(LoadError, match="did you mean 'fc1'"):
        read(model(LeNet()), "fc11", GRAY)


def test_reading_draws_no_random_number_and_changes_no_weight():
    whole = model(LeNet())
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    state = torch.get_rng_state()
    read(whole, "pool2", GRAY)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())
