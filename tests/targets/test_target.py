import pytest
import torch
from torch import nn

from safelight.cache import Cache
from safelight.data.images import ImageSet
from safelight.data.roles import Roles
from safelight.targets.classifiers.cifar_cnn import CifarCNN
from safelight.targets.classifiers.lenet import LeNet
from safelight.targets.target import Normalized, Target
from safelight.threats.split_inference import SplitInference

CPU = torch.device("cpu")


def network(activation=nn.ReLU):
    torch.manual_seed(0)
    made = nn.Sequential()
    made.add_module("conv", nn.Conv2d(1, 2, 3))
    made.add_module("act", activation())
    made.add_module("flat", nn.Flatten())
    made.add_module("head", nn.Linear(72, 2))
    return made


def target(mean=(0.0,), std=(1.0,), activation=nn.ReLU):
    return Target("small", Normalized(network(activation), mean, std), "nothing")


def roles():
    rng = torch.Generator().manual_seed(0)
    sets = [
        ImageSet(torch.rand(4, 1, 8, 8, generator=rng), torch.arange(4) % 2, ("a", "b"), "noise")
        for _ in range(3)
    ]
    return Roles(None, *sets)


def remembered(one, cache):
    """What an adversary's own work on a target is remembered as: made at most once."""
    seen, _ = SplitInference(cut="act").meet(one, roles(), CPU, cache)
    return seen.remember({"work": 1}, lambda: {"messages": seen.messages.clone()})["messages"]


def test_the_networks_have_the_size_that_is_published():
    sizes = {made: sum(one.numel() for one in made().parameters()) for made in (LeNet, CifarCNN)}
    assert sizes == {LeNet: 45_278, CifarCNN: 1_609_546}


@pytest.mark.parametrize("made", [LeNet, CifarCNN])
def test_a_network_takes_its_pictures_and_puts_out_one_logit_a_class(made):
    x = torch.rand(3, *made.image_shape)
    assert made()(x).shape == (3, 10)
    assert made(classes=4)(x).shape == (3, 4)
    assert len(made.mean) == len(made.std) == made.image_shape[0]


def test_a_target_takes_pixels_and_normalizes_them_itself():
    one = target((0.25,), (0.5,))
    x = torch.rand(3, 1, 8, 8)
    assert torch.allclose(one.model(x), one.network((x - 0.25) / 0.5))


def test_color_is_normalized_channel_by_channel():
    model = Normalized(nn.Flatten(), (0.1, 0.2, 0.3), (1.0, 2.0, 4.0))
    out = model(torch.full((1, 3, 1, 1), 0.5))
    assert out[0].tolist() == pytest.approx([0.4, 0.15, 0.05])


def test_a_target_is_frozen_and_in_evaluation_mode():
    one = target()
    assert not any(module.training for module in one.model.modules())
    assert not any(weight.requires_grad for weight in one.model.parameters())
    assert one.parameters() == 2 * 9 + 2 + 72 * 2 + 2


def test_the_hash_of_the_weights_notices_any_of_them():
    one, same, other = target(), target(), target()
    with torch.no_grad():
        other.network.head.bias[0] += 1e-6
    assert one.weights_sha256() == same.weights_sha256()
    assert one.weights_sha256() != other.weights_sha256()


def test_weights_of_half_precision_can_be_hashed():
    made = Normalized(network().to(torch.bfloat16), (0.0,), (1.0,))
    assert len(Target("small", made, "nothing").weights_sha256()) == 64


@pytest.mark.parametrize("other", [{"mean": (0.5,)}, {"std": (0.5,)}, {"activation": nn.Tanh}])
def test_work_on_one_target_is_not_mistaken_for_work_on_another_with_the_same_weights(
    other, tmp_path
):
    """An inverse network of other messages would rebuild nothing: a false all-clear."""
    shared, fresh = Cache(tmp_path / "shared"), Cache(tmp_path / "fresh")
    remembered(target(), shared)
    assert torch.equal(remembered(target(**other), shared), remembered(target(**other), fresh))


def test_work_on_the_same_target_is_remembered(tmp_path):
    remembered(target(), Cache(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    remembered(target(), Cache(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


def test_correct_counts_the_pictures_that_are_assigned_to_their_label():
    one = target()
    x = torch.rand(1500, 1, 8, 8)
    answers = one.model(x).argmax(1)
    assert one.correct(x, answers) == 1500
    assert one.correct(x, 1 - answers) == 0
    answers[:3] = 1 - answers[:3]
    assert one.correct(x, answers) == 1497
