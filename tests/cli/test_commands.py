"""The commands as a newcomer types them, on a small plan."""

import json
import shutil
import stat

import pytest
import safetensors.torch
import torch
from PIL import Image

from safelight.plan.plan import load_plan
from safelight.record.record import Verdict
from safelight.record.store import Run, load_record
from safelight.testing import worlds

PLAN = """
name = "small"
[data]
source = "embedded"
public = { count = 300 }
victims = { count = 20 }
holdout = { count = 1000 }
[target]
model = "lenet"
weights = "shipped"
[[threats]]
name = "split_inference"
cut = ["conv1", "relu2"]
[[attacks]]
name = "inversion/likelihood"
start = "gray"
steps = 60
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One small finished run, made through the command line."""
    import sys
    from unittest import mock

    from safelight.cli.main import run

    place = tmp_path_factory.mktemp("cli")
    (place / "plan.toml").write_text(PLAN)
    words = ["safelight", "audit", str(place / "plan.toml"), "--out", str(place / "run")]
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch("safelight.controls.nulls.TEMPLATE_STEPS", 5),
        mock.patch.dict("os.environ", {"SAFELIGHT_CACHE": str(place / "cache")}),
        pytest.raises(SystemExit) as end,
    ):
        run()
    assert end.value.code == 0
    return place / "run"


def test_audit_leaves_a_record_a_report_and_the_plan(folder):
    assert load_record(folder).verdict.outcome == "LEAK"
    assert "<html" in (folder / "report.html").read_text()
    assert 'start = "gray"' in (folder / "plan.toml").read_text()
    assert {
        stat.S_IMODE((folder / name).stat().st_mode) for name in ("report.html", "plan.toml")
    } == {0o600}


def test_audit_refuses_to_overwrite_a_run(cli, folder):
    result = cli("audit", folder / "plan.toml", "--out", folder)
    assert result.code == 2
    assert "--resume" in result.err


def test_resume_of_a_finished_run_changes_nothing_that_was_measured(
    cli, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("safelight.controls.nulls.TEMPLATE_STEPS", 5)
    shutil.copytree(folder, tmp_path / "run")
    assert cli("audit", "--resume", tmp_path / "run").code == 0
    again, first = load_record(tmp_path / "run"), load_record(folder)
    assert again.cells == first.cells
    assert again.measurements_sha256() == first.measurements_sha256()


def test_dry_run_prints_a_plan_that_can_be_read_back_and_a_cost(cli, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cli("audit", folder / "plan.toml", "--dry-run", "--seeds", "4,5")
    assert result.code == 0
    assert "seeds = [\n    4,\n    5,\n]" in result.out
    assert "4 cells" in result.out
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "again.toml").write_text(result.out)
    assert cli("audit", "again.toml", "--dry-run").code == 0


def test_study_of_depth_from_end_to_end(cli, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("safelight.controls.nulls.TEMPLATE_STEPS", 2)
    plan, out = folder / "plan.toml", tmp_path / "run"
    result = cli("study", "depth", plan, "--out", out, "--set", "attacks.0.steps=3")
    assert result.code == 0, result
    record = load_record(out)
    assert record.name == "small-depth"
    assert [one.where for one in record.findings] == list(record.target.cut_points)
    assert "Deeper in the network" in result.out
    assert "Deeper in the network" in (out / "report.html").read_text()
    assert cli("audit", "--resume", out).code == 0
    assert load_record(out).cells == record.cells


def test_study_of_knowledge_from_end_to_end(cli, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("safelight.controls.nulls.TEMPLATE_STEPS", 2)
    small = "steps=2, batch_size=8"
    attacks = (
        'attacks=[{name="inversion/likelihood", start="gray", steps=3}, '
        f'{{name="inversion/decoder", {small}}}, '
        f'{{name="inversion/shadow", {small}, tries=1, decoder={{{small}}}}}]'
    )
    settings = ["--set", attacks, "--set", "threats.0.cut=conv1", "--set", "data.public.count=60"]
    result = cli("study", "knowledge", folder / "plan.toml", *settings)
    assert result.code == 0, result
    record = load_record("runs/small-knowledge")
    assert [cell.reason for cell in record.cells if cell.status != "ok"] == []
    assert len(record.findings) == 5
    page = (tmp_path / "runs/small-knowledge/report.html").read_text()
    assert "Who must be feared" in page
    for name in ("black-box, noise", "query-free, same distribution, different structure"):
        assert name in page


@pytest.mark.parametrize("question", ["depth", "knowledge", "repeats"])
def test_dry_run_of_a_study_prints_its_plan(cli, folder, tmp_path, monkeypatch, question):
    monkeypatch.chdir(tmp_path)
    result = cli("study", question, folder / "plan.toml", "--dry-run", "--seeds", "4,5")
    assert result.code == 0
    assert f'name = "small-{question}"' in result.out
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "again.toml").write_text(result.out)
    assert load_plan("again.toml").seeds == [4, 5]


def test_report_in_every_format(cli, folder, tmp_path):
    assert cli("report", folder).code == 0
    assert "LEAK" in cli("report", folder, "--format", "markdown").out
    assert "LEAK" in cli("report", folder, "--format", "terminal").out
    sarif = tmp_path / "out.sarif"
    assert cli("report", folder, "--format", "sarif", "--out", sarif).code == 0
    assert json.loads(sarif.read_text())["version"] == "2.1.0"
    hidden = tmp_path / "none.html"
    assert cli("report", folder, "--evidence", "none", "--out", hidden).code == 0
    assert "<img" not in hidden.read_text()


def _judged(folder, place, outcome, **changes):
    """Copy a run with every finding judged otherwise."""
    shutil.copytree(folder, place)
    record = load_record(folder)
    verdict = Verdict(outcome=outcome, severity="none", confidence="low", reason="as the test says")
    findings = [one.model_copy(update={"verdict": verdict}) for one in record.findings]
    update = {"findings": findings, "verdict": verdict} | changes
    Run(place).save(record.model_copy(update=update))
    return place


def test_gate_has_four_exit_codes(cli, folder, tmp_path):
    clean = _judged(folder, tmp_path / "clean", "NO EVIDENCE")
    unsure = _judged(folder, tmp_path / "unsure", "INCONCLUSIVE")
    unfinished = _judged(folder, tmp_path / "unfinished", "NO EVIDENCE", status="running")
    assert cli("gate", clean, "--fail-on", "low").code == 0
    assert cli("gate", folder, "--fail-on", "high").code == 1
    assert cli("gate", tmp_path / "nothing").code == 2
    assert cli("gate", folder, "--fail-on", "extreme").code == 2
    assert cli("gate", unsure).code == 3
    assert cli("gate", unfinished).code == 3


def test_gate_with_a_baseline_fails_on_what_is_new(cli, folder, tmp_path):
    clean = _judged(folder, tmp_path / "clean", "NO EVIDENCE")
    assert cli("gate", folder, "--baseline", folder).code == 0
    assert cli("gate", folder, "--baseline", clean).code == 1


def test_cite_prints_what_was_used_once(cli, folder):
    result = cli("cite", folder)
    assert result.out.count("@misc{he2019,") == 1


def test_list_and_explain(cli):
    listed = cli("list").out
    for name in ("inversion/decoder", "split_inference", "lenet", "demo", "sarif"):
        assert name in listed
    assert "inversion/likelihood" in cli("list", "attack").out
    told = cli("explain", "inversion/likelihood").out
    assert "| `restarts` |" in told
    assert "10.1145/3359789.3359824" in told


def test_a_model_and_pictures_of_the_users_own(cli, tmp_path, monkeypatch):
    """A factory, safetensors, a folder of pictures, a cut at a nested layer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("safelight.controls.nulls.TEMPLATE_STEPS", 2)
    (tmp_path / "theirs.py").write_text(
        "from torch import nn\n"
        "def build(width):\n"
        "    features = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(inplace=True))\n"
        "    return nn.Sequential(features, nn.Flatten(), nn.Linear(width * 26 * 26, 2))\n"
    )
    network = torch.nn.Sequential(
        torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU()),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * 26 * 26, 2),
    )
    safetensors.torch.save_file(network.state_dict(), tmp_path / "model.safetensors")
    digits = worlds.digits(400, 1000).victims
    for label in (0, 1):
        (tmp_path / "photos" / f"class {label}").mkdir(parents=True)
    for row, picture in enumerate(digits.images):
        pixels = (picture[0] * 255).byte().numpy()
        place = tmp_path / "photos" / f"class {row % 2}" / f"{row}.png"
        Image.fromarray(pixels).convert("RGB").save(place)
    (tmp_path / "plan.toml").write_text(
        """
        name = "theirs"
        [data]
        source = "photos"
        public = { count = 100 }
        victims = { count = 20 }
        holdout = { count = 200 }
        [target]
        model = "theirs:build"
        weights = "model.safetensors"
        options = { width = 6 }
        mean = [0.5, 0.5, 0.5]
        std = [0.5, 0.5, 0.5]
        [[threats]]
        name = "split_inference"
        cut = "0.0"
        [[attacks]]
        name = "inversion/likelihood"
        start = "gray"
        steps = 60
        """
    )
    assert cli("audit", "plan.toml").code == 0
    record = load_record(tmp_path / "runs/theirs")
    assert record.verdict.outcome == "LEAK"
    assert record.target.cut_points["0.0"] == [6, 26, 26]
    wrong = cli("audit", "plan.toml", "--set", "threats.0.cut=0.0x", "--out", "other")
    assert wrong.code == 2
    assert "did you mean '0.0'?" in wrong.err
