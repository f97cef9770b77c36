"""``safelight audit`` of a plan with several defenses, as typed."""

import pytest

from safelight.record.scorecard import load_scorecard

SMALL = (
    "--set=data.victims.count=20",
    "--set=data.public.count=300",
    "--set=attacks=[{name='inversion/decoder', steps=10, width=8, blocks=1}]",
    "--set=defenses=[{name='dropout', rate=[0.9]}]",
)


@pytest.fixture(autouse=True)
def _place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("safelight.controls.nulls.TEMPLATE_STEPS", 2)


def test_candidates_are_audited_compared_and_not_audited_again(cli, tmp_path):
    done = cli("audit", "defenses", *SMALL)
    assert done.code == 0, done.err
    folder = tmp_path / "runs/defenses"
    card = load_scorecard(folder)
    assert [one.run for one in card.rows] == ["none", "dropout-rate-0.9"]
    assert (folder / "report.html").stat().st_mode & 0o077 == 0
    for one in card.rows:
        assert (folder / one.run / "report.html").is_file()
    assert " ".join(card.advice.reason.split(" ")[:4]) in done.out.lower()
    before = {one: one.stat().st_mtime_ns for one in folder.rglob("record.json")}
    (folder / "scorecard.json").unlink()
    again = cli("audit", "--resume", str(folder))
    assert again.code == 0, again.err
    assert load_scorecard(folder) == card
    assert {one: one.stat().st_mtime_ns for one in folder.rglob("record.json")} == before
    shown = cli("report", str(folder), "--format", "terminal")
    assert shown.code == 0, shown.err
    assert "dropout" in shown.out


def test_a_dry_run_says_how_many_audits_it_takes(cli):
    done = cli("audit", "defenses", *SMALL, "--dry-run")
    assert done.code == 0, done.err
    assert "2 audits" in done.out


def test_what_cannot_be_compared_is_one_clear_line(cli):
    done = cli("audit", "defenses", "--set=defense.name=dropout")
    assert done.code == 2
    assert "keep one of them" in done.err


def test_a_folder_that_holds_something_else_is_left_as_it_is(cli, tmp_path):
    own = tmp_path / "mine"
    own.mkdir()
    (own / "plan.toml").write_text("# mine\nname = 'x'")
    (own / "notes.txt").write_text("mine")
    done = cli("audit", "defenses", *SMALL, "--out", str(own))
    assert done.code == 2
    assert "give another --out" in done.err
    assert (own / "plan.toml").read_text().startswith("# mine")


def test_an_audit_that_was_stopped_before_its_first_record_is_resumed_as_one(cli, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    bare = (*SMALL[:3], "--set=defenses=[]")
    shown = cli("audit", "defenses", *bare, "--dry-run")
    (run / "plan.toml").write_text(shown.out)
    done = cli("audit", "--resume", str(run))
    assert done.code == 0, done.err
    assert (run / "record.json").is_file()
    assert not (run / "scorecard.json").exists()
