import dataclasses
import functools
import hashlib
import importlib
import json
import os
import pickle
import sys
from importlib import resources
from pathlib import Path

import pytest
import safetensors.torch
import torch

from safelight.cache import Cache
from safelight.data.images import ImageSet
from safelight.data.roles import Roles, deal
from safelight.errors import LoadError, PlanError, SafelightError
from safelight.plan.plan import DataPlan, FitPlan, RolePlan, TargetPlan
from safelight.targets.classifiers.lenet import LeNet
from safelight.targets.load import load_target

CPU = torch.device("cpu")
FACTS = json.loads((resources.files("safelight.targets") / "weights" / "lenet.json").read_text())

FACTORIES = """
import math
import torch
from torch import nn

pi = math.pi

def small(channels=1, act=nn.{act}):
    return nn.Sequential(nn.Conv2d(channels, 2, 3), act(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
                         nn.Linear(32, 10))

def nothing():
    return None

def words():
    return "a network"

def picky(classes=10):
    if classes < 2:
        raise ValueError("at least two classes")
    return nn.Linear(1, classes)

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(784, 784), nn.Linear(784, 784)
        self.two.weight = self.one.weight
        self.head = nn.Linear(784, 10)

    def forward(self, x):
        return self.head(self.two(self.one(x.flatten(1)).relu()).relu())

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]))
        self.register_buffer("std", torch.tensor([0.5, 0.4, 0.3]))
        self.head = nn.Linear(3 * 28 * 28, 10)

    def forward(self, x):
        shape = (1, 3, 1, 1)
        return self.head(((x - self.mean.reshape(shape)) / self.std.reshape(shape)).flatten(1))
"""


@functools.cache
def digits():
    """All embedded digits, in roles; the victims are most of them."""
    return deal(
        DataPlan(
            source="embedded",
            private=RolePlan(count=200),
            holdout=RolePlan(count=100),
            public=RolePlan(count=100),
            victims=RolePlan(count=4600),
        )
    )


def roles(private=False, channels=1):
    known = digits()
    sets = [known.public, known.victims, known.holdout]
    if channels == 3:
        sets = [
            ImageSet(one.images.expand(-1, 3, -1, -1), one.labels, one.classes, "gray in color")
            for one in sets
        ]
    return Roles(known.private if private else None, *sets)


def load(cache=None, private=False, channels=1, **plan):
    plan = TargetPlan(**({"model": "lenet"} | plan))
    return load_target(plan, roles(private, channels), CPU, Cache(cache or Path("/nonexistent")))


def fails(match, kind=LoadError, **given):
    with pytest.raises(kind, match=match) as told:
        load(**given)
    assert "\n" not in str(told.value)


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """Write a user's own module into the working folder and return its name."""
    name = f"own_{tmp_path.name}".replace("-", "_")

    def write(act="ReLU"):
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(FACTORIES.replace("{act}", act))
        return name

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield write
    sys.modules.pop(name, None)


@pytest.fixture
def state():
    torch.manual_seed(5)
    return LeNet().state_dict()


def test_the_shipped_lenet_reads_the_embedded_digits(tmp_path):
    target = load(weights="shipped")
    victims = digits().victims
    assert target.parameters() == 45_278
    assert target.correct(victims.images, victims.labels) / len(victims) > 0.98
    assert target.trained_on == FACTS["trained_on"]
    assert target.facts == FACTS


def test_the_shipped_weights_are_the_ones_that_their_facts_describe():
    weights = resources.files("safelight.targets") / "weights" / "lenet.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == FACTS["file_sha256"]
    assert FACTS["test_accuracy"] > 0.98
    assert FitPlan.model_validate(FACTS["recipe"]).epochs > 0


def test_damaged_shipped_weights_are_refused(tmp_path, monkeypatch):
    digits()  # they are inside a package too, and are found before packages are moved
    folder = tmp_path / "weights"
    folder.mkdir()
    shipped = resources.files("safelight.targets") / "weights"
    (folder / "lenet.json").write_text((shipped / "lenet.json").read_text())
    content = bytearray((shipped / "lenet.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "lenet.safetensors").write_bytes(content)
    monkeypatch.setattr(resources, "files", lambda _package: tmp_path)
    fails("shipped weights of lenet are damaged; install safelight again", weights="shipped")


def test_weights_are_shipped_only_for_some_models():
    fails("no weights are shipped as lenet-svhn .only .*lenet", PlanError,
          weights="shipped/svhn")  # fmt: skip


def test_a_private_role_that_is_not_what_the_shipped_weights_saw_is_refused():
    fails("not what the shipped lenet was trained on", PlanError, weights="shipped", private=True)


def test_shipped_weights_do_not_fit_another_number_of_classes():
    fails(
        "do not fit the model: fc3.*check target.model", weights="shipped", options={"classes": 5}
    )


@pytest.mark.parametrize("form", ["safetensors", "pt", "wrapped", "legacy"])
def test_weights_of_every_form_load_and_are_the_ones_of_the_file(tmp_path, state, form):
    file = tmp_path / f"w.{'safetensors' if form == 'safetensors' else 'pt'}"
    if form == "safetensors":
        safetensors.torch.save_file(state, file)
    else:
        content = {"epoch": 3, "state_dict": state} if form == "wrapped" else state
        torch.save(content, file, _use_new_zipfile_serialization=form != "legacy")
    target = load(weights=str(file))
    loaded = target.network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    assert target.trained_on == "unknown: the weights were given"
    assert target.facts["weights"] == file.name


def test_given_weights_beside_private_pictures_are_said_to_come_from_them(tmp_path, state):
    file = tmp_path / "w.safetensors"
    safetensors.torch.save_file(state, file)
    assert "200 pictures" in load(weights=str(file), private=True).trained_on


def test_weights_that_do_not_fit_are_an_error_that_says_how(tmp_path, state):
    changed = {name: value for name, value in state.items() if name != "conv1.weight"}
    changed |= {"conv9.weight": torch.ones(1), "fc1.bias": torch.ones(7)}
    file = tmp_path / "w.safetensors"
    safetensors.torch.save_file(changed, file)
    told = r"missing conv1.weight; unexpected conv9.weight; fc1.bias is \[7\], not \[120\]; check"
    fails(told, weights=str(file))


@pytest.mark.parametrize(
    "content", [{}, {0: torch.ones(1)}, {"a": 1}, [torch.ones(1)], torch.ones(1)]
)
def test_a_file_that_holds_no_state_dict_of_the_model_is_an_error(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    fails("do not fit|is not a state dict", weights=str(tmp_path / "w.pt"))


def test_weights_that_are_not_numbers_are_refused(tmp_path, state):
    state["conv1.bias"][0] = float("nan")
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    fails("NaN|not finite|conv1.bias", weights=str(tmp_path / "w.safetensors"))


class Evil:
    """Runs code when it is unpickled the ordinary way."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("form", ["pickle", "zip", "legacy"])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path, form, protocol):
    marker, file = tmp_path / "it_ran", tmp_path / "w.pt"
    content = {"conv1.weight": Evil(marker)}
    if form == "pickle":
        file.write_bytes(pickle.dumps(content, protocol))
    else:
        modern = form == "zip"
        torch.save(content, file, pickle_protocol=protocol, _use_new_zipfile_serialization=modern)
    fails("w.pt.*; (save the state dict alone|give a .safetensors)", weights=str(file))
    assert not marker.exists()


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(LeNet(), tmp_path / "w.pt")
    fails("would run code from the file; save the state dict alone", weights=str(tmp_path / "w.pt"))


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 20, 500, 100_000, -1])
def test_a_file_that_is_cut_short_is_an_error(tmp_path, state, suffix, keep):
    file = tmp_path / f"w.{suffix}"
    (safetensors.torch.save_file if suffix == "safetensors" else torch.save)(state, file)
    file.write_bytes(file.read_bytes()[:keep])
    fails("w.*; (give a .safetensors|save the state dict)", weights=str(file))


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "bin", ""])
@pytest.mark.parametrize(
    "content", [b"hello, this is no network\n", b"\x89PNG\r\n\x1a\n" + bytes(50), b"{}", bytes(999)]
)
def test_a_file_of_another_kind_is_an_error(tmp_path, suffix, content):
    (tmp_path / f"w.{suffix}").write_bytes(content)
    fails("w.*; ", weights=str(tmp_path / f"w.{suffix}"))


@pytest.mark.parametrize("name", ["missing.pt", "missing.safetensors", "."])
def test_a_file_that_is_missing_is_an_error(tmp_path, name):
    fails("cannot read the weights .*; give a .safetensors", weights=str(tmp_path / name))


def test_an_unknown_model_is_an_error_that_suggests():
    fails("unknown classifier 'lenett'; did you mean 'lenet'", PlanError, model="lenett")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("no_such_package:make", "cannot import the model no_such_package:make: .*install it"),
        ("json:no_such_function", "cannot import the model .*no_such_function"),
        ("json:", "cannot import the model"),
        (":make", "import"),
        (".relative:make", "import"),
        ("a..b:make", "import"),
        ("json.decoder.nothing:make", "cannot import the model"),
    ],
)
def test_a_factory_that_cannot_be_imported_is_an_error(model, told):
    fails(told, model=model)


def test_a_factory_of_the_working_folder_is_found_and_leaves_the_path_alone(factories):
    before = list(sys.path)
    target = load(model=f"{factories()}:small", weights=None, private=True, fit=FitPlan(epochs=1))
    assert target.parameters() == 2 * 9 + 2 + 330
    assert sys.path == before


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("nothing", "returned NoneType; it must return a torch.nn.Module"),
        ("words", "returned str; it must return"),
    ],
)
def test_a_factory_that_returns_no_module_is_an_error(factories, factory, told):
    fails(told, model=f"{factories()}:{factory}")


@pytest.mark.parametrize(
    ("factory", "options", "told"),
    [
        (
            "small",
            {"chanels": 1},
            "cannot call .*unexpected keyword argument 'chanels'; correct",
        ),
        ("pi", {}, "cannot call .*not callable"),
        ("picky", {"classes": 1}, "at least two classes"),
        ("small", {"channels": -1}, "small"),
    ],
)
def test_a_factory_that_refuses_its_options_is_an_error_on_one_line(
    factories, factory, options, told
):
    fails(told, SafelightError, model=f"{factories()}:{factory}", options=options)


def test_a_target_without_weights_and_without_pictures_is_an_error():
    fails("neither weights nor training pictures; set target.weights, or data.private", PlanError)


def test_a_target_is_trained_once_and_then_remembered(tmp_path):
    given = {"private": True, "fit": FitPlan(epochs=1), "cache": tmp_path}
    first = load(**given)
    assert first.trained_on.startswith("200 pictures of MNIST")
    assert first.facts["training_set_sha256"] == digits().private.sha256()
    (kept,) = tmp_path.iterdir()
    changed = kept.stat().st_mtime_ns
    assert load(**given).weights_sha256() == first.weights_sha256()
    assert kept.stat().st_mtime_ns == changed
    other = load(**(given | {"fit": FitPlan(epochs=1, seed=1)}))
    assert other.weights_sha256() != first.weights_sha256()


def test_a_damaged_memory_is_made_again(tmp_path):
    given = {"private": True, "fit": FitPlan(epochs=1), "cache": tmp_path}
    first = load(**given).weights_sha256()
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    assert load(**given).weights_sha256() == first


def test_training_gives_the_same_target_with_and_without_a_memory(tmp_path):
    given = {"private": True, "fit": FitPlan(epochs=1)}
    torch.manual_seed(1)
    kept = load(**given, cache=tmp_path)
    torch.manual_seed(2)
    assert load(**given).weights_sha256() == kept.weights_sha256()


def test_a_changed_factory_is_trained_again(tmp_path, factories):
    """Weights that were trained with another activation are another target's."""
    given = {"private": True, "fit": FitPlan(epochs=1), "cache": tmp_path / "cache"}
    first = load(model=f"{factories('ReLU')}:small", **given)
    second = load(model=f"{factories('Tanh')}:small", **given)
    assert type(first.network[1]) is not type(second.network[1])
    assert first.weights_sha256() != second.weights_sha256()


def test_a_network_whose_layers_share_weights_can_be_trained(tmp_path, factories):
    given = {"private": True, "fit": FitPlan(epochs=1), "cache": tmp_path / "cache"}
    target = load(model=f"{factories()}:Tied", **given)
    again = load(model=f"{factories()}:Tied", **given)
    assert target.weights_sha256() == again.weights_sha256()


def test_a_network_that_keeps_its_own_mean_as_a_tensor_can_be_loaded(
    tmp_path, factories, monkeypatch
):
    name = factories()
    monkeypatch.syspath_prepend(tmp_path)
    state = importlib.import_module(name).Own().state_dict()
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    target = load(model=f"{name}:Own", weights=str(tmp_path / "w.safetensors"), channels=3)
    assert target.model(torch.zeros(2, 3, 28, 28)).shape == (2, 10)


def test_mean_and_std_of_the_plan_win_over_those_of_the_network():
    model = load(weights="shipped", mean=[0.1], std=[0.2]).model
    assert (model.mean.item(), model.std.item()) == pytest.approx((0.1, 0.2))
    own = load(weights="shipped").model
    assert (own.mean.item(), own.std.item()) == (0.5, 0.5)


@pytest.mark.parametrize("given", [{"mean": [0.1, 0.2]}, {"std": [1.0, 1.0, 1.0]}])
def test_mean_and_std_must_have_one_entry_per_channel(given):
    fails("give one per channel, or set data.channels", PlanError, weights="shipped", **given)


def test_loading_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    load(weights="shipped")
    assert torch.equal(before, torch.random.get_rng_state())


DATA = os.environ.get("SAFELIGHT_DATA", "")

if DATA and (Path(DATA) / "mnist").is_dir():

    def test_the_shipped_lenet_was_trained_on_the_second_half_of_mnist_and_on_no_embedded_digit():
        second_half = deal(
            DataPlan(
                source="mnist",
                private=RolePlan(split="train[30000:]"),
                public=RolePlan(split="test", count=10),
                victims=RolePlan(split="test", count=10),
                holdout=RolePlan(split="test", count=10),
            )
        ).private
        assert second_half.sha256() == FACTS["training_set_sha256"]
        trained_on = set(second_half.content_hashes())
        for _, images in digits().items():
            assert trained_on.isdisjoint(images.content_hashes())


def test_a_target_trained_on_other_labels_is_another_one(tmp_path):
    known = roles(private=True)
    private = dataclasses.replace(known.private, labels=(known.private.labels + 1) % 10)
    plan = TargetPlan(model="lenet", fit=FitPlan(epochs=1))
    one, other = (
        load_target(plan, some, CPU, Cache(tmp_path)).weights_sha256()
        for some in (known, dataclasses.replace(known, private=private))
    )
    assert one != other
