import dataclasses

import pytest
import torch

from safelight.errors import AccessError, PlanError
from safelight.testing.extraction import ReleaseContract, leaking
from safelight.threats.released_model import ReleasedModel, ReleaseNeeds


def meet(threat, **changes):
    world = leaking()
    given = {"initial": world.initial, "public": world.public} | changes
    return threat.meet(
        world.target, world.secret, given["public"], given["initial"], torch.device("cpu")
    )


class TestReleasedModel(ReleaseContract):
    threat = ReleasedModel()


class TestReleasedModelWithLess(ReleaseContract):
    threat = ReleasedModel(count="unknown", pictures="none")


def test_an_attack_sees_no_more_than_it_needs_and_welcomes():
    seen = meet(ReleasedModel(knows="initialization"))
    bare = seen.restricted(ReleaseNeeds())
    assert bare.initialization is None
    assert bare.count is None
    with pytest.raises(AccessError, match="public is hidden"):
        _ = bare.public
    with pytest.raises(AccessError, match="weights is hidden"):
        _ = seen.restricted(ReleaseNeeds(weights=False)).model
    more = seen.restricted(ReleaseNeeds(), ReleaseNeeds(count=True, initialization=True))
    assert more.count == 30
    assert set(more.initialization) == set(leaking().initial)
    hidden = meet(ReleasedModel()).restricted(ReleaseNeeds(), ReleaseNeeds(initialization=True))
    assert hidden.initialization is None


def test_the_size_of_the_training_set_is_told_where_only_a_part_of_it_is_scored():
    world = leaking()
    assert world.secret.count == 30
    part = dataclasses.replace(world.secret, whole=59_000)
    public, initial = world.public, world.initial
    for threat, told in ((ReleasedModel(), 59_000), (ReleasedModel(count="unknown"), None)):
        seen = threat.meet(world.target, part, public, initial, torch.device("cpu"))
        assert seen.count == told


def test_noise_pictures_are_nobody_s():
    seen = meet(ReleasedModel(pictures="noise"))
    own = leaking().public
    assert set(seen.public.content_hashes()).isdisjoint(own.content_hashes())
    assert seen.public.shape == own.shape


def test_an_initialization_that_nobody_kept_cannot_be_known():
    with pytest.raises(PlanError, match=r"leave target\.weights out"):
        meet(ReleasedModel(knows="initialization"), initial={})
