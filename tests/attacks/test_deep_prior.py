import dataclasses

import pytest
import torch
from torch import nn

from safelight import catalog
from safelight.attacks.inversion.deep_prior import INPUTS, DeepPrior, Hourglass
from safelight.errors import PlanError
from safelight.metrics.image import psnr
from safelight.stats.seeds import Seeds
from safelight.testing.attacks import AttackContract

SMALL = DeepPrior(steps=60, width=8)


class TestDeepPrior(AttackContract):
    attack = SMALL


class Glimpse:
    """What the attack reads of an observation: messages that are the pictures themselves."""

    def __init__(self, pictures: torch.Tensor) -> None:
        self.edge, self.messages = nn.Identity(), pictures
        self.image_shape = tuple(pictures.shape[1:])

    def informative(self, messages):
        return torch.ones_like(messages)


def _pictures(count=5, size=16):
    """Disks of several sizes."""
    line = torch.linspace(-1, 1, size)
    distance = (line[:, None].square() + line[None].square()).sqrt()
    return torch.stack([(distance < 0.3 + 0.1 * k).float() for k in range(count)])[:, None]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 21, 30), (1, 7, 7)])
def test_the_network_paints_pictures_of_any_size(shape):
    network = Hourglass(shape, DeepPrior(width=4, depth=3))
    picture = network(torch.rand(1, INPUTS, *shape[1:]))
    assert picture.shape == (1, *shape)
    assert 0 <= picture.min() <= picture.max() <= 1


def test_every_victim_has_its_own_weights():
    """One batch of different pictures, and each alone, come to the same."""
    pictures = _pictures()
    attack = dataclasses.replace(SMALL, steps=20)
    whole = attack.run(Glimpse(pictures), Seeds(0)).images
    parts = dataclasses.replace(attack, batch_size=2).run(Glimpse(pictures), Seeds(0)).images
    assert (whole - parts).abs().max() < 1e-2
    assert psnr(whole, pictures).mean() > psnr(whole, pictures.roll(1, 0)).mean() + 3


def test_noise_in_the_message_is_fitted_last():
    """The prior itself: a noisy disk comes out cleaner than it was sent."""
    pictures = _pictures(3, 32)
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    seen = Glimpse(pictures + 0.2 * noise)
    claim = SMALL.run(seen, Seeds(0)).images
    assert psnr(claim, pictures).mean() > psnr(seen.messages.clamp(0, 1), pictures).mean() + 2


def test_the_jitter_is_gone_at_the_end():
    """Also with a loud one, the last pictures fit as well as those of the first steps do not."""
    pictures = _pictures(3)
    loud = dataclasses.replace(SMALL, jitter=3.0, steps=120)
    claim = loud.run(Glimpse(pictures), Seeds(0)).images
    assert psnr(claim, pictures).mean() > 20


def test_no_jitter_is_a_choice_and_a_negative_one_is_not():
    assert catalog.build("attack", "inversion/deep_prior", {"jitter": 0}).jitter == 0
    with pytest.raises(PlanError, match="jitter"):
        catalog.build("attack", "inversion/deep_prior", {"jitter": -0.1})
