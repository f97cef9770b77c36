import dataclasses

import numpy as np
import pytest
import torch

from safelight.attacks.membership.style_mixing import StyleMixing, _each_mixed
from safelight.stats.seeds import Seeds
from safelight.targets.generators.released import ReleasedGenerator as Released
from safelight.targets.generators.stylegan2 import stylegan2
from safelight.testing.generators import OPEN, GeneratorContract, world


class TestStyleMixing(GeneratorContract):
    attack = StyleMixing(samples=1000)


def test_every_picture_has_two_styles_that_meet_at_one_layer():
    ws, others = torch.zeros(200, 5, 3), torch.ones(200, 5, 3)
    found = _each_mixed(ws, others, np.random.default_rng(0))[:, :, 0]
    assert (found.diff(dim=1) >= 0).all()  # first the one style, from a layer on the other
    assert set(found.sum(1).tolist()) == {1, 2, 3, 4}


@pytest.mark.parametrize("classes", [0, 10])
def test_mixed_pictures_of_a_stylegan_are_not_plain_ones(classes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"z_dim": 8, "w_dim": 8, "img_channels": 1, "mapping_layers": 2}
        generator = stylegan2(16, c_dim=classes, channel_base=64, channel_max=8, **sizes)
    here = world("nothing")
    networks = Released(generator, here.networks.discriminator)
    seen, _ = dataclasses.replace(OPEN, discriminator=False).meet(
        networks, here.members, here.others, here.reference, here.twin
    )
    attack = StyleMixing(samples=40)
    view = seen.restricted(attack.needs)
    made = attack._made(view, Seeds(0))
    z, labels = view.latents(40, Seeds(0).child("first style"))
    plain = view.painter.of_z(z, labels).clamp(0, 1)
    assert made.shape == plain.shape
    assert (made - plain).abs().flatten(1).amax(1).gt(1e-4).all()
    assert torch.equal(made, attack._made(view, Seeds(0)))
