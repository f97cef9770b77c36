"""``safelight privacy`` as typed, on real digits."""

import json

import pytest

from safelight.record.membership_audit import load_membership_record
from safelight.record.privacy_sweep import load_sweep

PLAN = """
name = "digits"
[data]
source = "embedded"
private = { count = 200 }
holdout = { count = 200 }
public = { count = 400 }
[target]
model = "mlp"
[target.fit]
epochs = 30
batch_size = 20
[[threats]]
name = "membership_game"
[[attacks]]
name = "membership/threshold"
"""
PRIVATE = ("--private", "target.fit.learning_rate=0.5", "--private", "target.fit.epochs=5")


@pytest.fixture(autouse=True)
def _place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "plan.toml").write_text(PLAN)


def test_two_epsilons_are_audited_drawn_and_not_audited_again(cli, tmp_path):
    words = ("privacy", "plan.toml", "--epsilons", "none,2", *PRIVATE)
    result = cli(*words)
    assert result.code == 0, result
    sweep = load_sweep(tmp_path / "runs/digits-privacy")
    private, plain = sweep.points
    assert 1.9 < private.promise.epsilon <= 2.0
    assert plain.promise is None
    # The network knows its 200 digits by heart, and the private one does not.
    assert plain.train_accuracy.value > 0.99
    assert plain.verdict.outcome == "LEAK"
    assert private.verdict.outcome != "LEAK"
    assert private.tpr.measurement.low <= private.promise.tpr <= private.promise.epsilon_tpr
    assert private.auc.measurement.value < plain.auc.measurement.value
    folder = tmp_path / "runs/digits-privacy"
    for point in sweep.points:
        record = load_membership_record(folder / point.run)
        assert record.verdict == point.verdict
        assert (folder / point.run / "report.html").is_file()
    assert record.plan["name"] == "digits no privacy"
    assert "tradeoff" in (folder / "report.html").read_text()
    assert sweep.advice.reason.split(" ")[0] in result.out.lower()
    before = {one: one.stat().st_mtime_ns for one in folder.rglob("record.json")}
    again = cli(*words)
    assert again.code == 0
    assert again.out.endswith(result.out[result.out.index("Report") :])
    assert {one: one.stat().st_mtime_ns for one in folder.rglob("record.json")} == before
    other = cli(*words, "--private", "target.fit.epochs=6")
    assert other.code == 2
    assert "give another --out" in other.err
    (folder / "report.html").unlink()
    assert cli("report", str(folder)).code == 0
    assert "tradeoff" in (folder / "report.html").read_text()
    told = cli("report", str(folder), "--format", "terminal")
    assert sweep.advice.reason.split(" ")[0] in told.out.lower()
    assert cli("report", str(folder), "--format", "sarif").code == 2
    gated = cli("gate", str(folder))
    assert gated.code == 2
    assert "give the folder of one: epsilon-2, none" in gated.err


def test_an_unfinished_audit_is_gone_on_with(cli, tmp_path):
    words = ("privacy", "plan.toml", "--epsilons", "none", "--set", "target.fit.epochs=2")
    assert cli(*words).code == 0
    file = tmp_path / "runs/digits-privacy/none/record.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"status": "running", "verdict": None, "findings": []}))
    assert cli(*words).code == 0
    assert load_membership_record(file).status == "complete"
    assert len(load_membership_record(file).findings) == 1


def test_a_wrong_list_is_refused_at_once(cli):
    result = cli("privacy", "plan.toml", "--epsilons", "1,two")
    assert result.code == 2
    assert "'two'" in result.err
    result = cli("privacy", "plan.toml", "--epsilons", "none", "--out", "plan.toml/here")
    assert result.code == 2
    assert "check --out" in result.err
