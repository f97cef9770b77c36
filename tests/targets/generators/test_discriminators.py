"""Discriminators: shapes, labels, training, second derivatives, minibatch statistics."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch.func import functional_call, grad, vmap

from safelight.targets.generators.dcgan import dcgan_discriminator
from safelight.targets.generators.discriminator import MinibatchStd, discriminator

SMALL = {"channel_base": 256, "channel_max": 8}


def styled(architecture):
    def make(resolution, apart=False, **options):
        return discriminator(
            resolution,
            architecture=architecture,
            mbstd_num_channels=0 if apart else 1,
            **SMALL | options,
        )

    return make


def convolutional(resolution, apart=False, **options):
    return dcgan_discriminator(resolution, batch_norm=not apart, **SMALL | options)


KINDS = {one: styled(one) for one in ("resnet", "skip", "orig")} | {"dcgan": convolutional}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.mark.parametrize("resolution", [8, 32, 64])
@pytest.mark.parametrize("c_dim", [0, 3])
def test_logits_depend_on_image_and_label(kind, resolution, c_dim):
    network = kind(resolution, c_dim=c_dim, img_channels=1).eval()
    images = torch.randn(4, 1, resolution, resolution)
    labels = torch.eye(3)[[0, 1, 2, 0]] if c_dim else None
    logits = network(images, labels)
    assert logits.shape == (4, 1)
    assert len(logits.unique()) == 4
    assert not c_dim or not torch.allclose(logits, network(images, labels.roll(1, 1)))


def test_a_few_steps_of_training_lower_the_loss(kind):
    network = kind(32, img_channels=1)
    adam = torch.optim.Adam(network.parameters(), lr=0.01)
    real, fake = torch.randn(8, 1, 32, 32), 0.5 * torch.randn(8, 1, 32, 32)
    losses = []
    for _ in range(16):
        loss = F.softplus(-network(real)).mean() + F.softplus(network(fake)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_r1_penalty_has_the_derivative_of_finite_differences(kind):
    """R1 = |grad_x D(x)|^2 (Mescheder et al. 2018), derived once more in the weights."""
    network = kind(8, apart=True, img_channels=1).double()
    images = torch.randn(2, 1, 8, 8).double().requires_grad_()
    weight = next(one for name, one in network.named_parameters() if name.endswith("0.weight"))
    step = torch.randn_like(weight)

    def penalty():
        (slope,) = torch.autograd.grad(network(images).sum(), images, create_graph=True)
        return slope.square().sum()

    (slope,) = torch.autograd.grad(penalty(), weight)
    with torch.no_grad():
        weight += 1e-7 * step
    above = penalty().item()
    with torch.no_grad():
        weight -= 2e-7 * step
    expected = (above - penalty().item()) / 2e-7
    assert float((slope * step).sum()) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_without_minibatch_statistics_images_are_kept_apart(kind):
    network = kind(16, apart=True, img_channels=1)
    images = torch.randn(4, 1, 16, 16)
    assert torch.allclose(network(images)[:1], network(images[:1]), atol=1e-6)
    others = kind(16, img_channels=1)
    assert not torch.allclose(others(images)[:1], others(images[:1]), atol=1e-6)


def test_without_minibatch_statistics_every_image_has_its_own_gradient(kind):
    network = kind(16, apart=True, img_channels=1)
    images = torch.randn(3, 1, 16, 16)
    weights = dict(network.named_parameters())

    def logit(weights, image):
        return functional_call(network, weights, (image[None],)).sum()

    each = vmap(grad(logit), (None, 0))({k: v.detach() for k, v in weights.items()}, images)
    network(images[1:2]).sum().backward()
    assert all(torch.allclose(each[k][1], v.grad, atol=1e-5) for k, v in weights.items())


def test_minibatch_deviation_is_that_of_the_group():
    x = torch.randn(6, 4, 2, 2)
    for group_size, group in ((4, 3), (3, 3), (2, 2), (None, 6), (1, 1)):
        appended = MinibatchStd(group_size, 2)(x)
        assert appended.shape == (6, 6, 2, 2)
        assert torch.equal(appended[:, :4], x)
        together = [x[start :: 6 // group] for start in range(6 // group)]
        for image in range(6):
            members = together[image % (6 // group)]
            for half in range(2):
                own = members[:, 2 * half : 2 * half + 2].std(0, correction=0).mean()
                assert torch.allclose(appended[image, 4 + half], own, atol=2e-4)
