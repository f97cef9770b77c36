"""Audits that ask of the training set, as a newcomer types them."""

import json

import pytest

from safelight.record.kinds import load_any

DATA = """
[data]
source = "embedded"
private = { count = 40 }
holdout = { count = 40 }
public = { count = 300 }
"""

MEMBERSHIP = f"""
name = "members"
{DATA}
[target]
model = "lenet"
fit = {{ epochs = 2, batch_size = 20 }}
[[threats]]
name = "membership_game"
[[attacks]]
name = "membership/threshold"
"""

WEIGHTS = f"""
name = "released"
{DATA}
[target]
model = "mlp"
options = {{ hidden = [128] }}
fit = {{ optimizer = "gradient descent", epochs = 1500, learning_rate = 0.2, weight_decay = 3e-3 }}
[[threats]]
name = "released_model"
[[attacks]]
name = "extraction/row_space"
directions = 30
"""


@pytest.mark.parametrize(("kind", "plan"), [("membership", MEMBERSHIP), ("extraction", WEIGHTS)])
def test_an_audit_of_the_training_set_is_a_run_like_any_other(kind, plan, tmp_path, cli):
    (tmp_path / "plan.toml").write_text(plan)
    run = tmp_path / "run"
    done = cli("audit", str(tmp_path / "plan.toml"), "--out", str(run))
    assert done.code == 0, done.err
    record = load_any(run)
    assert json.loads((run / "record.json").read_text())["kind"] == kind
    assert record.verdict.outcome in done.out.replace("\n", " ")
    assert (run / "report.html").stat().st_mode & 0o077 == 0
    again = cli("audit", "--resume", str(run))
    assert again.code == 0, again.err
    assert load_any(run).verdict == record.verdict
    leak = record.verdict.outcome == "LEAK"
    gated = cli("gate", str(run))
    assert gated.code == (1 if leak else 0 if record.verdict.outcome == "NO EVIDENCE" else 3)
    assert cli("gate", str(run), "--baseline", str(run)).code != 1
    assert "@misc" in cli("cite", str(run)).out
    assert record.verdict.outcome in cli("report", str(run), "--format", "terminal").out
    refused = cli("report", str(run), "--format", "sarif")
    assert refused.code == 2
    assert "html or terminal" in refused.err


def test_weights_that_know_pictures_by_heart_leak(tmp_path, cli):
    (tmp_path / "plan.toml").write_text(WEIGHTS)
    done = cli("audit", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "run"))
    assert done.code == 0, done.err
    record = load_any(tmp_path / "run")
    assert record.verdict.outcome == "LEAK"
    assert record.findings[0].extracted.measurement.low > 0.2


def test_questions_do_not_mix(tmp_path, cli):
    both = MEMBERSHIP + '[[threats]]\nname = "released_model"\n'
    (tmp_path / "plan.toml").write_text(both)
    done = cli("audit", str(tmp_path / "plan.toml"))
    assert done.code == 2
    assert "membership_game, released_model ask different questions" in done.err


def test_a_dry_run_says_that_the_plan_can_be_run(tmp_path, cli):
    (tmp_path / "plan.toml").write_text(MEMBERSHIP)
    done = cli("audit", str(tmp_path / "plan.toml"), "--dry-run")
    assert done.code == 0
    assert "it can be run" in done.out


def test_rebuilding_pictures_needs_victims(tmp_path, cli):
    plan = MEMBERSHIP.replace("membership_game", "split_inference").replace(
        "membership/threshold", "inversion/decoder"
    )
    (tmp_path / "plan.toml").write_text(
        plan.replace('"split_inference"', '"split_inference"\ncut = "conv1"')
    )
    done = cli("audit", str(tmp_path / "plan.toml"))
    assert done.code == 2
    assert "set data.victims.count" in done.err
