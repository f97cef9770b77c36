"""``safelight encrypt`` as typed."""

import json
import stat
import sys

import pytest

pytest.importorskip("tenseal.sealapi")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tells_what_it_costs_and_writes_it_for_its_user_alone(cli, place):
    result = cli("encrypt", "demo", "--cut", "relu4", "--pictures", "4")
    assert result.code == 0, result
    assert result.out.startswith("lenet behind relu4, computed under encryption\n")
    assert "linear 84 -> 10. CKKS at 128 bits: ring degree 8,192" in result.out
    assert "Same class as in the clear" in result.out
    assert "4 of 4" in result.out
    assert "Activations are quadratics" not in result.out  # there is none behind this cut
    folder = place / "runs" / "demo-encryption"
    file = folder / "encryption.json"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    record = json.loads(file.read_text())
    assert record["cut"] == "relu4"
    assert record["accuracy"]["exact"]["value"] == 1
    assert [one.name for one in folder.iterdir()] == ["encryption.json"]


def test_activations_are_told_with_what_they_cost(cli, place):
    result = cli("encrypt", "demo", "--cut", "fc2", "--pictures", "2", "--out", "here")
    assert result.code == 0, result
    assert "Activations are quadratics, fitted on public pictures" in result.out
    assert "Record: here/encryption.json" in result.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["demo", "--cut", "conv1"], "cuts that work: pool2, fc1, relu3, fc2, relu4"),
        (["demo", "--cut", "fc11"], "did you mean 'fc1'"),
        (["demo", "--cut", "relu4", "--pictures", "5000"], "lower --pictures"),
        (["nowhere.toml"], "no plan at nowhere.toml"),
        (["demo", "--cut", "relu4", "--out", "file/folder"], "cannot make file/folder"),
    ],
)
def test_bad_input_is_told_on_one_line(cli, place, words, told):
    (place / "file").write_text("mine")
    result = cli("encrypt", *words)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert result.err.startswith("safelight: ")
    assert told in result.err
    assert [one.name for one in place.iterdir()] == ["file"]


def test_a_missing_library_is_told_before_any_work(cli, place, monkeypatch):
    monkeypatch.setitem(sys.modules, "tenseal.sealapi", None)
    result = cli("encrypt", "demo")
    assert result.code == 2
    assert "pip install 'safelight[he]'" in result.err
    assert result.err.count("\n") == 1
    assert not (place / "runs").exists()
