"""A generator's file: what is written comes back, and nothing else gets in."""

import json
import os
import pickle
import stat
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_generators import skip

import safelight
from safelight.cli.convert import convert
from safelight.data.images import ImageSet
from safelight.data.roles import deal
from safelight.errors import LoadError, PlanError
from safelight.plan.plan import DataPlan, RolePlan
from safelight.targets.generators.adversarial import trained
from safelight.targets.generators.build import build
from safelight.targets.generators.discriminator import discriminator
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.generators.released import (
    ReleasedGenerator,
    load_generator,
    save_generator,
    shipped_generators,
)
from safelight.targets.stylegan_pickle.read import read_stylegan_pickle

RECIPE = GeneratorRecipe(
    resolution=16, z_dim=8, w_dim=8, channel_base=64, channel_max=8, steps=2, batch_size=8
)
SHIPPED = Path(safelight.__file__).parent / "targets/weights/generators"
ARCHITECTURES = ("dcgan", "stylegan", "stylegan2", "stylegan3-t")


def released(**changes):
    images = ImageSet(torch.rand(10, 1, 16, 16), torch.arange(10) % 2, ("a", "b"), "noise")
    return trained(RECIPE.model_copy(update=changes), images, torch.device("cpu"))


@pytest.fixture
def file(tmp_path):
    save_generator(released(), tmp_path / "one.safetensors", torch.float32)
    return tmp_path / "one.safetensors"


def rewritten(file, *, facts=None, metadata=None, **tensors):
    """Write the file anew with other facts or tensors; None takes a tensor out."""
    with safetensors.safe_open(file, "pt") as stream:
        told = json.loads(stream.metadata()["safelight"])
    own = safetensors.torch.load_file(file)
    for name, value in tensors.items():
        own.pop(name, None)
        if value is not None:
            own[name] = value
    told = {**told, **(facts or {})}
    metadata = {"safelight": json.dumps(told)} if metadata is None else metadata
    safetensors.torch.save_file(own, file, metadata=metadata)
    return file


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_saved_comes_back(architecture, conditional, tmp_path):
    before = released(architecture=architecture, conditional=conditional)
    save_generator(before, tmp_path / "one.safetensors", torch.float32)
    after = load_generator(tmp_path / "one.safetensors")
    assert after.facts == json.loads(json.dumps(before.facts))
    labels = torch.tensor([1, 0, 1])
    assert torch.equal(before.pictures(3, 7, labels), after.pictures(3, 7, labels))
    x = torch.rand(2, 1, 16, 16)
    one_hot = torch.eye(2) if conditional else None
    assert torch.equal(before.discriminator(x, one_hot), after.discriminator(x, one_hot))
    assert not any(one.requires_grad for one in after.generator.parameters())
    assert stat.S_IMODE((tmp_path / "one.safetensors").stat().st_mode) == 0o600


def test_half_precision_halves_the_file_and_rounds_the_pictures(tmp_path):
    before = released()
    for dtype in (torch.float32, torch.float16):
        save_generator(before, tmp_path / f"{dtype}.safetensors", dtype)
    whole, half = (tmp_path / f"{one}.safetensors" for one in (torch.float32, torch.float16))
    tensors = safetensors.torch.load_file(half)
    assert sum(one.nbytes for one in tensors.values()) * 2 == sum(
        one.nbytes for one in safetensors.torch.load_file(whole).values()
    )
    after = load_generator(half)
    assert {one.dtype for one in after.generator.parameters()} == {torch.float32}
    assert torch.allclose(before.pictures(5, 0), after.pictures(5, 0), atol=0.01)


def test_pictures_are_pixels_and_repeat_themselves():
    one = released(conditional=True)
    made = one.pictures(5, seed=3)
    assert made.shape == (5, 1, 16, 16)
    assert 0 <= made.min() <= made.max() <= 1
    assert torch.equal(made, one.pictures(5, seed=3))
    assert not torch.equal(made, one.pictures(5, seed=4))
    assert torch.equal(made, one.pictures(5, 3, torch.arange(5) % 2))


def test_a_generator_without_discriminator_is_kept_without(tmp_path):
    alone = ReleasedGenerator(released().generator, None, released().facts)
    save_generator(alone, tmp_path / "one.safetensors", torch.float32)
    assert load_generator(tmp_path / "one.safetensors").discriminator is None


def settings_of(network):
    """What a pickle says of a network's modules: their plain attributes by dotted name."""
    plain = (bool, int, float, str, list, type(None))
    return {
        f"{prefix}.{key}" if prefix else key: value
        for prefix, module in network.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, plain) and not key.startswith("_") and key != "training"
    }


def network_facts(network, kind):
    settings = settings_of(network)
    if kind == "Generator":
        settings["mapping.fc0.bias_gain"] = 0.01
    return {"kind": kind, "init_args": [], "init_kwargs": {}, "settings": settings}


def test_a_converted_file_loads_as_well(tmp_path):
    """As ``safelight convert`` writes it: networks by name, with their settings."""
    generator = skip(16, img_channels=1).eval()
    judge = discriminator(16, img_channels=1, channel_base=128, channel_max=8).eval()
    tensors = {f"G_ema.{key}": value for key, value in generator.state_dict().items()}
    tensors |= {f"D.{key}": value for key, value in judge.state_dict().items()}
    facts = {
        "layout": "pytorch",
        "networks": {
            "G_ema": network_facts(generator, "Generator"),
            "D": network_facts(judge, "Discriminator"),
        },
    }
    file = tmp_path / "converted.safetensors"
    safetensors.torch.save_file(
        {name: one.contiguous() for name, one in tensors.items()},
        file,
        metadata={"safelight": json.dumps(facts)},
    )
    after = load_generator(file)
    assert after.facts["layout"] == "pytorch"
    z = torch.randn(2, generator.z_dim)
    assert torch.allclose(generator(z), after.generator(z), atol=1e-6)
    x = torch.rand(2, 1, 16, 16)
    assert torch.allclose(judge(x), after.discriminator(x), atol=1e-6)


def published():
    """Pickles as the published code writes them, where they are (SAFELIGHT_FIXTURES)."""
    data = os.environ.get("SAFELIGHT_DATA", "")
    beside_data = str(Path(data).parent / "fixtures") if data else ""
    folder = os.environ.get("SAFELIGHT_FIXTURES", beside_data)
    return sorted((Path(folder) / "stylegan").glob("*.pkl")) if folder else []


if published():

    @pytest.mark.parametrize("network", published(), ids=lambda one: one.stem)
    def test_a_published_pickle_loads_once_converted(network, tmp_path):
        convert(network, tmp_path / "out.safetensors")
        after = load_generator(tmp_path / "out.safetensors")
        expected = build(read_stylegan_pickle(network).networks["G_ema"])
        labels = torch.zeros(3, dtype=torch.long)
        one_hot = torch.eye(max(expected.c_dim, 1))[labels] if expected.c_dim else None
        z = torch.randn(3, expected.z_dim, generator=torch.Generator().manual_seed(0))
        made = (expected(z, one_hot) / 2 + 0.5).clamp(0, 1)
        assert torch.allclose(after.pictures(3, 0, labels), made, atol=1e-5)


def changed(**changes):
    return {"recipe": RECIPE.model_dump() | changes}


BROKEN = {
    "no entry": lambda file: rewritten(file, metadata={"other": "1"}),
    "no JSON": lambda file: rewritten(file, metadata={"safelight": "{"}),
    "a list": lambda file: rewritten(file, metadata={"safelight": "[1]"}),
    "deep JSON": lambda file: rewritten(file, metadata={"safelight": "[" * 200_000}),
    "no recipe": lambda file: rewritten(file, metadata={"safelight": "{}"}),
    "a recipe that is none": lambda file: rewritten(file, facts={"recipe": 5}),
    "an unknown key": lambda file: rewritten(file, facts=changed(danger="x\ny")),
    "an unknown network": lambda file: rewritten(file, facts=changed(architecture="os.system")),
    "a vast picture": lambda file: rewritten(file, facts=changed(resolution=2**40)),
    "a wide network": lambda file: rewritten(
        file, facts=changed(resolution=1024, channel_base=65536, channel_max=65536)
    ),
    "a resolution between": lambda file: rewritten(file, facts=changed(resolution=17)),
    "no channels": lambda file: rewritten(file, facts={"img_channels": "3"}),
    "no classes": lambda file: rewritten(file, facts={"classes": None}),
    "another network": lambda file: rewritten(file, facts=changed(architecture="stylegan2")),
    "a tensor missing": lambda file: rewritten(file, **{"G_ema.synthesis.layers.0.weight": None}),
    "a tensor too many": lambda file: rewritten(file, **{"G_ema.a\nb": torch.zeros(2)}),
    "a tensor of NaN": lambda file: rewritten(
        file, **{"D.layers.0.bias": torch.full((4,), float("nan"))}
    ),
    "a tensor of integers": lambda file: rewritten(
        file, **{"D.layers.0.bias": torch.zeros(4, dtype=torch.long)}
    ),
    "a tensor of another shape": lambda file: rewritten(
        file, **{"D.layers.0.bias": torch.zeros(5)}
    ),
    "networks without settings": lambda file: rewritten(file, facts={"networks": {"G_ema": {}}}),
    "networks that are none": lambda file: rewritten(file, facts={"networks": {"G_ema": 1}}),
    "no networks": lambda file: rewritten(file, facts={"networks": {}}),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_does_not_fit_is_refused_in_one_line(kind, file):
    BROKEN[kind](file)
    with pytest.raises(LoadError) as caught:
        load_generator(file)
    assert "\n" not in str(caught.value)
    assert "safelight" in str(caught.value) or "publishes" in str(caught.value)


class Trap:
    def __reduce__(self):
        return (open, ("sprung", "w"))


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.safetensors").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.safetensors", "nothing.safetensors"):
        with pytest.raises(LoadError, match="cannot read the generator"):
            load_generator(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_a_file_that_cannot_be_written_names_the_remedy(tmp_path):
    with pytest.raises(PlanError, match="give a folder that exists"):
        save_generator(released(), tmp_path / "absent" / "one.safetensors", torch.float32)


@pytest.mark.parametrize("name", shipped_generators())
def test_shipped_generators_are_small_and_say_what_made_them(name):
    one = load_generator(f"shipped/{name}")
    made = one.pictures(4, 0)
    assert torch.isfinite(made).all()
    assert made.std() > 0.05
    assert {"recipe", "data", "n", "trained_on", "made_by", "measured"} <= one.facts.keys()
    assert ("privacy" in one.facts) == ("training_set_sha256" not in one.facts)


def test_shipped_generators_stay_within_what_a_package_may_weigh():
    sizes = [one.stat().st_size for one in SHIPPED.glob("*.safetensors")]
    assert sizes
    assert max(sizes) < 2_000_000
    assert sum(sizes) < 6_000_000


def test_a_plan_with_the_facts_of_shipped_digits_finds_their_training_set():
    facts = load_generator("shipped/digits-128").facts
    data = facts["data"]
    plan = DataPlan(
        source=data["source"],
        size=data["size"],
        seed=data["seed"],
        private=RolePlan(split=data["split"], count=data["count"]),
        holdout=RolePlan(count=200),
        public=RolePlan(count=300),
    )
    assert deal(plan).private.sha256() == facts["training_set_sha256"]


def test_an_unknown_shipped_name_lists_those_there_are():
    with pytest.raises(PlanError, match="digits-128"):
        load_generator("shipped/nothing")
