from dataclasses import replace

import torch

from safelight.controls.planted_training import MEMBERS, fewest_public, planted
from safelight.testing import worlds
from safelight.testing.extraction import leaking


def test_the_planted_model_knows_its_pictures_by_heart_and_no_others():
    made = leaking()
    logits = made.target.model(made.secret.members.images)
    assert (logits.argmax(1) == made.secret.members.labels).all()
    assert made.target.facts["loss"] < 0.01
    others = made.target.model(made.secret.others.images).argmax(1)
    assert (others == made.secret.others.labels).float().mean() < 0.95


def test_the_sets_are_disjoint_and_the_attacker_keeps_the_rest():
    public, made = worlds.digits().public, leaking()
    sets = [made.secret.members, made.secret.others, made.public]
    assert [len(one) for one in sets] == [MEMBERS, MEMBERS, len(public) - 2 * MEMBERS]
    hashes = [content for one in sets for content in one.content_hashes()]
    assert len(set(hashes)) == len(hashes) == len(public)
    assert len(public) >= fewest_public()


def test_the_initialization_is_the_one_that_training_began_with(monkeypatch):
    monkeypatch.setattr("safelight.controls.planted_training.STEPS", 20)
    public = worlds.digits().public.rows(torch.arange(200))
    one, two = planted(public, 1), planted(public, 1)
    assert one.target.weights_sha256() == two.target.weights_sha256()
    moved = one.target.network.state_dict()
    assert set(one.initial) == set(moved)
    assert all(torch.equal(one.initial[name], two.initial[name]) for name in one.initial)
    assert not torch.equal(one.initial["1.weight"], moved["1.weight"])


def test_where_descent_diverges_it_begins_again_more_slowly(monkeypatch):
    """A planted training set that was not learned could not be found by any attack."""
    for name, value in (("STEPS", 150), ("LEARNING_RATE", 1.6)):
        monkeypatch.setattr(f"safelight.controls.planted_training.{name}", value)
    made = planted(worlds.digits().public.rows(torch.arange(200)), 1)
    assert made.target.facts["recipe"]["learning_rate"] < 1.6
    assert made.target.correct(made.secret.members.images, made.secret.members.labels) == MEMBERS


def test_the_planted_model_is_trained_once_for_the_same_pictures(monkeypatch, tmp_path):
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr("safelight.controls.planted_training.STEPS", 20)
    public = worlds.digits().public.rows(torch.arange(200))
    one, two, other = planted(public, 1), planted(public, 1), planted(public, 2)
    assert len(list(tmp_path.iterdir())) == 2
    planted(replace(public, classes=(*public.classes, "one more")), 1)  # is another network
    assert len(list(tmp_path.iterdir())) == 3
    assert one.target.weights_sha256() == two.target.weights_sha256()
    assert one.target.weights_sha256() != other.target.weights_sha256()
    assert one.target.facts == two.target.facts
    for made in (one, two):
        assert not any(each.requires_grad for each in made.target.network.parameters())
