"""``safelight convert``: the tensors and plain facts of a pickle, and nothing executed."""

import hashlib
import json
import os
import pickle
import stat
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from safelight.targets.stylegan_pickle.read import read_stylegan_pickle

KWARGS = {"resolution": 8, "label_size": 0, "fmap_base": 64}


@pytest.fixture
def network(tmp_path, monkeypatch):
    """A small pickle in the TensorFlow layout, whose source would leave a file behind."""
    module = types.ModuleType("dnnlib.tflib.network")
    module.Network = type("Network", (), {"__module__": module.__name__})
    for name in ("dnnlib", "dnnlib.tflib"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    networks = []
    for name in ("G", "D", "Gs"):
        one = module.Network()
        vars(one).update(
            version=4,
            name=name,
            static_kwargs=KWARGS,
            components={},
            build_module_src="open('executed', 'w').close()",
            build_func_name="D_stylegan2" if name == "D" else "G_main",
            variables=[
                ("Dense/weight", np.full((2, 3), len(name), np.float32)),
                ("lod", np.zeros(())),
            ],
        )
        networks.append(one)
    file = tmp_path / "network.pkl"
    file.write_bytes(pickle.dumps(tuple(networks)))
    return file


def facts_of(file):
    with safetensors.safe_open(file, "pt") as stream:
        return json.loads(stream.metadata()["safelight"])


def test_writes_every_tensor_with_its_facts(cli, network, tmp_path):
    result = cli("convert", network, "out.safetensors")
    assert result.code == 0, result
    assert "G_ema: G_main, 2 tensors, 7 numbers" in result.out
    assert "out.safetensors" in result.out
    assert sorted(os.listdir(tmp_path)) == ["network.pkl", "out.safetensors"]
    tensors = safetensors.torch.load_file("out.safetensors")
    assert set(tensors) == {
        f"{one}.{key}" for one in ("G", "D", "G_ema") for key in ("Dense.weight", "lod")
    }
    assert torch.equal(tensors["G_ema.Dense.weight"], torch.full((2, 3), 2.0))
    assert tensors["D.lod"].dtype == torch.float64
    facts = facts_of("out.safetensors")
    assert facts["source_sha256"] == hashlib.sha256(network.read_bytes()).hexdigest()
    assert facts["layout"] == "tensorflow"
    told = facts["networks"]["D"]
    assert (told["kind"], told["init_args"], told["init_kwargs"]) == ("D_stylegan2", [], KWARGS)


def test_the_file_is_private_and_the_same_every_time(cli, network):
    for name in ("one.safetensors", "two.safetensors"):
        assert cli("convert", network, name).code == 0
    assert stat.S_IMODE(Path("one.safetensors").stat().st_mode) == 0o600
    assert Path("one.safetensors").read_bytes() == Path("two.safetensors").read_bytes()


class _Bomb:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["network.pkl", "kept.safetensors"], "exists already; give another"),
        (["network.pkl", "network.pkl"], "exists already; give another"),
        (["network.pkl", "nowhere/out.safetensors"], "give a folder that exists"),
        (["nothing.pkl", "out.safetensors"], "check the path"),
        (["bomb.pkl", "out.safetensors"], "system, which no StyleGAN needs"),
        (["short.pkl", "out.safetensors"], "download it again"),
        (["kept.safetensors", "out.safetensors"], "give a network pickle"),
    ],
)
def test_refuses_on_one_line_and_writes_nothing(cli, network, tmp_path, words, told):
    Path("kept.safetensors").write_bytes(b"mine")
    Path("bomb.pkl").write_bytes(pickle.dumps({"G_ema": _Bomb()}))
    Path("short.pkl").write_bytes(network.read_bytes()[:-100])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    result = cli("convert", *words)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert result.err.startswith("safelight: ")
    assert told in result.err
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_full_disk_leaves_nothing_behind(cli, network, tmp_path, monkeypatch):
    def full(tensors, file, metadata):
        Path(file).write_bytes(b"half")
        raise safetensors.SafetensorError("no space left")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    result = cli("convert", network, "out.safetensors")
    assert result.code == 2
    assert "no space left; give a folder" in result.err
    assert os.listdir(tmp_path) == ["network.pkl"]


def fixtures():
    """Published layouts, in a folder beside the data's."""
    data = os.environ.get("SAFELIGHT_DATA", "")
    beside_data = str(Path(data).parent / "fixtures") if data else ""
    folder = os.environ.get("SAFELIGHT_FIXTURES", beside_data)
    return sorted((Path(folder) / "stylegan").glob("*.pkl")) if folder else []


if fixtures():

    @pytest.mark.parametrize("file", fixtures(), ids=lambda file: file.stem)
    def test_converts_a_published_layout(cli, tmp_path, monkeypatch, file):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("STYLEGAN_FIXTURE_TRIPWIRE", str(tmp_path / "tripped"))
        assert cli("convert", file, "out.safetensors").code == 0
        assert os.listdir(tmp_path) == ["out.safetensors"]
        written = safetensors.torch.load_file("out.safetensors")
        read = read_stylegan_pickle(file).networks
        assert len(written) == sum(len(one.tensors) for one in read.values())
        for name, one in read.items():
            assert all(
                torch.equal(written[f"{name}.{key}"], one.tensors[key]) for key in one.tensors
            )
        told = facts_of("out.safetensors")["networks"]["G_ema"]
        with safetensors.safe_open(file.with_suffix(".reference.safetensors"), "pt") as stream:
            assert told["init_kwargs"] == json.loads(stream.metadata()["init_kwargs"])
