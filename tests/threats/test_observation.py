import dataclasses

import pytest
import torch
from torch import nn

from safelight.cache import Cache
from safelight.defenses.dropout import Dropout
from safelight.defenses.gaussian_noise import GaussianNoise
from safelight.defenses.temperature import Temperature
from safelight.errors import AccessError
from safelight.stats.seeds import Seeds
from safelight.targets.release import Scale
from safelight.testing import worlds
from safelight.threats.observation import Link, Needs
from safelight.threats.prediction_api import PredictionApi
from safelight.threats.split_inference import SplitInference

EVERYTHING = Needs(messages=True, queries=True, weights=True, public=True)


@pytest.fixture
def seen(tmp_path):
    return worlds.watch("lenet", Cache(tmp_path))[0]


def test_a_message_is_what_the_edge_puts_out(seen):
    view = seen.restricted(EVERYTHING)
    assert torch.equal(view.messages, view.edge(worlds.digits().victims.images))


def test_remembered_work_is_done_once_and_its_queries_count_every_time(seen):
    done = []

    def work(view):
        def make():
            done.append(1)
            return {"messages": view.query(view.public.images[:5])}

        return view.remember({"work": 1}, make)

    first, second = seen.restricted(EVERYTHING), seen.restricted(EVERYTHING)
    assert torch.equal(work(first)["messages"], work(second)["messages"])
    assert len(done) == 1
    assert first.queries == second.queries == 5


def test_an_attack_that_spoils_its_messages_spoils_no_other_view(seen):
    seen.restricted(EVERYTHING).messages.zero_()
    assert seen.restricted(EVERYTHING).messages.abs().sum() > 0


def test_a_sight_that_was_not_declared_is_refused(seen):
    view = seen.restricted(Needs(messages=True))
    for read in (lambda: view.edge, lambda: view.public, lambda: view.query(torch.zeros(1))):
        with pytest.raises(AccessError, match="needs"):
            read()


@pytest.mark.parametrize("sends", [1, 16])
def test_noise_on_the_message_averages_out_over_sends(tmp_path, sends):
    target, roles = worlds.lenet(), worlds.digits()
    met = []
    for release in (None, GaussianNoise(deviation=0.5)):
        threat = SplitInference(cut="relu2", sends=sends)
        defended = dataclasses.replace(target, release=release)
        met.append(threat.meet(defended, roles, torch.device("cpu"), Cache(tmp_path))[0])
    clean, noisy = (seen.restricted(EVERYTHING).messages for seen in met)
    unit = float(clean.std())
    assert float((noisy - clean).std()) == pytest.approx(0.5 * unit / sends**0.5, rel=0.1)
    view = met[1].restricted(EVERYTHING)
    assert not torch.equal(view.resend(), view.resend())
    view.query(view.public.images[:3])
    assert view.queries == 3 * sends
    first, again = (met[1].restricted(EVERYTHING).query(roles.public.images[:3]) for _ in "ab")
    assert torch.equal(first, again)


def met_behind(release, tmp_path, **threat):
    defended = dataclasses.replace(worlds.lenet(), release=release)
    own = SplitInference(cut="conv1", **threat)
    seen, _ = own.meet(defended, worlds.digits(), torch.device("cpu"), Cache(tmp_path))
    return seen.restricted(EVERYTHING)


def test_who_knows_that_numbers_are_removed_collects_them_over_sends(tmp_path):
    clean = met_behind(None, tmp_path)
    aware = met_behind(Dropout(rate=0.5), tmp_path, sends=16)
    unaware = met_behind(Dropout(rate=0.5), tmp_path, sends=16, aware=False)
    came = aware.informative(aware.messages) == 1
    assert 0.999 < came.float().mean() < 1
    assert torch.allclose(aware.messages[came], clean.messages[came], atol=1e-5)
    assert unaware.informative(unaware.messages).eq(1).all()
    # Who takes zeros for numbers sees half of each.
    ratio = float((unaware.messages * clean.messages).sum() / clean.messages.square().sum())
    assert ratio == pytest.approx(0.5, abs=0.01)


def test_queries_and_imitations_go_through_the_defense_that_is_known(tmp_path):
    for aware, zeros in ((True, 0.5), (False, 0.0)):
        view = met_behind(Dropout(rate=0.5), tmp_path, aware=aware)
        own = view.public.images[:50]
        copy = view.untrained_edge(Seeds(0)).requires_grad_(False)
        for answers in (view.query(own), view.imagine(copy).query(own)):
            assert float((answers == 0).float().mean()) == pytest.approx(zeros, abs=0.01)


def test_classes_are_hidden_where_labels_are_not_offered(seen):
    view = seen.restricted(Needs(messages=True, public=True))
    assert not view.public.labels.any()
    with pytest.raises(AccessError, match="labels"):
        view.labels  # noqa: B018 - reading is what is refused


def test_who_holds_a_copy_of_the_edge_still_asks_the_device(seen):
    view = seen.restricted(Needs(messages=True, queries=True, public=True))
    copy = view.untrained_edge(Seeds(0)).requires_grad_(False)
    holding = view.holding(copy)
    answers = holding.query(holding.public.images[:5])
    assert holding.edge is copy
    assert torch.equal(answers, view.query(view.public.images[:5]))
    assert view.queries == holding.queries == 10


def test_what_an_imitation_is_asked_costs_no_query(seen):
    view = seen.restricted(Needs(messages=True, cloud=True, public=True, labels=True))
    own = view.untrained_edge(Seeds(0)).requires_grad_(False)
    imagined = view.imagine(own)
    imagined.query(imagined.public.images[:5])
    assert view.queries == 0
    assert imagined.edge is own
    assert torch.equal(imagined.messages, view.messages)


def test_numbers_that_are_left_out_are_no_noise():
    releases = None, Temperature(), Dropout(rate=0.5), GaussianNoise(deviation=0.1)
    views = [Link(nn.Identity(), nn.Identity(), release=one) for one in releases]
    assert [one.random for one in views] == [False, False, True, True]
    assert [one.noisy for one in views] == [False, False, False, True]


def test_who_knows_a_temperature_works_with_what_it_flattened(tmp_path):
    defense = Temperature(temperature=4.0)
    target = dataclasses.replace(worlds.lenet(), release=defense)
    for aware in (True, False):
        threat, roles = PredictionApi(knows="weights", aware=aware), worlds.digits()
        seen, secret = threat.meet(target, roles, torch.device("cpu"), Cache(tmp_path))
        view, own = seen.restricted(EVERYTHING), roles.public.images[:20]
        clean = view.edge(secret.victims.images)
        told = clean if aware else (clean.log() / 4).softmax(1)
        assert torch.allclose(view.messages, told, atol=1e-5)
        # Who does not know it expects plain answers of the service too.
        assert torch.allclose(view.query(own), view.edge(own), atol=1e-5)


@pytest.mark.parametrize("aware", [True, False])
def test_what_leaves_the_device_does_not_depend_on_who_watches(aware):
    threat, images = PredictionApi(), worlds.digits().victims.images
    edge, cloud = threat.parts(worlds.lenet(), worlds.digits().victims.shape)
    scale = Scale.of(edge(images))
    for release in (Temperature(temperature=4.0), Dropout(rate=0.5), GaussianNoise(deviation=0.5)):
        link = Link(edge, cloud, release=release, scale=scale, sends=9, aware=aware)
        draw = torch.Generator().manual_seed(Seeds(3).integer())
        assert torch.equal(
            link.leaving(images, Seeds(3)), release.release(edge(images), scale, draw)
        )
    assert torch.equal(
        dataclasses.replace(link, release=None).leaving(images, Seeds(3)), edge(images)
    )


def test_work_on_other_labels_is_other_work(tmp_path):
    roles, threat = worlds.digits(), SplitInference(cut="relu2")
    turned = dataclasses.replace(roles.public, labels=(roles.public.labels + 1) % 10)
    kept = []
    for public in (roles.public, turned):
        some = dataclasses.replace(roles, public=public)
        seen, _ = threat.meet(worlds.lenet(), some, torch.device("cpu"), Cache(tmp_path))
        view = seen.restricted(Needs(messages=True, public=True, labels=True))
        kept.append(view.remember({"work": 1}, lambda view=view: {"labels": view.labels}))
    assert torch.equal(kept[1]["labels"], turned.labels)
