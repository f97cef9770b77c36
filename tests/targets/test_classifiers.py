import pytest
import torch
from torch import nn

from safelight import catalog
from safelight.targets.classifiers.mlp import MLP
from safelight.targets.classifiers.plain_cnn import PlainCNN
from safelight.targets.classifiers.vit import ViT


@pytest.mark.parametrize("kind", ["mlp", "plain_cnn", "vit"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_logits_for_any_number_of_classes_and_shape(kind, shape):
    options = {"patch": 8} if kind == "vit" and shape[1] == 32 else {}
    network = catalog.load("classifier", kind)(classes=7, image_shape=shape, **options).eval()
    logits = network(torch.randn(2, *shape))
    assert logits.shape == (2, 7)
    alone = network(torch.zeros(1, *shape))
    assert torch.isfinite(alone).all()
    assert len(network.mean) == len(network.std) == 1


def test_the_mlp_is_that_of_the_extraction_papers():
    assert sum(one.numel() for one in MLP().parameters()) == 784 * 1000 + 1000**2 + 10 * 1000 + 2010
    haim = MLP(1, bias="first", first=1e-4)
    assert [one.bias is not None for one in haim if isinstance(one, nn.Linear)] == [
        True,
        False,
        False,
    ]
    assert haim[1].weight.std().item() == pytest.approx(1e-4, rel=0.01)
    assert haim[1].bias.std().item() == pytest.approx(1e-4, rel=0.1)
    assert all(one.bias is None for one in MLP(bias="none") if isinstance(one, nn.Linear))


@pytest.mark.parametrize("bias", ["none", "first"])
def test_without_biases_the_network_is_homogeneous(bias):
    """f(c theta) = c^layers f(theta): what the theory of extraction asks for."""
    network = MLP(10, (1, 5, 5), (12, 11), bias=bias).eval()
    x = torch.randn(4, 1, 5, 5)
    before = network(x)
    with torch.no_grad():
        for one in network.parameters():
            one *= 1.5
    assert torch.allclose(network(x), before * 1.5**3, rtol=1e-4)


def test_every_part_that_breaks_the_theory_can_be_turned_on():
    kinds = [type(one) for one in MLP(batch_norm=True, dropout=0.4, slope=0.2)]
    assert kinds.count(nn.BatchNorm1d) == kinds.count(nn.Dropout) == 2
    assert kinds.count(nn.LeakyReLU) == 2
    paper = [type(one) for one in PlainCNN(dropout=0.4).modules()]
    assert paper.count(nn.BatchNorm2d) == paper.count(nn.Dropout2d) == 3
    plain = [type(one) for one in PlainCNN(batch_norm=False, slope=0).modules()]
    assert nn.BatchNorm2d not in plain
    assert nn.ReLU in plain


def test_the_transformer_attends_to_every_patch():
    network = ViT(dropout=0).eval()
    x = torch.zeros(1, 1, 28, 28, requires_grad=True)
    network(x)[0, 0].backward()
    patches = x.grad.abs().reshape(4, 7, 4, 7).sum((1, 3))
    assert (patches > 0).all()
    with pytest.raises(ValueError, match="do not tile"):
        ViT(image_shape=(1, 30, 30))
