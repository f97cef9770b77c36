import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.extraction.network_inversion import Generator, NetworkInversion
from safelight.metrics.extraction_losses.diversity import Features, likeness, overlap
from safelight.metrics.extraction_losses.picture_priors import outside_range, total_variation
from safelight.metrics.extraction_losses.prediction import (
    as_classes,
    condition,
    cross_entropy,
    divergence,
    gradient_norm,
    perturbed,
)
from safelight.stats.seeds import Seeds
from safelight.targets.classifiers.mlp import MLP
from safelight.testing.extraction import ExtractionContract, leaking, watch


class TestNetworkInversion(ExtractionContract):
    attack = NetworkInversion(steps=150, channels=32)


def test_the_softmax_is_taken_once():
    logits, wanted = torch.randn(6, 4), torch.rand(6, 4).softmax(1)
    p = logits.softmax(1)
    by_hand = (wanted * (wanted.log() - p.log())).sum(1).mean()
    assert torch.allclose(divergence(logits, wanted), by_hand, atol=1e-6)
    sure = torch.eye(4)[:, :4] * 200
    assert divergence(sure, torch.eye(4)) < 1e-6  # the published form stays above 0.7 here
    twice = F.kl_div(sure.softmax(1).log_softmax(1), torch.eye(4), reduction="batchmean")
    assert twice > 0.7


def test_for_one_hot_vectors_the_divergence_is_the_cross_entropy():
    logits, labels = torch.randn(7, 5), torch.arange(7) % 5
    one_hot = F.one_hot(labels, 5).float()
    assert torch.allclose(divergence(logits, one_hot), cross_entropy(logits, labels), atol=1e-6)


def test_a_condition_is_a_distribution_with_its_mode_at_the_label():
    labels = torch.arange(40) % 10
    draw = torch.Generator().manual_seed(0)
    drawn = condition(labels, 10, 4.0, draw)
    assert torch.allclose(drawn.sum(1), torch.ones(40))
    assert torch.equal(drawn.argmax(1), labels)
    assert not torch.allclose(drawn[0], drawn[10])  # equal labels, different vectors
    assert condition(labels, 10, 1e4, draw).max(1).values.min() > 0.99


def test_one_output_reads_as_two_classes():
    logit = torch.tensor([[1.5], [-0.3]])
    both = as_classes(logit)
    assert torch.allclose(both.softmax(1)[:, 1], torch.sigmoid(logit[:, 0]))
    assert as_classes(torch.ones(2, 3)).shape == (2, 3)


def test_likeness_and_overlap_by_hand():
    features = torch.randn(6, 9)
    cosines = F.cosine_similarity(features[:, None], features[None], dim=2)
    off = cosines[~torch.eye(6, dtype=torch.bool)]
    assert likeness(features).item() == pytest.approx(off.mean().item(), abs=1e-6)
    assert overlap(features).item() == pytest.approx(off.square().mean().item(), abs=1e-6)
    assert overlap(torch.eye(4) * 3) == pytest.approx(0, abs=1e-6)
    assert likeness(torch.ones(4, 4)) == pytest.approx(1)


def test_priors_by_hand():
    picture = torch.zeros(1, 1, 3, 3)
    picture[0, 0, 1, 1] = 1
    assert total_variation(picture).item() == pytest.approx((2 / 6 + 2 / 6) / 2)
    assert total_variation(torch.full((2, 3, 5, 4), 0.3)) == 0
    pixels = torch.tensor([-0.5, 0.0, 0.7, 1.25])
    assert outside_range(pixels, 0, 1).item() == pytest.approx(0.75 / 4)
    assert outside_range(pixels, -1, 2) == 0


def test_the_gradient_norm_is_that_of_autograd():
    torch.manual_seed(0)
    network = MLP(4, (1, 3, 3), (8,))
    inputs, labels = torch.rand(5, 1, 3, 3), torch.arange(5) % 4
    network.requires_grad_(True)
    found = torch.autograd.grad(F.cross_entropy(network(inputs), labels), network.parameters())
    square = sum(one.square().sum() for one in found)
    whole = sum(one.square().sum() for one in network.parameters())
    expected = (square / whole).sqrt().item()
    assert gradient_norm(network, inputs, labels).item() == pytest.approx(expected, rel=1e-4)


def test_a_perturbation_moves_each_pixel_by_its_strength_and_stays_in_range():
    pictures = torch.full((2, 1, 4, 4), 0.5)
    moved = perturbed(pictures, 0.2, torch.Generator().manual_seed(0))
    assert torch.allclose((moved - 0.5).abs(), torch.full_like(moved, 0.2))
    assert len(moved.unique()) == 2
    assert perturbed(pictures, 3.0, torch.Generator().manual_seed(0)).abs().max() == 1


def test_features_are_what_enters_the_last_layer_and_the_hook_goes():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.rand(5, 1, 2, 2)
    with Features(network) as reader:
        network(x)
        assert torch.equal(reader.take(), network[:3](x))
    assert not network[3]._forward_pre_hooks
    with pytest.raises(ValueError, match="no dense layer"):
        Features(nn.Conv2d(1, 1, 1))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 14)])
def test_the_generator_reaches_both_ends_of_the_range_in_any_shape(shape):
    generator = Generator(8, 10, shape, 16)
    pictures = generator(torch.randn(3, 8), torch.rand(3, 10))
    assert pictures.shape == (3, *shape)
    with torch.no_grad():
        generator.last.bias.fill_(30.0)
        assert generator(torch.randn(3, 8), torch.rand(3, 10)).min() > 1
        generator.last.bias.fill_(-30.0)
        assert generator(torch.randn(3, 8), torch.rand(3, 10)).max() < 0


WEIGHTS = [
    "kl",
    "kl_perturbed",
    "ce",
    "ce_perturbed",
    "stationary",
    "variation",
    "pixel",
    "cosine",
    "orthogonality",
    "gradient",
]


@pytest.mark.parametrize("name", WEIGHTS)
def test_every_weight_changes_the_claim(name):
    world = leaking()
    none = dict.fromkeys(WEIGHTS, 0.0)
    base = NetworkInversion(steps=2, channels=8, **(none | {"orthogonality": 1.0, "ce": 1e-3}))
    claims = [
        one.run(watch(world).restricted(one.needs, one.welcomes), Seeds(0)).images
        for one in (base, dataclasses.replace(base, **{name: 5.0}))
    ]
    assert torch.equal(*claims) == (name == "pixel")  # no pixel has left the range that early


def test_a_large_training_set_is_not_met_by_as_many_candidates():
    world = leaking()
    whole = dataclasses.replace(world, secret=dataclasses.replace(world.secret, whole=59_000))
    attack = NetworkInversion(steps=1, most=20, channels=8)
    assert len(attack.run(watch(whole), Seeds(0)).images) == 20
    assert len(dataclasses.replace(attack, most=2000).run(watch(world), Seeds(0)).images) == 60
