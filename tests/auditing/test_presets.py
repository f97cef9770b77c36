"""Every preset runs from end to end, cut down; those that need data, where the data is."""

import os
from pathlib import Path

import pytest

from safelight.auditing.run import audit
from safelight.auditing.setting import prepare
from safelight.plan.plan import load_plan, presets
from safelight.record.store import Run

SMALLER = [
    "seeds=[0]",
    "data.victims.count=20",
    "data.public.count=200",
    "attacks.inversion/decoder.steps=10",
    "attacks.inversion/decoder.batch_size=16",
    "attacks.inversion/likelihood.steps=5",
    "attacks.inversion/likelihood.decoder={steps=10, batch_size=16}",
]


def _available() -> list[str]:
    root = os.environ.get("SAFELIGHT_DATA")
    return [name for name in presets() if name == "demo" or (root and (Path(root) / name).is_dir())]


@pytest.mark.parametrize("name", _available())
def test_a_preset_runs_from_end_to_end(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("safelight.controls.nulls.TEMPLATE_STEPS", 2)
    monkeypatch.setattr("safelight.attacks.inversion.likelihood.TUNED_ON", 4)
    monkeypatch.setattr("safelight.attacks.inversion.decoder.UNCERTAINTY_STEPS", 5)
    deepest = load_plan(name).threats[0].options["cut"][-1]  # the cheapest to attack
    plan = load_plan(name, [*SMALLER, f"threats.0.cut=[{deepest!r}]"])
    # The training set, which nobody here owns, takes longest to read.
    plan = plan.model_copy(update={"data": plan.data.model_copy(update={"private": None})})
    record = audit(prepare(plan), Run(tmp_path / "run"), lambda *_: None)
    assert record.status == "complete"
    assert [cell.reason for cell in record.cells if cell.status != "ok"] == []
    assert len(record.findings) == len(plan.threats[0].options["cut"]) * len(plan.attacks)
