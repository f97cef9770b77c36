import dataclasses

import pytest
import torch

from safelight.errors import DataError, PlanError
from safelight.stats.seeds import Seeds
from safelight.testing.generators import OPEN, ReleasedGeneratorContract, watch, world
from safelight.threats.released_generator import GeneratorNeeds, ReleasedGenerator


class TestOpen(ReleasedGeneratorContract):
    threat = OPEN


class TestSamplesAlone(ReleasedGeneratorContract):
    threat = ReleasedGenerator(access="samples", pictures="none")


class TestLatents(ReleasedGeneratorContract):
    threat = ReleasedGenerator(access="latents")


def meet(threat=OPEN, **changes):
    here = dataclasses.replace(world("everything"), **changes)
    return threat.meet(here.networks, here.members, here.others, here.reference, here.twin)


def test_a_picture_in_two_sets_is_refused():
    here = world("everything")
    shared = torch.cat([here.reference.images[1:], here.members.images[:1]])
    reference = dataclasses.replace(here.reference, images=shared)
    with pytest.raises(DataError, match="1 pictures stand in members and in reference"):
        meet(reference=reference)
    with pytest.raises(DataError, match="60 pictures stand in members and in others"):
        meet(others=here.members)


def test_sides_of_different_sizes_are_refused():
    fewer = world("everything").others.rows(torch.arange(59))
    with pytest.raises(DataError, match="60 members and 59 others; take as many"):
        meet(others=fewer)


def test_pictures_of_another_size_are_refused():
    here = world("everything")
    small = dataclasses.replace(here.members, images=here.members.images[..., :8, :8])
    with pytest.raises(DataError, match=r"set data\.size"):
        meet(members=small)


def test_what_is_not_there_cannot_be_had():
    here = world("everything")
    with pytest.raises(PlanError, match="twin = false"):
        meet(twin=None)
    with pytest.raises(PlanError, match="discriminator = false"):
        meet(networks=dataclasses.replace(here.networks, discriminator=None))


def test_attacks_that_ask_for_as_many_samples_are_shown_the_same():
    seen, _ = watch("everything")
    needs = GeneratorNeeds(samples=True)
    one, two = (seen.restricted(needs).samples(40, Seeds(0)) for _ in range(2))
    assert one is two
    assert not torch.equal(one, seen.samples(40, Seeds(1)))
    assert float(one.min()) >= 0
    assert float(one.max()) <= 1


def test_the_twin_is_seen_in_the_same_way_and_knows_others():
    seen, _ = watch("everything")
    twin = seen.restricted(GeneratorNeeds(samples=True, twin=True)).twin
    made = twin.samples(50, Seeds(0))
    assert not torch.equal(made, seen.samples(50, Seeds(0)))
