import pytest
import torch
from torch import nn

from safelight import catalog
from safelight.targets.classifiers.batch_norm_cnn import BatchNormCNN
from safelight.targets.classifiers.depthwise import Bottleneck, Depthwise
from safelight.targets.classifiers.residual import Block, Residual


@pytest.mark.parametrize("kind", ["batch_norm_cnn", "residual", "depthwise"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_logits_for_any_number_of_classes_and_shape(kind, shape):
    network = catalog.load("classifier", kind)(classes=7, image_shape=shape, width=8).eval()
    logits = network(torch.randn(2, *shape))
    assert logits.shape == (2, 7)
    assert torch.isfinite(logits).all()
    assert len(network.mean) == len(network.std) == 1


def count(network):
    return sum(one.numel() for one in network.parameters())


def test_the_cnn_is_that_of_the_study():
    """128, 256 and 512 channels; 8192 features, 50 hidden units, no activation behind them."""
    convolutions = 9 * (128 + 128 * 256 + 256 * 512) + 896
    normal = 2 * 896
    linear = 8192 * 50 + 50 + 50 * 10 + 10
    assert count(BatchNormCNN()) == convolutions + normal + linear
    order = [type(one) for one in BatchNormCNN().stages][:4]
    assert order == [nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU]


def test_a_quarter_of_the_width_costs_a_fifteenth():
    assert 12 < count(BatchNormCNN().stages) / count(BatchNormCNN(width=32).stages) < 17


def test_a_block_whose_last_scale_is_zero_is_its_shortcut():
    block = Block(4, 4, 1).eval()
    nn.init.zeros_(block.last.weight)
    x = torch.rand(2, 4, 8, 8)
    assert torch.equal(block(x), x)


def test_filters_look_at_one_channel_each():
    layer = Bottleneck(8, 8, 1, 4)
    assert layer.filter[0].groups == 32
    assert layer.filter[0].weight.shape == (32, 1, 3, 3)
    assert layer.skips
    assert not Bottleneck(8, 16, 2, 4).skips


def test_twenty_layers_as_published():
    """He et al. (2016), table 6: 0.27 million parameters (without projections)."""
    twenty = Residual(image_shape=(3, 32, 32), blocks=3)
    assert 0.26e6 < count(twenty) < 0.29e6
    assert Residual(blocks=1).head.in_features == 64
    assert Depthwise().head.in_features == 256
