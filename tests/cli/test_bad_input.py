"""Bad input: one clear line that names the remedy, exit code 2, nothing written."""

import pickle

import pytest
import torch

from tests.cli.test_commands import PLAN


class _Bomb:
    def __reduce__(self):
        return (open, ("exploded", "w"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "code.pt").write_bytes(pickle.dumps(_Bomb()))
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["sedes=[1]"], "did you mean 'seeds'"),
        (["data.pubic={}"], "did you mean 'public'"),
        (["attacks.0.name=inversion/decodr"], "did you mean 'inversion/decoder'"),
        (["threats.0.name=split"], "split_inference"),
        (["attacks.0.step=5"], "did you mean 'steps'"),
        (["attacks.0.steps=0"], "greater than or equal to 1"),
        (["attacks.0.start=black"], "'decoder' or 'gray'"),
        (["threats.0.cut=con1"], "did you mean 'conv1'"),
        (["data.source=mnits"], "did you mean 'mnist'"),
        (["data.source=nowhere"], "embedded"),
        (["data.victims.split=test"], "embedded has no split 'test'"),
        (["data.victims.count=10"], "set data.victims.count to 20 or more"),
        (["data.holdout.count=500"], "raise data.holdout.count"),
        (["data.public.count=4500"], "lower data.public.count"),
        (["target.model=lenett"], "did you mean 'lenet'"),
        (["target.model=cifar_cnn"], "one per channel"),
        (["target.weights=nothing.pt"], "cannot read the weights"),
        (["target.weights=other.pt"], "do not fit the model"),
        (["target.weights=code.pt"], "would run code"),
        (["target.model=nowhere:build"], "cannot import"),
        (["device=tpu"], "use cpu"),
        (["seeds=[]"], "at least 1 item"),
        (["nonsense"], "write key=value"),
        (["data.size=32"], "does not take pictures of shape [1, 32, 32]"),
        (["threats.7.cut=conv1"], "there is no '7'"),
    ],
)
def test_one_line_that_names_the_remedy(cli, place, settings, told):
    before = sorted(place.iterdir())
    words = [word for one in settings for word in ("--set", one)]
    result = cli("audit", "plan.toml", *words)
    lines = [line for line in result.err.splitlines() if line]
    assert result.code == 2, result
    assert len(lines) == 1, result.err
    assert lines[0].startswith("safelight: ")
    assert told in lines[0]
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["audit"], "no plan given"),
        (["audit", "nowhere.toml"], "give a TOML file or a preset"),
        (["audit", "--resume", "runs/none"], "no record at"),
        (["audit", "plan.toml", "--resume", "x"], "--resume takes the plan from the run"),
        (["study", "depth", "nowhere.toml"], "give a TOML file or a preset"),
        (["report", "runs/none"], "no record at"),
        (["gate", "runs/none"], "no record at"),
        (["cite", "runs/none"], "no record at"),
        (["explain", "inversion/decodre"], "did you mean 'inversion/decoder'"),
        (["list", "atack"], "did you mean 'attack'"),
    ],
)
def test_wrong_use_of_a_command(cli, place, words, told):
    result = cli(*words)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert told in result.err


def test_no_network(cli, place, monkeypatch):
    """The hub cannot be reached: what to do instead."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SAFELIGHT_DATA", str(place))
    monkeypatch.setenv("HF_HOME", str(place / "hf"))
    result = cli("audit", "plan.toml", "--set", "data.source=someone/digits")
    assert result.code == 2
    assert "SAFELIGHT_DATA" in result.err
    assert result.err.count("\n") == 1
