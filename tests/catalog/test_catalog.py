import dataclasses
import importlib.metadata
import inspect
import subprocess
import sys
from dataclasses import dataclass

import pytest

from safelight import catalog
from safelight.attacks.inversion.decoder import Decoder
from safelight.catalog import Reference
from safelight.errors import PlanError

LISTED = [(kind, name) for kind in catalog.ROOMS for name in catalog.names(kind)]
CHOSEN = [(kind, name) for kind, name in LISTED if kind in ("attack", "threat")]


@dataclass(frozen=True, kw_only=True)
class Outside:
    """A component of another package."""

    cut: str = "conv1"
    widths: list[int] = dataclasses.field(default_factory=lambda: [1])


def fails(match, call, *given):
    with pytest.raises(PlanError, match=match) as told:
        call(*given)
    assert "\n" not in str(told.value)


@pytest.fixture
def plugin(monkeypatch):
    """Pretend that another package brings the attack ``outside/one`` and a broken one."""
    here = [
        importlib.metadata.EntryPoint("outside/one", f"{__name__}:Outside", "safelight.attack"),
        importlib.metadata.EntryPoint("outside/broken", "no_such_package:X", "safelight.attack"),
    ]
    real = importlib.metadata.entry_points

    def entry_points(**select):
        ours = [one for one in here if one.group == select.get("group")]
        return [*real(**select), *ours]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


@pytest.mark.parametrize("kind", catalog.ROOMS)
def test_every_kind_has_components_and_lists_them_sorted_and_once(kind):
    names = catalog.names(kind)
    assert names
    assert names == sorted(set(names))


def test_the_components_of_the_first_release_are_listed():
    assert {"inversion/decoder", "inversion/likelihood"} <= set(catalog.names("attack"))
    assert "split_inference" in catalog.names("threat")
    assert {"lenet", "cifar_cnn"} <= set(catalog.names("classifier"))


@pytest.mark.parametrize(("kind", "name"), LISTED)
def test_every_listed_component_loads_and_is_documented(kind, name):
    component = catalog.load(kind, name)
    text = inspect.getdoc(component)
    assert text
    assert len(text.split("\n")[0]) < 110
    assert isinstance(component, type)


@pytest.mark.parametrize(("kind", "name"), CHOSEN)
def test_every_attack_and_threat_cites_where_it_comes_from(kind, name):
    reference = catalog.load(kind, name).reference
    assert isinstance(reference, Reference)
    assert reference.doi or reference.url
    assert 1900 <= reference.year <= 2100
    text = reference.bibtex()
    assert text.startswith(f"@misc{{{reference.key},")
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(("kind", "name"), CHOSEN)
def test_every_option_has_a_type_and_is_explained(kind, name):
    component = catalog.load(kind, name)
    text = inspect.getdoc(component)
    for option in catalog.options(component):
        assert f"{option}:" in text, f"{name} does not explain its option {option}"


@pytest.mark.parametrize(("kind", "name"), LISTED)
def test_every_component_knows_its_name_and_kind_and_can_be_summed_up(kind, name):
    assert catalog.kind_of(name) == kind
    assert catalog.summary(kind, name)
    assert "\n" not in catalog.summary(kind, name)
    assert catalog.explain(kind, name).startswith(f"# {kind} {name}\n")


def test_a_component_tells_its_name():
    assert catalog.name_of(Decoder()) == "inversion/decoder"
    assert (
        catalog.name_of(catalog.build("threat", "split_inference", {"cut": "x"}))
        == "split_inference"
    )


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("attack", "inversion/decodr", "unknown attack .* did you mean 'inversion/decoder'"),
        ("attack", "", "unknown attack ''; choose from: .*inversion/decoder"),
        ("attack", "inversion/__init__", "unknown attack"),
        ("attack", "attack", "unknown attack"),
        ("threat", "observation", "unknown threat"),
        ("threat", "split-inference", "did you mean 'split_inference'"),
        ("classifier", "LeNet", "did you mean 'lenet'"),
        ("classifier", "../load", "unknown classifier"),
        ("atack", "inversion/decoder", "unknown kind 'atack'; did you mean 'attack'"),
    ],
)
def test_an_unknown_name_is_an_error_that_suggests_and_lists(kind, name, told):
    fails(told, catalog.load, kind, name)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"step": 3}, "unknown option of attack inversion/decoder 'step'; did you mean 'steps'"),
        ({"reference": 3}, "unknown option"),
        ({"steps": "many"}, "inversion/decoder: steps = 'many': .*; correct it"),
        ({"steps": 2.5}, "steps = 2.5"),
        ({"steps": None}, "steps = None"),
        ({"steps": [1, 2]}, "steps"),
        ({"learning_rate": "fast", "steps": "many"}, "and 1 more"),
    ],
)
def test_a_wrong_option_is_an_error_on_one_line(options, told):
    fails(told, catalog.build, "attack", "inversion/decoder", options)


@pytest.mark.parametrize("option", ["steps", "batch_size", "width", "learning_rate"])
@pytest.mark.parametrize("value", [0, -1])
def test_an_option_that_no_attack_could_run_with_is_refused(option, value):
    fails(option, catalog.build, "attack", "inversion/decoder", {option: value})


def test_a_missing_option_is_an_error_that_names_it():
    fails("split_inference: cut = .*correct it", catalog.build, "threat", "split_inference", {})


def test_a_choice_outside_of_the_listed_ones_is_an_error():
    options = {"cut": "conv1", "knows": "everything"}
    fails("knows = 'everything': .*'weights'", catalog.build, "threat", "split_inference", options)


def test_a_component_inside_a_component_is_built_and_checked():
    attack = catalog.build("attack", "inversion/likelihood", {"decoder": {"steps": 7}})
    assert attack.decoder == Decoder(steps=7)
    wrong = {"decoder": {"steps": "x"}}
    fails("decoder.steps = 'x'", catalog.build, "attack", "inversion/likelihood", wrong)


def test_an_unknown_option_inside_a_component_is_an_error():
    wrong = {"decoder": {"stepps": 7}}
    fails("decoder.stepps", catalog.build, "attack", "inversion/likelihood", wrong)


def test_options_come_back_as_they_were_given():
    given = {"steps": 7, "batch_size": 3, "width": 2, "blocks": 1, "learning_rate": 0.5}
    given |= {"flip": True, "shift": 2, "likeness": 0.25, "precision": "bfloat16"}
    assert dataclasses.asdict(catalog.build("attack", "inversion/decoder", given)) == given
    assert list(catalog.options(Decoder)) == list(given)


def test_lists_expand_into_every_combination_in_order():
    given = {"cut": ["conv1", "relu2"], "knows": ["weights", "queries", "nothing"]}
    made = catalog.expand("threat", "split_inference", given)
    assert [(one.cut, one.knows) for one in made] == [
        (cut, knows) for cut in given["cut"] for knows in given["knows"]
    ]


def test_without_lists_there_is_one_component():
    assert catalog.expand("attack", "inversion/decoder", {"steps": 5}) == [Decoder(steps=5)]


def test_an_empty_list_is_an_error_and_not_an_audit_of_nothing():
    fails("cut", catalog.expand, "threat", "split_inference", {"cut": []})


def test_expanding_checks_every_value():
    given = {"cut": ["conv1", 3]}
    fails("cut = 3", catalog.expand, "threat", "split_inference", given)


@pytest.mark.usefixtures("plugin")
def test_components_of_other_packages_are_found_and_built():
    assert "outside/one" in catalog.names("attack")
    assert "outside/one" not in catalog.names("threat")
    assert catalog.build("attack", "outside/one", {"cut": "fc1"}) == Outside(cut="fc1")
    assert catalog.summary("attack", "outside/one")


@pytest.mark.usefixtures("plugin")
def test_an_option_that_is_a_list_itself_is_not_expanded():
    made = catalog.expand("attack", "outside/one", {"widths": [1, 2], "cut": ["a", "b"]})
    assert made == [Outside(cut="a", widths=[1, 2]), Outside(cut="b", widths=[1, 2])]


@pytest.mark.usefixtures("plugin")
def test_a_component_of_another_package_goes_by_the_name_in_the_plan():
    assert catalog.name_of(catalog.build("attack", "outside/one", {})) == "outside/one"


@pytest.mark.usefixtures("plugin")
def test_a_component_of_another_package_that_cannot_be_imported_is_an_error_on_one_line():
    fails("outside/broken", catalog.load, "attack", "outside/broken")


def test_the_nearest_name_is_suggested_only_when_it_is_near():
    assert "did you mean 'conv1'" in catalog.unknown("cut point", "conv", ["conv1", "relu1"])
    assert "did you mean" not in catalog.unknown("cut point", "zzz", ["conv1", "relu1"])
    assert catalog.unknown("cut point", "x", []).endswith("choose from: (none)")


def test_listing_names_imports_none_of_the_components():
    code = (
        "import sys; from safelight import catalog; "
        "found = [catalog.names(kind) for kind in catalog.ROOMS]; "
        "assert found[0]; assert 'torch' not in sys.modules, 'torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
