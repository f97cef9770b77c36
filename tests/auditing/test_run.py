"""The audit is trustworthy: known leaks are called so, and a broken attack clears nothing."""

import dataclasses
import shlex
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from safelight.attacks.attack import InversionAttack, Reconstruction
from safelight.attacks.inversion.aligned_template import AlignedTemplate
from safelight.attacks.inversion.decoder import Decoder
from safelight.attacks.inversion.likelihood import Likelihood
from safelight.auditing.not_tried import not_tried
from safelight.auditing.run import _kinds, audit
from safelight.auditing.setting import Setting, prepare
from safelight.catalog import Reference
from safelight.errors import RecordError
from safelight.plan.plan import load_plan, parse_plan, to_toml
from safelight.record.store import Run, load_record
from safelight.testing import worlds
from safelight.threats.observation import Needs
from safelight.threats.split_inference import SplitInference

PLAN = {
    "name": "test",
    "data": {
        "source": "embedded",
        "public": {"count": 500},
        "victims": {"count": 40},
        "holdout": {"count": 1000},
    },
    "target": {"model": "lenet", "weights": "shipped"},
    "threats": [{"name": "split_inference", "cut": "relu2"}],
    "attacks": [{"name": "inversion/likelihood", "start": "gray", "steps": 15}],
}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("safelight.controls.nulls.TEMPLATE_STEPS", 5)  # the loop is what is tested


def setting(**changes) -> Setting:
    changed = dataclasses.replace(prepare(parse_plan(PLAN, "the test's plan")), **changes)
    pairs = [(threat, attack) for threat in changed.threats for attack in changed.attacks]
    return dataclasses.replace(changed, pairs=pairs)


def planted(kind: str, *attacks: InversionAttack) -> Setting:
    """The same audit on a target whose layer ``message`` leaks everything or nothing."""
    return setting(
        target=worlds.leaking(kind),
        threats=[SplitInference(cut="message")],
        attacks=list(attacks) or [Likelihood(start="gray", steps=80)],
    )


def run(given: Setting, tmp_path, name="run"):
    return audit(given, Run(tmp_path / name), lambda *_: None)


@dataclass(frozen=True, kw_only=True)
class Broken(InversionAttack):
    """Ignores what it sees: a bug that looks like privacy."""

    reference: ClassVar = Reference("nobody", "Nobody", "Nothing", 2000, "nowhere")
    needs: ClassVar = Needs(messages=True)
    crash: bool = False

    def flops(self, seen):
        return 0.0

    def run(self, seen, rng):
        if self.crash:
            raise ZeroDivisionError("the attack fell over")
        return Reconstruction(torch.full((len(seen.messages), *seen.image_shape), 0.5))


def test_a_message_that_is_the_picture_is_a_leak(tmp_path):
    record = run(planted("everything"), tmp_path)
    assert record.verdict.outcome == "LEAK"
    assert record.verdict.severity == "critical"
    named = record.findings[0].measurements["named"]
    assert (named.value, named.chance, named.n) == (1.0, 0.01, 40)


@pytest.mark.parametrize(
    "attack", [Likelihood(start="gray", steps=80), Decoder(steps=80, batch_size=32)]
)
def test_a_message_without_the_picture_is_no_evidence_with_the_control_passed(tmp_path, attack):
    record = run(planted("nothing", attack), tmp_path)
    finding = record.findings[0]
    assert record.verdict.outcome == "NO EVIDENCE", finding
    assert [control.passed for control in finding.controls] == [True, True]
    assert finding.bound.holds == "no"


def test_a_broken_attack_is_inconclusive_even_where_nothing_leaks(tmp_path):
    record = run(planted("nothing", Broken()), tmp_path)
    assert record.verdict.outcome == "INCONCLUSIVE"
    assert "planted" in record.verdict.reason


def test_a_crash_is_inconclusive_and_the_other_cells_go_on(tmp_path):
    record = run(planted("everything", Broken(crash=True), Likelihood(start="gray")), tmp_path)
    crashed, other = record.findings
    assert crashed.verdict.outcome == "INCONCLUSIVE"
    assert "the attack fell over" in crashed.verdict.reason
    assert other.verdict.outcome == "LEAK"


def test_an_attack_that_the_threat_does_not_allow_is_skipped_with_its_reason(tmp_path):
    threats = [SplitInference(cut="relu2", knows="queries")]
    attacks = [Likelihood(steps=1), Decoder(steps=30, batch_size=16)]
    record = run(setting(threats=threats, attacks=attacks), tmp_path)
    skipped, ran = record.findings
    assert "weights" in skipped.skipped
    assert [cell.finding for cell in record.cells] == [ran.id]


def test_same_plan_and_seed_same_record(tmp_path):
    first, second = (run(setting(), tmp_path, name) for name in ("one", "two"))
    assert first.measurements_sha256() == second.measurements_sha256()
    assert [one.artifact for one in first.cells] == [one.artifact for one in second.cells]


def test_the_record_on_disk_is_the_record_and_private(tmp_path):
    record = run(setting(), tmp_path)
    folder = tmp_path / "run"
    assert load_record(folder) == record
    assert record.status == "complete"
    assert (folder.stat().st_mode & 0o777) == 0o700
    files = [folder / "record.json", *(folder / "artifacts").iterdir()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_killed_run_resumes_and_loses_at_most_the_cell_in_flight(tmp_path):
    threats = [SplitInference(cut=cut) for cut in ("conv1", "relu2")]
    given = setting(threats=threats)
    seen: list[str] = []

    def killed(doing, done, total):
        if done == 1:
            raise KeyboardInterrupt
        seen.append(doing)

    with pytest.raises(KeyboardInterrupt):
        audit(given, Run(tmp_path / "run"), killed)
    half = load_record(tmp_path / "run")
    assert (half.status, len(half.cells)) == ("running", 1)
    resumed = audit(given, Run(tmp_path / "run"), lambda *_: None, resume=True)
    assert resumed.status == "complete"
    assert resumed.cells[0] == half.cells[0]
    assert resumed.measurements_sha256() == run(given, tmp_path, "anew").measurements_sha256()


def test_a_full_disk_ends_the_run_with_one_line_and_it_resumes(tmp_path):
    given = setting()
    target = Run(tmp_path / "run")
    keep, calls = Run.keep, []

    with pytest.MonkeyPatch.context() as disk:

        def full(self, content, suffix):
            calls.append(suffix)
            if len(calls) == 7:  # the pictures of the first cell, after victims and five nulls
                disk.setattr("safelight.record.store.os.fsync", _no_space)
            return keep(self, content, suffix)

        disk.setattr(Run, "keep", full)
        with pytest.raises(RecordError, match=r"No space left on device.*--resume"):
            audit(given, target, lambda *_: None)
    assert target.load().cells == []
    assert audit(given, target, lambda *_: None, resume=True).status == "complete"


def _no_space(_descriptor):
    raise OSError(28, "No space left on device")


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    given = setting()
    run(given, tmp_path)
    with pytest.raises(RecordError, match="--resume"):
        run(given, tmp_path)


def test_the_finding_is_the_gain_over_the_best_null_not_the_score(tmp_path):
    record = run(setting(), tmp_path)
    finding = record.findings[0]
    fair = [one for one in record.baselines if not one.oracle]
    best = max(fair, key=lambda one: sum(one.scores["ssim"]))
    assert finding.best_null == best.name
    gains = [
        own - null
        for own, null in zip(record.cells[0].scores["ssim"], best.scores["ssim"], strict=True)
    ]
    assert finding.measurements["gain"].value == pytest.approx(sum(gains) / len(gains), abs=1e-5)


def test_every_gap_of_the_report_names_settings_that_make_a_plan(tmp_path):
    given = setting()
    for line in not_tried(given):
        _, found, settings = line.partition(": --set ")
        if found:
            (item,) = shlex.split(settings)
            plan = load_plan_with(tmp_path, item)
            prepare(plan)


def load_plan_with(folder, item):
    (folder / "plan.toml").write_text(to_toml(parse_plan(PLAN, "the test's plan")))
    return load_plan(folder / "plan.toml", [item])


def test_a_constant_per_class_is_no_leak_however_lucky(tmp_path):
    """All victims of a class share their look-alikes, so luck comes in lumps."""
    record = run(planted("nothing", Lucky()), tmp_path)
    finding = record.findings[0]
    assert finding.measurements["named"].value > 0.03
    assert finding.verdict.outcome != "LEAK"


@dataclass(frozen=True, kw_only=True)
class Lucky(Broken):
    """Cheats in a way that names some victims: one victim's own picture for each whole class."""

    def run(self, seen, rng):
        victims = worlds.digits().victims
        first = torch.stack([victims.images[victims.labels == label][0] for label in range(10)])
        return Reconstruction(first[victims.labels])


def test_an_interrupted_resume_keeps_what_was_finished(tmp_path):
    given = setting()
    run(given, tmp_path)
    place = Run(tmp_path / "run")

    def killed(doing, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(given, place, killed, resume=True)
    assert len(place.load().cells) == 1


def test_resume_refuses_cells_of_another_model(tmp_path):
    run(planted("nothing"), tmp_path)
    with pytest.raises(RecordError, match="begin a new run"):
        audit(planted("everything"), Run(tmp_path / "run"), lambda *_: None, resume=True)


def test_a_cell_depends_on_the_code_of_its_own_attack_and_of_those_inside():
    names = [one.__name__.rpartition(".")[2] for one in _kinds(Decoder())]
    assert names == ["attack", "decoder"]
    names = [one.__name__.rpartition(".")[2] for one in _kinds(Likelihood())]
    assert names == ["attack", "decoder", "likelihood"]
    # What an attack imports from another one is its code too.
    names = {one.__name__.rpartition(".")[2] for one in _kinds(AlignedTemplate())}
    assert {"aligned_template", "gradient"} <= names
