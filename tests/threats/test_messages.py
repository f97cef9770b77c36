"""What all threats that watch messages have in common, tried on two of them."""

import dataclasses

import pytest
import torch

from safelight.cache import Cache
from safelight.controls.planted import PlantedCloud, PlantedLeak
from safelight.data.noise import noise_pictures
from safelight.defenses.gaussian_noise import GaussianNoise
from safelight.errors import AccessError, PlanError
from safelight.targets.cut import cut
from safelight.targets.release import Scale
from safelight.testing import worlds
from safelight.threats.observation import Needs
from safelight.threats.prediction_api import PredictionApi
from safelight.threats.split_inference import SplitInference
from safelight.threats.trusted_execution import TrustedExecution

CPU = torch.device("cpu")
THREATS = [
    SplitInference(cut="relu2"),
    PredictionApi(),
    TrustedExecution(cut="relu2", compressed=True),
]


def named(threat):
    return type(threat).__name__


@pytest.fixture(params=THREATS, ids=named)
def threat(request):
    return request.param


def meet(threat, tmp_path, roles=None, target=None):
    roles = roles or worlds.digits()
    return threat.meet(target or worlds.lenet(), roles, CPU, Cache(tmp_path))


def test_who_owns_the_training_set_needs_a_plan_that_names_it(threat, tmp_path):
    owner = dataclasses.replace(threat, pictures="training set")
    assert worlds.digits().private is None
    with pytest.raises(PlanError, match=r"needs data\.private, .*; name them"):
        meet(owner, tmp_path)


def test_who_owns_the_training_set_trains_on_it_and_knows_its_classes(threat, tmp_path):
    private = worlds.digits().holdout.rows(torch.arange(50))
    roles = dataclasses.replace(worlds.digits(), private=private)
    owner = dataclasses.replace(threat, pictures="training set")
    view = meet(owner, tmp_path, roles)[0].restricted(
        Needs(messages=True, public=True, labels=True)
    )
    assert torch.equal(view.public.images, private.images)
    assert torch.equal(view.labels, private.labels)


def test_who_has_noise_has_as_many_pictures_and_no_classes(threat, tmp_path):
    poor = dataclasses.replace(threat, pictures="noise")
    view = meet(poor, tmp_path)[0].restricted(Needs(messages=True, public=True))
    public = worlds.digits().public
    assert torch.equal(view.public.images, noise_pictures(public, len(public), seed=0).images)
    assert not view.public.labels.any()
    with pytest.raises(AccessError, match="labels"):
        meet(poor, tmp_path)[0].restricted(Needs(messages=True, labels=True))


def test_who_has_no_pictures_is_shown_none_and_no_real_one_is_held(threat, tmp_path):
    seen, _ = meet(dataclasses.replace(threat, pictures="none"), tmp_path)
    with pytest.raises(AccessError, match="public are hidden"):
        seen.restricted(Needs(messages=True, public=True))
    held = seen._sight.public.images
    assert not torch.equal(held, worlds.digits().public.images)


def test_of_the_same_distribution_are_the_plans_own(threat, tmp_path):
    view = meet(threat, tmp_path)[0].restricted(Needs(messages=True, public=True, labels=True))
    assert torch.equal(view.public.images, worlds.digits().public.images)
    assert torch.equal(view.labels, worlds.digits().public.labels)


@pytest.mark.parametrize("pictures", ["same distribution", "noise", "none"])
def test_the_scale_is_measured_on_real_pictures_whatever_the_adversary_owns(pictures, tmp_path):
    own = SplitInference(cut="relu2", pictures=pictures)
    real = cut(worlds.lenet().model, "relu2", (1, 28, 28))(worlds.digits().public.images[:500])
    assert meet(own, tmp_path)[0].scale == Scale.of(real)


def test_noise_is_as_strong_for_who_owns_no_pictures(tmp_path):
    target = dataclasses.replace(worlds.lenet(), release=GaussianNoise(deviation=0.5))
    heard = [
        meet(SplitInference(cut="relu2", pictures=own), tmp_path, target=target)[0]
        .restricted(Needs(messages=True))
        .messages
        for own in ("same distribution", "noise")
    ]
    assert torch.equal(*heard)


def test_the_secret_is_the_victims_and_the_observation_their_messages(threat, tmp_path):
    seen, secret = meet(threat, tmp_path)
    victims = worlds.digits().victims
    assert torch.equal(secret.victims.images, victims.images)
    edge, _ = threat.parts(worlds.lenet(), victims.shape)
    assert torch.equal(seen.restricted(Needs(messages=True)).messages, edge(victims.images))


def test_a_hidden_sight_names_the_place_and_what_is_offered(threat, tmp_path):
    weak = (
        threat
        if named(threat) != "SplitInference"
        else SplitInference(cut="relu2", knows="nothing")
    )
    with pytest.raises(AccessError) as refused:
        meet(weak, tmp_path)[0].restricted(Needs(messages=True, weights=True))
    assert repr(weak.where) in str(refused.value)
    assert "messages, " in str(refused.value)


def test_a_planted_edge_is_watched_like_a_real_one(threat, tmp_path):
    leak = PlantedLeak((16, 8, 8), 1)
    cloud = PlantedCloud(leak, worlds.lenet().model, (1, 28, 28))
    seen, secret = threat.expose(leak, cloud, worlds.digits(), CPU, Cache(tmp_path))
    assert torch.equal(seen.restricted(Needs(messages=True)).messages, leak(secret.victims.images))
    view = seen.restricted(Needs(messages=True, queries=True, public=True))
    assert torch.equal(view.query(view.public.images[:3]), leak(view.public.images[:3]))


def test_only_what_an_enclave_hides_is_taken_for_granted():
    assert SplitInference.assumptions == PredictionApi.assumptions == ()
    assert len(TrustedExecution.assumptions) == 4


def test_the_same_meeting_gives_the_same_observation(threat, tmp_path):
    first, again = (meet(threat, tmp_path)[0] for _ in "ab")
    view, other = (one.restricted(Needs(messages=True)) for one in (first, again))
    assert torch.equal(view.messages, other.messages)
    assert first._sight.fingerprint == again._sight.fingerprint
