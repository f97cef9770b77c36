import pytest
import torch
from torch import nn

from safelight.cache import Cache
from safelight.errors import LoadError
from safelight.targets.classifiers.cifar_cnn import CifarCNN
from safelight.targets.classifiers.lenet import LeNet
from safelight.targets.cut import cut, cut_points
from safelight.targets.target import Normalized, Target
from safelight.testing.worlds import digits
from safelight.threats.split_inference import SplitInference

LENET = {
    "conv1": (8, 24, 24),
    "relu1": (8, 24, 24),
    "pool1": (8, 12, 12),
    "conv2": (16, 8, 8),
    "relu2": (16, 8, 8),
    "pool2": (16, 4, 4),
    "fc1": (120,),
    "relu3": (120,),
    "fc2": (84,),
    "relu4": (84,),
    "fc3": (10,),
}


class Twice(nn.Module):
    """Calls one activation twice, in place, and has a layer that is never called."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(4, 2, 3)
        self.idle = nn.Linear(3, 3)

    def forward(self, x):
        return self.relu(self.last(self.relu(self.conv(x)))).flatten(1)


class Nested(nn.Module):
    """Layers inside of layers, and one that puts out a pair."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.rows = nn.LSTM(26, 5, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        rows, _ = self.rows(self.stem(x).mean(1))
        return self.head(self.drop(rows[:, -1]))


class Picky(nn.Module):
    """Checks its input as some libraries do, by assertion."""

    def forward(self, x):
        assert x.shape[-1] == 99, "input must be 99 wide\nand nothing else"
        return x


def normalized(network, mean=(0.5,), std=(0.25,)):
    torch.manual_seed(0)
    return Normalized(network, mean, std).eval()


def pictures(n=5, shape=(1, 28, 28)):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def lenet():
    torch.manual_seed(0)
    return normalized(LeNet())


def fails(match, call, *given):
    with pytest.raises(LoadError, match=match) as told:
        call(*given)
    assert "\n" not in str(told.value)


def test_the_cut_points_of_lenet_come_in_the_order_of_the_network_with_their_shapes(lenet):
    assert list(cut_points(lenet, (1, 28, 28)).items()) == list(LENET.items())


def test_the_cut_points_of_the_cifar_network():
    points = cut_points(normalized(CifarCNN()), (3, 32, 32))
    assert list(points)[:5] == ["conv11", "relu11", "conv12", "relu12", "pool1"]
    assert points["relu22"] == (128, 16, 16)
    assert points["pool3"] == (128, 4, 4)
    assert list(points)[-3:] == ["fc1", "sigmoid", "fc2"]


@pytest.mark.parametrize("layer", LENET)
def test_an_edge_equals_the_network_computed_by_hand(lenet, layer):
    x = (pictures() - 0.5) / 0.25
    for name in list(LENET)[: list(LENET).index(layer) + 1]:
        x = lenet.network.get_submodule(name)(x.flatten(1) if name == "fc1" else x)
    message = cut(lenet, layer, (1, 28, 28))(pictures())
    assert message.shape == (5, *LENET[layer])
    assert torch.allclose(message, x, atol=1e-6)


@pytest.mark.parametrize("layer", ["conv1", "relu2", "fc1", "fc3"])
def test_gradients_reach_the_picture_and_not_the_weights(lenet, layer):
    x = pictures().requires_grad_()
    cut(lenet, layer, (1, 28, 28))(x).square().sum().backward()
    assert x.grad.flatten(1).abs().sum(1).min() > 0
    assert all(weight.grad is None for weight in lenet.parameters())


def test_a_message_is_the_same_alone_and_in_a_batch(lenet):
    edge = cut(lenet, "relu2", (1, 28, 28))
    alone = torch.cat([edge(one[None]) for one in pictures()])
    assert torch.allclose(edge(pictures()), alone, atol=1e-6)


def test_an_in_place_activation_behind_the_cut_does_not_change_the_message():
    model = normalized(Twice())
    expected = model.network.conv((pictures() - 0.5) / 0.25)
    message = cut(model, "conv", (1, 28, 28))(pictures())
    assert torch.equal(message, expected)
    assert message.min() < 0


def test_both_calls_of_a_layer_are_cut_points():
    model = normalized(Twice())
    points = cut_points(model, (1, 28, 28))
    assert points == {
        "conv": (4, 26, 26),
        "relu": (4, 26, 26),
        "last": (2, 24, 24),
        "relu#2": (2, 24, 24),
    }
    net = model.network
    first = net.conv((pictures() - 0.5) / 0.25).relu()
    second = net.last(first).relu()
    assert torch.equal(cut(model, "relu", (1, 28, 28))(pictures()), first)
    assert torch.equal(cut(model, "relu#2", (1, 28, 28))(pictures()), second)


def test_layers_inside_layers_can_be_cut_and_what_puts_out_no_tensor_cannot():
    points = cut_points(normalized(Nested()), (1, 28, 28))
    assert {"stem", "stem.0", "stem.1", "stem.2", "drop", "head"} == set(points)


def test_looking_for_cut_points_leaves_the_model_as_it_was():
    model = normalized(Nested())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cut_points(model, (1, 28, 28))
    cut(model, "stem.1", (1, 28, 28))(pictures())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_nothing_behind_the_cut_is_computed():
    model = normalized(LeNet())
    edge = cut(model, "conv1", (1, 28, 28))
    model.network.register_module("pool1", Picky())
    assert edge(pictures()).shape == (5, 8, 24, 24)


def test_an_edge_can_be_used_while_another_one_is():
    model = normalized(LeNet())
    early, late = cut(model, "conv1", (1, 28, 28)), cut(model, "fc1", (1, 28, 28))
    first = early(pictures())
    late(pictures())
    assert torch.equal(early(pictures()), first)


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        ("relu_2", "unknown cut point 'relu_2'; did you mean 'relu2'"),
        ("conv", "did you mean 'conv.'.* choose from: conv1, relu1, pool1, .*fc3"),
        ("zzz", "unknown cut point 'zzz'; choose from: conv1"),
        ("", "unknown cut point ''"),
        ("conv1#2", "unknown cut point 'conv1#2'; did you mean 'conv"),
        ("conv1#x", "unknown cut point"),
    ],
)
def test_an_unknown_cut_is_an_error_that_suggests_and_lists(lenet, layer, told):
    fails(told, cut, lenet, layer, (1, 28, 28))


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 32, 32), (1, 4, 4), (1, 28, 20), (1, 0, 0)])
def test_pictures_of_a_shape_that_does_not_fit_are_an_error_with_the_remedy(lenet, shape):
    fails(
        "does not take pictures of shape .*set data.size and data.channels",
        cut_points,
        lenet,
        shape,
    )


def test_a_model_that_asserts_its_input_is_an_error_on_one_line():
    fails("does not take pictures.*99 wide", cut_points, normalized(Picky()), (1, 28, 28))


def test_a_model_without_layers_has_no_cut_points():
    model = normalized(nn.Flatten())
    assert cut_points(model, (1, 8, 8)) == {}
    fails("choose from: .none.", cut, model, "flatten", (1, 8, 8))


def test_a_network_with_batch_norm_can_be_audited(tmp_path):
    """Its state holds a count without dimensions, which hashes must take."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(2704, 10)
    )
    made = Target("normed", Normalized(network, (0.0,), (1.0,)), "nothing")
    seen, _ = SplitInference(cut="1").meet(made, digits(), torch.device("cpu"), Cache(tmp_path))
    assert seen.message_shape == (4, 26, 26)
    assert len(made.weights_sha256()) == 64
