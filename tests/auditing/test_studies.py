"""A study is another plan: it says what is varied, can be written down, and can be prepared."""

import typing

import pytest

from safelight import catalog
from safelight.auditing import studies
from safelight.auditing.pair import mismatch
from safelight.auditing.setting import prepare
from safelight.cli.study import Question
from safelight.errors import PlanError
from safelight.plan.plan import load_plan, parse_plan, to_toml

SPLIT = "split_inference"
DATA = ["data.public.count=100", "data.victims.count=20"]


def demo(*settings):
    return load_plan("demo", [*DATA, *settings])


def expanded(plan):
    """Every threat of a plan as (threat, attacks that are named for it)."""
    return [
        (threat, entry.attacks)
        for entry in plan.threats
        for threat in catalog.expand("threat", entry.name, entry.options)
    ]


@pytest.mark.parametrize("question", studies.STUDIES)
def test_a_study_is_a_plan_that_survives_toml_and_fits_its_attacks(question, tmp_path):
    study = studies.STUDIES[question](demo())
    (tmp_path / "plan.toml").write_text(to_toml(study))
    assert load_plan(tmp_path / "plan.toml") == study
    assert study.name == f"demo-{question}"
    setting = prepare(study)
    assert [mismatch(*pair) for pair in setting.pairs] == [""] * len(setting.pairs)
    assert {threat for threat, _ in setting.pairs} == set(setting.threats)


def test_the_command_offers_every_study():
    assert set(typing.get_args(Question)) == set(studies.STUDIES)


def test_depth_watches_every_cut_in_order():
    study = studies.depth(demo())
    cuts = [threat.cut for threat, _ in expanded(study)]
    assert cuts[0] == "conv1"
    assert cuts[-1] == "fc3"
    assert len(cuts) == len(set(cuts)) == 11
    assert study.attacks == demo().attacks


def test_depth_says_at_once_what_is_wrong_with_the_plan():
    with pytest.raises(PlanError, match="use cpu"):
        studies.depth(demo("device=tpu"))


def test_threats_that_differ_only_in_the_cut_become_one():
    threats = [
        {"name": SPLIT, "cut": "conv1", "attacks": ["inversion/decoder"]},
        {"name": SPLIT, "cut": "relu2", "attacks": ["inversion/likelihood"]},
        {"name": SPLIT, "cut": "relu2", "knows": "queries", "attacks": ["inversion/decoder"]},
    ]
    plan = parse_plan(demo().model_dump() | {"threats": threats}, "the test")
    study = studies.at_cuts(plan, ["conv1", "fc1"])
    assert [(one.attacks, one.options["cut"], one.options["knows"]) for one in study.threats] == [
        (["inversion/decoder", "inversion/likelihood"], ["conv1", "fc1"], "weights"),
        (["inversion/decoder"], ["conv1", "fc1"], "queries"),
    ]


def test_knowledge_is_one_threat_an_adversary_at_every_cut():
    plan = demo('data.private={split="train[:100]"}')
    found = expanded(studies.knowledge(plan))
    for cut in ("conv1", "relu2"):
        own = [
            (one.knows, one.pictures, one.structure, attacks)
            for one, attacks in found
            if one.cut == cut
        ]
        assert own == [
            ("weights", "same distribution", "known", ["inversion/likelihood"]),
            ("queries", "training set", "known", ["inversion/decoder"]),
            ("queries", "same distribution", "known", ["inversion/decoder"]),
            ("queries", "noise", "known", ["inversion/decoder"]),
            ("cloud", "training set", "known", ["inversion/shadow"]),
            ("cloud", "training set", "different", ["inversion/shadow"]),
            ("cloud", "same distribution", "known", ["inversion/shadow"]),
            ("cloud", "same distribution", "different", ["inversion/shadow"]),
        ]


def test_knowledge_asks_nobody_for_a_training_set_that_is_not_named():
    found = expanded(studies.knowledge(demo()))
    assert {one.pictures for one, _ in found} == {"same distribution", "noise"}


def test_knowledge_takes_attacks_as_the_plan_sets_them_or_as_they_come():
    study = studies.knowledge(demo('threats=[{name="split_inference", cut="fc1", aware=false}]'))
    options = {one.name: one.options for one in study.attacks}
    assert options["inversion/decoder"] == {"steps": 220}
    assert options["inversion/likelihood"]["decoder"] == {"steps": 220}
    assert options["inversion/shadow"] == {}
    assert {(one.cut, one.aware) for one, _ in expanded(study)} == {("fc1", False)}


def test_knowledge_calls_attacks_as_the_plan_does():
    twice = 'attacks=[{name="inversion/decoder", label="quick", steps=5}, ' + (
        '{name="inversion/decoder", label="slow", steps=9}]'
    )
    study = studies.knowledge(demo(twice))
    assert [one.attacks for one in study.threats] == [
        ["inversion/likelihood"],
        ["quick", "slow"],
        ["inversion/shadow"],
    ]
    tried = {(one.knows, attack.steps) for one, attack in prepare(study).pairs}
    assert {("queries", 5), ("queries", 9)} < tried


@pytest.mark.parametrize(
    ("given", "defense"),
    [([], {"name": "gaussian_noise"}), (["defense.name=dropout"], {"name": "dropout"})],
)
def test_repeats_sends_with_the_plans_defense_or_a_stated_one(given, defense):
    study = studies.repeats(demo(*given))
    found = [(one.cut, one.sends) for one, _ in expanded(study)]
    assert found == [(cut, sends) for cut in ("conv1", "relu2") for sends in (1, 4, 16, 64)]
    assert study.defense.model_dump() == defense
    assert study.attacks == demo().attacks
