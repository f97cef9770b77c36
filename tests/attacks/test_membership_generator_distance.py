import dataclasses

import numpy as np
import pytest
import torch

from safelight.attacks.membership.generator_distance import GeneratorDistance
from safelight.stats.seeds import Seeds
from safelight.targets.generators.dcgan import dcgan
from safelight.targets.generators.released import ReleasedGenerator as Released
from safelight.testing.generators import OPEN, GeneratorContract, watch, world


class TestSamples(GeneratorContract):
    attack = GeneratorDistance(samples=1000)


class TestTwin(GeneratorContract):
    attack = GeneratorDistance(samples=1000, calibrate="generator")


class TestLatents(GeneratorContract):
    attack = GeneratorDistance(by="latents", samples=500, steps=5, calibrate="nothing")


class TestWeights(GeneratorContract):
    attack = GeneratorDistance(by="weights", samples=500, steps=10, space="w")


def test_the_score_is_the_difference_of_the_logarithms_of_distances():
    seen, _ = watch("everything")
    attack = GeneratorDistance(samples=200, neighbors=1)
    view = seen.restricted(attack.needs)
    made, own = seen.samples(200, Seeds(0)), seen.reference.images
    x = seen.candidates.images

    def apart(among):
        pairs = (x[:, None] - among[None]).flatten(2).square().mean(2).sqrt()
        return pairs.min(1).values.clamp_min(4e-5).log().numpy()

    found = attack.run(view, Seeds(0)).scores
    # Equal pictures are told to 1e-3 by the fast distance; others to six digits.
    far = apart(made) > -4
    assert far.any()
    assert np.allclose(found[far], (apart(own) - apart(made))[far], atol=1e-3)


@pytest.mark.parametrize("by", ["latents", "weights"])
def test_a_search_comes_no_farther_than_where_it_started(by):
    seen, _ = watch("nothing")
    steps = [
        GeneratorDistance(by=by, samples=100, steps=one, calibrate="nothing") for one in (1, 12)
    ]
    few, many = (one.run(seen.restricted(one.needs), Seeds(0)).scores for one in steps)
    assert (many >= few - 1e-6).all()
    assert many.sum() > few.sum()


def test_queries_of_the_black_box_search_are_counted():
    seen, secret = watch("nothing")
    attack = GeneratorDistance(by="latents", samples=100, steps=3)
    view = seen.restricted(attack.needs)
    attack.run(view, Seeds(0))
    n = secret.member.size
    population = (view.queries - 100 - n) / (3 * n)
    assert population == 4 + int(3 * np.log(view.z_dim))


def test_gradients_lead_nearer_than_chance_on_a_generator_of_the_real_kind():
    """A DCGAN's own pictures are found again from their pixels, by Adam in z."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = dcgan(16, z_dim=8, img_channels=1, channel_base=256, channel_max=32)
    here = world("nothing")
    networks = Released(generator.train(), here.networks.discriminator)
    z = torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        own = ((networks.generator(z) + 1) / 2).clamp(0, 1)
    members = dataclasses.replace(here.members, images=own)
    seen, secret = OPEN.meet(networks, members, here.others, here.reference, here.twin)
    attack = GeneratorDistance(by="weights", samples=500, steps=60)
    scores = attack.run(seen.restricted(attack.needs), Seeds(0)).scores
    assert scores[secret.member].min() > scores[~secret.member].max()
