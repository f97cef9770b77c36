"""``safelight scores`` as typed."""

import json
import stat

import numpy as np
import pytest

from safelight.record.membership import ScoresRecord


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Losses of 500 members, 60 of which were memorized, and of 500 others."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    members, others = rng.exponential(size=500), rng.exponential(size=500)
    members[:60] /= 1000
    np.savez("in.npz", loss=members)
    np.savez("out.npz", loss=others)
    np.savez("other.npz", loss=rng.exponential(size=500))
    np.savez("short.npz", loss=members[:9])
    (tmp_path / "in.csv").write_text("p\n" + "\n".join(f"{np.exp(-one):.9f}" for one in members))
    (tmp_path / "out.csv").write_text("p\n" + "\n".join(f"{np.exp(-one):.9f}" for one in others))
    return tmp_path


def test_a_leak_is_told_and_is_no_failure(cli, place):
    result = cli("scores", "in.npz", "out.npz")
    assert result.code == 0, result
    assert result.out.startswith("LEAK, ")
    assert "TPR at 1% FPR" in result.out
    assert "Control, planted leak: passed" in result.out
    assert sorted(one.name for one in place.iterdir() if one.is_dir()) == []


def test_chance_is_no_evidence(cli, place):
    result = cli("scores", "other.npz", "out.npz")
    assert result.code == 0
    assert result.out.startswith("NO EVIDENCE")
    assert "and no others" in result.out


def test_probabilities_of_a_csv_say_what_the_losses_did(cli, place):
    losses = cli("scores", "in.npz", "out.npz").out.split("Control")[0]
    found = cli("scores", "in.csv", "out.csv", "--kind", "probability")
    assert found.code == 0
    assert found.out.split("Control")[0] == losses


def test_the_wrong_way_round_is_inconclusive(cli, place):
    """The memorized few now score lowest, which moves the AUC by too little to be seen."""
    result = cli("scores", "in.npz", "out.npz", "--kind", "score")
    assert result.code == 0
    assert result.out.startswith("INCONCLUSIVE")
    assert "members stand out by low scores" in " ".join(result.out.split()).lower()


def test_writes_the_record_and_the_page_for_its_user_alone(cli, place):
    result = cli("scores", "in.npz", "out.npz", "--out", "found/here", "--prior", "0.5")
    assert result.code == 0, result
    assert "found/here/scores.html" in result.out
    folder = place / "found" / "here"
    assert sorted(one.name for one in folder.iterdir()) == ["scores.html", "scores.json"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    record = ScoresRecord.model_validate_json((folder / "scores.json").read_text())
    assert record.verdict.outcome == "LEAK"
    assert record.prior == 0.5
    assert "LEAK" in (folder / "scores.html").read_text()
    first = json.loads((folder / "scores.json").read_text())
    cli("scores", "in.npz", "out.npz", "--out", "found/here", "--prior", "0.5")
    again = json.loads((folder / "scores.json").read_text())
    assert {**first, "started": ""} == {**again, "started": ""}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["in.npz", "nowhere.npz"], "cannot read nowhere.npz"),
        (["in.npz", "in.npz"], "both files hold the same scores"),
        (["short.npz", "out.npz"], "has 9 scores, too few"),
        (["in.npz", "out.npz", "--column", "los"], "has no column 'los'; choose from: loss"),
        (["in.npz", "out.npz", "--kind", "probability"], "which is no probability"),
        (["in.npz", "out.npz", "--prior", "1"], "--prior 1 is not between 0 and 1"),
        (["in.npz", "out.npz", "--prior", "nan"], "--prior nan is not between 0 and 1"),
        (["in.npz", "out.npz", "--out", "in.npz"], "cannot make in.npz"),
    ],
)
def test_bad_input_is_told_on_one_line(cli, place, words, told):
    before = sorted(place.iterdir())
    result = cli("scores", *words)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert result.err.startswith("safelight: ")
    assert told in result.err
    assert sorted(place.iterdir()) == before
