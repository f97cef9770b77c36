import pytest

from safelight import catalog
from safelight.auditing import reproduction
from safelight.auditing.prediction_reproduction import plans, rows
from safelight.auditing.run import audit
from safelight.auditing.setting import prepare
from safelight.errors import PlanError
from safelight.plan.plan import parse_plan
from safelight.record.store import Run
from safelight.reports import prediction_comparison

PAPER = reproduction.load_paper("shadow-reconstructions")


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_every_plan_is_built_and_every_attack_exists(scale):
    built = plans(PAPER, scale)
    own = PAPER["scales"][scale]
    assert len(built) == len(own["defenses"]) * len(own["pairs"])
    for plan in built.values():
        labels = [label for threat in plan.threats for label in threat.attacks or []]
        assert sorted(labels) == sorted(one.label or "" for one in plan.attacks)
        for attack in plan.attacks:
            catalog.build("attack", attack.name, attack.options)
        assert plan.seeds == [plan.target.fit.seed]  # a pair is a target and its shadows


def test_the_full_scale_runs_every_published_row_on_five_pairs():
    assert len(PAPER["scales"]["full"]["pairs"]) >= 5
    names = {one["name"]: one.get("only") for one in PAPER["rows"]}
    for defense, published in PAPER["published"].items():
        assert defense in PAPER["scales"]["full"]["defenses"]
        assert all(names[one] in (None, defense) for one in published)
    inputs = {
        one["options"]["inputs"]
        for one in PAPER["rows"]
        if one["attack"] == "inversion/inverse_combination"
    }
    assert inputs == {"o", "x", "a", "ox", "oa", "xa", "oxa"}


def test_the_quick_scale_asks_both_questions():
    quick = PAPER["scales"]["quick"]
    assert {"no queries: output", "no queries: gradient", "queries"} <= set(quick["rows"])
    assert {"no queries: output", "queries"} <= set(quick["defended_rows"]) <= set(quick["rows"])
    assert {"none", "top 1", "top 3"} <= set(quick["defenses"])
    built = plans(PAPER, "quick")
    assert {len(plan.attacks) for plan in built.values()} == {5, 2}
    assert {plan.data.private.count for plan in built.values()} == {5000}


def test_probabilities_are_rounded_where_a_defense_says_so():
    for name, plan in plans(PAPER, "quick").items():
        returns = {threat.options["returns"] for threat in plan.threats}
        assert returns == {"probabilities" if name.startswith("probabilities") else "logits"}
        assert plan.defense is None or "returns" not in plan.defense.options


def test_an_unknown_row_is_told(monkeypatch):
    quick = PAPER["scales"]["quick"] | {"rows": ["queris"]}
    with pytest.raises(PlanError, match="queries"):
        plans(PAPER | {"scales": {"quick": quick}}, "quick")


def test_a_tiny_reproduction_sets_ours_beside_theirs(tmp_path, monkeypatch):
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))
    few = {"steps": 2, "width": 2, "batch_size": 8}
    brief = {"imitation": {"steps": 2}}
    quick = {
        "pairs": [0, 1],
        "victims": {"count": 20},
        "options": {"width": 4},
        "fit": {"epochs": 1},
        "defenses": ["none", "top 1"],
        "rows": ["no queries: output", "queries"],
        "attacks": {
            "inverse_combination": few | {"search": brief},
            "query_template": few,
        },
    }
    data = {
        "source": "embedded",
        "size": 32,
        "private": {"count": 300},
        "public": {"count": 300},
        "holdout": {"count": 1000},
    }
    tiny = PAPER | {"scales": {"quick": quick}, "plan": PAPER["plan"] | {"data": data}}
    records = {}
    for name, plan in plans(tiny, "quick").items():
        checked = parse_plan(plan.model_dump(exclude_none=True), name)
        records[name] = audit(prepare(checked), Run(tmp_path / name), lambda *_: None)
    made = {(one.defense, one.name): one for one in rows(tiny, records)}
    for defense in ("none", "top 1"):
        for name in quick["rows"]:
            one = made[defense, name]
            assert one.pairs == 2
            assert len(one.values["ssim"]) == 20
            assert one.spread["ssim"] >= 0
            assert one.times_chance == pytest.approx(100 * one.scores["named"].value)
    assert made["none", "no queries: output"].published == (0.2298, 0.0966)
    assert made["none", "gradient, random"].scores == {}
    text = prediction_comparison.render("A title", "Someone", list(made.values()))
    assert "0.2298 / 0.0966" in text
    assert "not run" in text
    assert "## Answers, top 1" in text
    assert "- top 1, queries: SSIM" in text
