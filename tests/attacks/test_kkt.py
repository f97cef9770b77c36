import dataclasses

import pytest
import torch
from torch import nn

from safelight.attacks.extraction.kkt import KKT
from safelight.metrics.extraction_losses.rectifier import SmoothRectifier, smoothed
from safelight.metrics.extraction_losses.stationarity import (
    chain_of,
    dense_residual,
    pull,
    residual,
)
from safelight.stats.seeds import Seeds
from safelight.targets.classifiers.mlp import MLP
from safelight.targets.classifiers.plain_cnn import PlainCNN
from safelight.targets.classifiers.vit import ViT
from safelight.testing.extraction import ExtractionContract, leaking, watch
from safelight.threats.released_model import ReleasedModel


class TestKKT(ExtractionContract):
    attack = KKT(steps=250)


class TestKKTInTheRowSpace(ExtractionContract):
    attack = KKT(steps=250, space="row space", layers="all", restarts=2, per_picture=1)


class TestKKTBehindAPrior(ExtractionContract):
    attack = KKT(steps=250, space="public pictures")


def test_behind_a_prior_candidates_stay_in_the_plane_of_public_pictures():
    seen = watch(leaking())
    attack = KKT(steps=1, space="public pictures", components=7)
    project = attack._projection(seen)
    public = seen.public.images
    center = public.mean(0)
    drawn = project(torch.rand(2, 9, *seen.image_shape))
    assert torch.linalg.matrix_rank((drawn - center).flatten(2)[0], rtol=1e-4) == 7
    assert torch.allclose(project(drawn), drawn, atol=1e-5)
    # No other plane of seven axes is nearer to the public pictures.
    left = (public - project(public[None])[0]).square().sum()
    values = torch.linalg.svdvals((public - center).flatten(1))
    assert left == pytest.approx(float(values[7:].square().sum()), rel=1e-3)


def test_a_prior_needs_pictures_to_learn_from():
    attack = KKT(space="public pictures")
    bare = watch(leaking(), ReleasedModel(pictures="none"))
    assert "does not have" in attack.unfit(bare.restricted(attack.needs, attack.welcomes))
    assert KKT().unfit(bare.restricted(attack.needs, attack.welcomes)) == ""


def by_hand(network, images, labels, multipliers, sharpness, layers):
    """The unexplained share from explicit gradients, one picture at a time, in float64."""
    soft = smoothed(network, sharpness).requires_grad_(True)
    dense = [one for one in soft if isinstance(one, nn.Linear)]
    logits = torch.cat([soft(one) for one in images.split(1)])
    pulls = pull(logits, labels).detach()
    top = bottom = 0.0
    for place in layers:
        parameters = list(dense[place].parameters())
        total = [torch.zeros_like(one) for one in parameters]
        for i in range(len(images)):
            margin = (soft(images[i : i + 1])[0] * pulls[i]).sum()
            for one, own in zip(total, torch.autograd.grad(margin, parameters), strict=True):
                one += multipliers[i] * own
        norm = sum(one.square().sum() for one in parameters)
        top += sum((a * b).sum() for a, b in zip(total, parameters, strict=True)) / norm
        bottom += sum(one.square().sum() for one in total) / norm
    scales = torch.linspace(-3, 3, 600001, dtype=torch.float64) * (top / bottom).abs()
    shares = 1 + (scales.square() * bottom - 2 * scales * top) / len(layers)
    return shares.min() if top > 0 else 2 - shares.min()


@pytest.mark.parametrize("bias", ["all", "first", "none"])
@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("layers", [[0], [1, 2], [0, 1, 2]])
def test_the_kernel_form_is_the_residual_of_explicit_gradients(bias, classes, layers):
    torch.manual_seed(0)
    network = MLP(classes, (1, 4, 4), (9, 7), bias=bias, slope=0.1).double()
    images = torch.rand(2, 5, 1, 4, 4, dtype=torch.float64)
    labels, multipliers = torch.arange(5) % max(classes, 2), torch.rand(2, 5).double()
    flat = images.flatten(2)
    fast = dense_residual(chain_of(network), flat, labels, multipliers, 8.0, layers)
    names = [name for name, one in network.named_modules() if isinstance(one, nn.Linear)]
    general = residual(
        smoothed(network, 8.0), images, labels, multipliers, [names[one] for one in layers]
    )
    assert torch.allclose(fast, general, atol=1e-10)
    for restart in range(2):
        slow = by_hand(network, images[restart], labels, multipliers[restart], 8.0, layers)
        assert fast[restart].item() == pytest.approx(slow.item(), abs=1e-6)


def test_weights_that_are_a_sum_of_gradients_are_explained_and_others_are_not():
    """A KKT point in closed form: pictures at obtuse angles turn the units of the other class off.

    w_j = v_j sum over i with y_i v_j > 0 of lambda_i y_i x_i is active on just these pictures.
    """
    gram = 1.1 * torch.eye(6, dtype=torch.float64) - 0.1
    pictures = torch.nn.functional.pad(torch.linalg.cholesky(gram), (0, 19))
    labels, multipliers = torch.arange(6), torch.linspace(0.8, 1.2, 6, dtype=torch.float64)
    signs = (labels % 2 * 2 - 1).double()
    network = MLP(1, (1, 5, 5), (40,), bias="none").double()
    out = network[3].weight.detach()[0]
    active = (signs[None] * out[:, None] > 0).double()
    network[1].weight.data = (out[:, None] * active * (multipliers * signs)[None]) @ pictures
    chain = chain_of(network)
    at_truth = dense_residual(chain, pictures[None], labels, multipliers[None], 1e9, [0])
    assert at_truth.item() == pytest.approx(0, abs=1e-9)
    torch.manual_seed(0)
    elsewhere = torch.randn(1, 6, 25, dtype=torch.float64)
    assert dense_residual(chain, elsewhere, labels, multipliers[None], 1e9, [0]) > 0.5
    unequal = multipliers[None] * torch.tensor([1, 5, 1, 5, 1, 0.2]).double()
    assert dense_residual(chain, pictures[None], labels, unequal, 1e9, [0]) > 0.05


def test_the_common_scale_of_multipliers_does_not_matter():
    torch.manual_seed(0)
    chain = chain_of(MLP(10, (1, 4, 4), (20, 20)))
    inputs, labels, multipliers = torch.rand(1, 8, 16), torch.arange(8), torch.rand(1, 8)
    one, two = (
        dense_residual(chain, inputs, labels, scale * multipliers, 30.0, [0]) for scale in (1, 1e-3)
    )
    assert torch.allclose(one, two, rtol=1e-4)


def test_no_restart_feels_another():
    attack = KKT(steps=20, restarts=3, per_picture=1)
    seen = watch(leaking()).restricted(attack.needs, attack.welcomes)
    together = attack.run(seen, Seeds(0)).images.reshape(3, -1)
    assert not torch.allclose(together[0], together[1], atol=0.05)
    torch.manual_seed(0)
    chain = chain_of(MLP(10, (1, 4, 4), (20, 20)))
    inputs = torch.rand(3, 8, 16, requires_grad=True)
    labels, multipliers = torch.arange(8), torch.rand(3, 8)
    share = dense_residual(chain, inputs, labels, multipliers, 30.0, [0, 1, 2])
    gradient = torch.autograd.grad(share[0], inputs)[0]
    assert gradient[0].abs().sum() > 0
    assert gradient[1:].abs().sum() == 0


def test_the_rectifier_is_exact_forward_and_smooth_backward():
    h = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    for slope in (0.0, 0.2):
        out = SmoothRectifier(5.0, slope)(h)
        assert torch.allclose(out, torch.nn.functional.leaky_relu(h, slope))
        gradient = torch.autograd.grad(out.sum(), h, create_graph=True)[0]
        assert torch.allclose(gradient, slope + (1 - slope) * torch.sigmoid(5 * h))
        assert torch.autograd.grad(gradient.sum(), h)[0].abs().max() > 0.5


def test_the_pull_holds_the_runner_up_and_sums_to_zero():
    logits = torch.tensor([[3.0, 2.0, -5.0], [0.0, 9.0, -1.0]])
    held = pull(logits, torch.tensor([0, 1]))
    assert torch.allclose(held.sum(1), torch.zeros(2), atol=1e-6)
    assert held[0, 1] < -0.9
    assert held[1, 0] < -0.5
    signs = pull(torch.tensor([[2.0], [2.0]]), torch.tensor([3, 4]))
    assert signs.flatten().tolist() == [1, -1]


def test_a_chain_is_read_only_where_there_is_one():
    assert len(chain_of(MLP(dropout=0.5)).weights) == 3
    assert chain_of(MLP(batch_norm=True)) is None
    assert chain_of(PlainCNN()) is None
    assert chain_of(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))) is None
    assert chain_of(nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))) is None


@pytest.mark.parametrize(
    "build",
    [
        lambda: PlainCNN(3, (1, 8, 8), (4, 4), 8, batch_norm=True),
        lambda: ViT(3, (1, 8, 8), 4, 8, 2, 1),
        lambda: MLP(3, (1, 8, 8), (9,), batch_norm=True, dropout=0.5),
    ],
)
def test_any_classifier_is_attacked(build):
    torch.manual_seed(0)
    network = smoothed(build(), 30.0)
    images = torch.rand(2, 6, 1, 8, 8, requires_grad=True)
    share = residual(network, images, torch.arange(6) % 3, torch.rand(2, 6))
    assert share.shape == (2,)
    assert torch.autograd.grad(share.sum(), images)[0].abs().sum() > 0


def test_a_large_training_set_is_not_met_by_as_many_candidates():
    world = leaking()
    whole = dataclasses.replace(world, secret=dataclasses.replace(world.secret, whole=59_000))
    attack = KKT(steps=1, most=20, restarts=2)
    assert len(attack.run(watch(whole), Seeds(0)).images) == 2 * 20
    assert len(KKT(steps=1, per_picture=1).run(watch(world), Seeds(0)).images) == 30
