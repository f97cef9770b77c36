import dataclasses

import numpy as np
import pytest
import torch

from safelight.cache import Cache
from safelight.errors import AccessError, DataError, PlanError
from safelight.stats.seeds import Seeds
from safelight.testing.membership import RECIPE, GameContract, arbitrary, play, target
from safelight.threats.membership_game import MembershipGame, Sights


class TestUsual(GameContract):
    threat = MembershipGame()


class TestLabels(GameContract):
    threat = MembershipGame(returns="label", queries=1)


class TestStranger(GameContract):
    threat = MembershipGame(returns="probabilities", knows="nothing", pool=False, online=False)


def test_probabilities_are_rounded_to_float32_and_kept_apart_from_logits(tmp_path):
    """Their logs give the same log-odds wherever a float32 probability can hold them."""
    plain = play("everything", Cache(tmp_path))[0].answers().target
    rounded = play("everything", Cache(tmp_path), MembershipGame(returns="probabilities"))[0]
    logs = rounded.answers().target
    assert np.allclose(np.exp(logs).sum(-1), 1, atol=1e-6)
    centered = plain - np.log(np.exp(plain).sum(-1, keepdims=True))
    assert np.allclose(logs, np.maximum(centered, np.log(np.finfo(np.float32).tiny)), atol=1e-4)


def test_answers_are_those_of_the_target_about_the_candidates(tmp_path):
    seen, _ = play("everything", Cache(tmp_path))
    answers = seen.answers(2)
    images = seen.candidates.images
    with torch.no_grad():
        expected = target("everything").model(images), target("everything").model(images.flip(3))
    found = torch.from_numpy(answers.target[: answers.candidates]).float()
    assert torch.allclose(found[:, 0], expected[0], atol=1e-5)
    assert torch.allclose(found[:, 1], expected[1], atol=1e-5)


def test_shadows_hold_half_of_the_candidates_online_and_none_offline(tmp_path):
    seen, _ = play("everything", Cache(tmp_path))
    online = seen.with_shadows(8, 1, True, Seeds(0))
    offline = seen.with_shadows(8, 1, False, Seeds(0))
    n = online.candidates
    assert online.inside.sum(1).tolist() == [100] * 8
    assert np.ptp(online.inside.sum(0)) <= 1
    assert not offline.inside[:, :n].any()
    assert offline.inside[:, n:].any()
    # A shadow knows its own pictures by heart, whatever their labels, and no others.
    hits = online.shadows[:, :, 0].argmax(-1) == online.labels
    assert hits[online.inside].mean() > 0.95
    assert hits[~online.inside].mean() < 0.2


def test_a_plan_without_a_training_set_is_refused(tmp_path):
    roles = dataclasses.replace(arbitrary(), private=None)
    with pytest.raises(PlanError, match=r"data\.private"):
        MembershipGame().meet(target("nothing"), roles, RECIPE, Cache(tmp_path))


def test_a_pool_too_small_for_shadows_is_refused_with_the_remedy(tmp_path):
    roles = arbitrary()
    few = dataclasses.replace(roles, public=roles.public.rows(torch.arange(110)))
    seen, _ = MembershipGame().meet(target("everything"), few, RECIPE, Cache(tmp_path))
    with pytest.raises(DataError, match=r"add to data\.public"):
        seen.with_shadows(8, 1, False, Seeds(0))


def test_more_views_than_are_answered_are_refused(tmp_path):
    seen, _ = play("everything", Cache(tmp_path), MembershipGame(queries=2))
    with pytest.raises(AccessError, match="raise queries"):
        seen.labels(3)


def test_nothing_but_labels_is_seen_without_scores(tmp_path):
    seen, _ = play("everything", Cache(tmp_path))
    with pytest.raises(AccessError, match="scores"):
        seen.restricted(Sights()).answers()
