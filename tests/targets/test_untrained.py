import pytest
import torch

from safelight.targets.cut import Cloud, cut
from safelight.targets.untrained import OtherStructure, same_structure
from safelight.testing import worlds

SHAPE = (1, 28, 28)


@pytest.mark.parametrize("layer", ["conv1", "relu2", "fc1"])
def test_the_same_structure_has_new_weights_and_leaves_the_old_ones(layer):
    target = worlds.lenet()
    before = target.weights_sha256()
    edge = cut(target.model, layer, SHAPE)
    first, again, other = (same_structure(edge, seed) for seed in (0, 0, 1))
    x = worlds.digits().victims.images[:3]
    assert first(x).shape == edge(x).shape
    assert torch.equal(first(x), again(x))
    assert not torch.allclose(first(x), other(x))
    assert not torch.allclose(first(x), edge(x))
    assert target.weights_sha256() == before


@pytest.mark.parametrize("message", [(8, 24, 24), (16, 8, 8), (120,), (64, 32, 32), (5, 9)])
def test_another_structure_fits_any_message(message):
    edge = OtherStructure(message, (1, 32, 32), rectified=True, seed=0)
    z = edge(torch.rand(2, 1, 32, 32))
    assert z.shape == (2, *message)
    assert z.min() >= 0


@pytest.mark.parametrize("layer", ["conv1", "relu2", "pool2", "fc1", "fc3"])
def test_edge_and_cloud_together_are_the_model(layer):
    target = worlds.lenet()
    edge = cut(target.model, layer, SHAPE)
    cloud = Cloud(edge, SHAPE)
    x = worlds.digits().victims.images[:20]
    assert torch.allclose(cloud(edge(x)), target.model(x), atol=1e-5)


def test_the_cloud_holds_no_weight_of_the_edge():
    target = worlds.lenet()
    cloud = Cloud(cut(target.model, "fc1", SHAPE), SHAPE)
    held = dict(cloud.model.network.named_parameters())
    for name, value in held.items():
        assert bool(value.any()) == name.startswith(("fc2", "fc3")), name
    assert target.model.network.conv1.weight.any()
