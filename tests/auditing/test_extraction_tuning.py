import pytest
import safetensors.torch
import torch

from safelight.attacks.extraction.kkt import KKT
from safelight.auditing import extraction_tuning
from safelight.auditing.extraction import audit, prepare
from safelight.auditing.extraction_tuning import STUDY, tune
from safelight.errors import PlanError
from safelight.plan.plan import parse_plan
from safelight.record.extraction import load_extraction
from safelight.record.store import Run
from safelight.targets.classifiers.mlp import MLP
from safelight.testing import worlds
from safelight.testing.extraction import leaking

PUBLIC = worlds.digits().public.rows(torch.arange(150))
ATTACK = KKT(steps=60, per_picture=1)


def test_the_search_finds_a_rate_that_works_and_goes_on_where_it_stopped(tmp_path):
    ranges = {"learning_rate": (1e-6, 0.1)}
    some = tune(ATTACK, ranges, PUBLIC, tmp_path, trials=3, shadows=1)
    assert some.trials == 3
    assert (tmp_path / STUDY).is_file()
    more = tune(ATTACK, ranges, PUBLIC, tmp_path, trials=6, shadows=1)
    assert more.trials == 6
    assert more.auc >= some.auc
    again = tune(ATTACK, ranges, PUBLIC, tmp_path, trials=6, shadows=1)
    assert again == more
    assert more.attack.learning_rate > 1e-4  # at 1e-6 nothing moves
    assert more.attack.steps == 60
    assert sum(more.importance.values()) == pytest.approx(1)


def test_an_option_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(PlanError, match=r"unknown option of KKT 'rate'"):
        tune(ATTACK, {"rate": (0.1, 1)}, PUBLIC, tmp_path, trials=1)
    with pytest.raises(PlanError, match="give 0 <= low < high"):
        tune(ATTACK, {"start": (2, 1)}, PUBLIC, tmp_path, trials=1)


def content(weights, tune):
    return {
        "name": "searched",
        "data": {
            "source": "embedded",
            "private": {"count": 30},
            "holdout": {"count": 30},
            "public": {"count": 150},
        },
        "target": {"model": "mlp", "options": {"hidden": [16]}, "weights": str(weights)},
        "threats": [{"name": "released_model"}],
        "attacks": [{"name": "extraction/kkt", "steps": 10, "per_picture": 1, "tune": tune}],
    }


def test_a_plan_leaves_options_to_a_search_that_is_told_and_goes_on_with_the_run(tmp_path):
    weights, run = tmp_path / "weights.safetensors", Run(tmp_path / "run")
    safetensors.torch.save_file(MLP(hidden=(16,)).state_dict(), weights)
    tune = {"ranges": {"learning_rate": [1e-3, 0.1]}, "trials": 3, "shadows": 1}
    plan = parse_plan(content(weights, tune), "test")
    told = []
    record = audit(prepare(plan), run, lambda *one: told.append(one[0]))
    assert told[0] == "options of extraction/kkt, on shadow models"
    (finding,) = record.findings
    how = finding.searched
    assert (how.trials, how.shadows, how.ranges) == (3, 1, {"learning_rate": (1e-3, 0.1)})
    rate = finding.attack_options["learning_rate"]
    assert 1e-3 <= rate <= 0.1
    assert rate != KKT().learning_rate
    assert finding.attack_options["steps"] == 10
    (attack,) = [one for one in record.components if one.kind == "attack"]
    assert attack.options["learning_rate"] == rate
    assert (run.folder / STUDY).is_file()
    again = audit(prepare(plan), run, lambda *_: None, resume=True)
    assert (again.cells, again.findings) == (record.cells, record.findings)
    assert load_extraction(run.folder) == again


@pytest.mark.parametrize(
    ("tune", "told"),
    [
        ({"ranges": {}}, "attacks.tune: ranges"),
        ({"ranges": {"start": [0.1, 1]}, "trial": 3}, "attacks.tune: trial"),
        ({"ranges": {"steps": [1, 10]}}, "steps is no number with decimals"),
        ({"ranges": {"rate": [1, 10]}}, "unknown option of KKT 'rate'"),
    ],
)
def test_a_search_that_cannot_be_run_is_told_before_anything_is_trained(tune, told, tmp_path):
    with pytest.raises(PlanError, match=told) as error:
        prepare(parse_plan(content(tmp_path / "none", tune), "test"))
    assert "\n" not in str(error.value)


def test_an_audit_that_was_stopped_while_it_searched_goes_on_with_its_trials(tmp_path, monkeypatch):
    weights, run = tmp_path / "weights.safetensors", Run(tmp_path / "run")
    safetensors.torch.save_file(MLP(hidden=(16,)).state_dict(), weights)
    tune = {"ranges": {"learning_rate": [1e-3, 0.1]}, "trials": 3, "shadows": 1}
    plan = parse_plan(content(weights, tune), "test")
    calls = []

    def stopped(*_):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 0.5 + 0.1 * len(calls)

    monkeypatch.setattr(extraction_tuning, "shadow_auc", stopped)
    with pytest.raises(KeyboardInterrupt):
        audit(prepare(plan), run, lambda *_: None)
    assert (run.folder / STUDY).is_file()
    record = audit(prepare(plan), run, lambda *_: None)  # no record yet: it begins anew
    assert record.findings[0].searched.trials == 3
    assert len(calls) == 1 + 1 + 2  # one was kept, one stopped, two were left


def test_who_owns_no_pictures_cannot_tune(tmp_path):
    weights = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(MLP(hidden=(16,)).state_dict(), weights)
    made = content(weights, {"ranges": {"learning_rate": [1e-3, 0.1]}, "trials": 1})
    made["threats"] = [{"name": "released_model", "pictures": "none"}]
    with pytest.raises(PlanError, match="this adversary has none"):
        audit(prepare(parse_plan(made, "test")), Run(tmp_path / "run"), lambda *_: None)


def test_another_search_does_not_go_on_from_the_trials_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(extraction_tuning, "planted", lambda *_: leaking())  # trained once
    one = tune(ATTACK, {"learning_rate": (1e-3, 0.1)}, PUBLIC, tmp_path, trials=1, shadows=1)
    other = tune(ATTACK, {"start": (0.1, 1)}, PUBLIC, tmp_path, trials=1, shadows=1)
    assert (one.trials, other.trials) == (1, 1)
    assert other.attack.learning_rate == ATTACK.learning_rate
