import dataclasses

import pytest
import torch

from safelight.errors import AccessError, DataError, PlanError
from safelight.stats.seeds import Seeds
from safelight.targets.generators.recipe import GeneratorRecipe
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


RECIPE = GeneratorRecipe(resolution=16, steps=3)


def trained(**facts):
    facts = {"recipe": RECIPE.model_dump()} | facts
    return dataclasses.replace(world("everything").networks, facts=facts)


def test_the_recipe_is_told_to_who_has_it_alone():
    told = GeneratorNeeds(recipe=True)
    seen, _ = meet(dataclasses.replace(OPEN, recipe=True), networks=trained())
    assert seen.restricted(told).recipe == RECIPE
    with pytest.raises(AccessError, match="recipe is hidden"):
        meet(networks=trained())[0].restricted(told)


@pytest.mark.parametrize("facts", [{"privacy": {"epsilon": 1.0}}, {"recipe": {"steps": "many"}}])
def test_a_recipe_that_does_not_train_alike_is_none(facts):
    with pytest.raises(PlanError, match="recipe = false"):
        meet(dataclasses.replace(OPEN, recipe=True), networks=trained(**facts))


def test_a_shadow_is_seen_in_the_same_way_and_asked_about_own_pictures():
    seen, _ = watch("everything")
    here = world("everything")
    own, rest = (
        here.reference.rows(torch.arange(*rows)) for rows in ((0, 20), (20, len(here.reference)))
    )
    view = seen.restricted(GeneratorNeeds(samples=True, reference=True, candidates=True))
    shadow = view.shadow(here.twin, own, rest)
    assert shadow.candidates is own
    assert shadow.reference is rest
    assert torch.equal(shadow.samples(50, Seeds(0)), seen.twin.samples(50, Seeds(0)))
    assert view.queries == 0
    for hidden in ("twin", "recipe", "painter"):
        with pytest.raises(AccessError):
            getattr(shadow, hidden)
    with pytest.raises(AccessError, match="reference is hidden"):
        seen.restricted(GeneratorNeeds(samples=True)).shadow(here.twin, own, rest)


def test_samples_that_are_shown_again_are_counted_once():
    view = watch("everything")[0].restricted(GeneratorNeeds(samples=True))
    for _ in range(2):
        view.samples(40, Seeds(0))
    view.samples(40, Seeds(1))
    assert view.queries == 80


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
