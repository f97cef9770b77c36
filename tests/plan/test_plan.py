import tomllib

import pydantic
import pytest
import tomli_w

from safelight.errors import PlanError
from safelight.plan.plan import Plan, load_plan, parse_plan, presets

SMALL = """
name = "small"
[data]
source = "embedded"
public = { count = 100 }
victims = { count = 20 }
holdout = { count = 100 }
[target]
model = "lenet"
weights = "shipped"
[[threats]]
name = "split_inference"
cut = "conv1"
[[attacks]]
name = "inversion/decoder"
steps = 10
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(SMALL)
    return path


def changed(path, old, new):
    path.write_text(SMALL.replace(old, new))
    return path


def fails(match, path, *overrides):
    with pytest.raises(PlanError, match=match) as told:
        load_plan(path, overrides)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads_under_its_own_name(name):
    plan = load_plan(name)
    assert plan.name == name
    assert plan.threats
    assert plan.attacks


def test_the_demo_needs_no_network():
    plan = load_plan("demo")
    assert plan.data.source == "embedded"
    assert plan.target.weights == "shipped"


def test_a_plan_that_does_not_exist_is_an_error_that_lists_the_presets(tmp_path):
    fails(
        "no plan at .*nowhere.toml; give a TOML file or a preset: .*demo", tmp_path / "nowhere.toml"
    )


def test_a_folder_is_no_plan(tmp_path):
    fails("give a TOML file or a preset", tmp_path)


def test_a_plan_is_frozen(file):
    plan = load_plan(file)
    with pytest.raises(pydantic.ValidationError):
        plan.name = "other"


@pytest.mark.parametrize("name", presets())
def test_a_plan_survives_being_written_and_read(name):
    plan = load_plan(name)
    content = plan.model_dump(mode="json", exclude_none=True)
    assert parse_plan(content, "the record") == plan
    assert parse_plan(tomllib.loads(tomli_w.dumps(content)), "the file") == plan


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            'name = "small"',
            'name = "small"\nsed = [1]',
            "unknown key in the plan 'sed'; did you mean",
        ),
        ("public =", "publick =", "unknown key in data 'publick'; did you mean 'public'"),
        ("{ count = 20 }", "{ cuont = 20 }", "key in data.victims 'cuont'; did you mean 'count'"),
        ("weights =", "wieghts =", "unknown key in target 'wieghts'; did you mean 'weights'"),
        ("[target]", "[target]\nfit = { epoch = 1 }", "target.fit 'epoch'; did you mean 'epochs'"),
        ('model = "lenet"', "", "target.model is missing; add it"),
        ('name = "small"', "", "name is missing"),
        ("public = { count = 100 }", "", "data.public is missing"),
        ('name = "split_inference"', "", "threats.0.name is missing"),
        ("{ count = 20 }", '{ count = "many" }', "data.victims.count = 'many': .*; correct it"),
        ("{ count = 20 }", "{ count = 0 }", "data.victims.count = 0: .*greater than or equal to 1"),
        ("{ count = 20 }", "{ count = 2.5 }", "data.victims.count = 2.5"),
        ("{ count = 20 }", "20", "data.victims = 20"),
        ('name = "small"', 'name = "small"\nseeds = []', "seeds = .*at least 1"),
        ('name = "small"', 'name = "small"\nseeds = "0"', "seeds = '0'.*list"),
        ('source = "embedded"', 'source = "embedded"\nsize = 4', "data.size = 4"),
        ('source = "embedded"', 'source = "embedded"\nchannels = 2', "data.channels = 2"),
        ("[target]", "[target]\nfit = { learning_rate = -1 }", "target.fit.learning_rate = -1"),
        ("[target]", "[target]\nfit = { learning_rate = nan }", "target.fit.learning_rate = nan"),
        ("[target]", "[target]\nfit = { learning_rate = inf }", "target.fit.learning_rate = inf"),
        ("[target]", "[target]\nstd = [0.0]", "target.std"),
        ('name = "small"', 'name = "small"\nseeds = [1, 1, 1]', "seeds"),
        ("[[threats]]", "[threats]", "threats = .*list"),
    ],
)
def test_a_wrong_plan_is_an_error_that_names_the_key_and_the_remedy(file, old, new, told):
    assert old in SMALL
    fails(told, changed(file, old, new))


def test_a_plan_without_attacks_is_an_error(file):
    file.write_text(SMALL.split("[[attacks]]")[0])
    fails("attacks is missing", file)


@pytest.mark.parametrize("text", ["name = ", "= 3", "[data", "name = 'a' name = 'b'", "\x00", "{}"])
def test_a_file_that_is_not_toml_is_an_error_that_says_where(file, text):
    file.write_text(SMALL + text)
    fails("plan.toml is not TOML: .*; correct that line", file)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00n", SMALL.encode("utf-16"), b"\x89PNG\r\n\x1a\n\x00"]
)
def test_a_file_that_is_not_text_is_an_error(file, content):
    file.write_bytes(content)
    fails("not TOML", file)


def test_an_umlaut_in_a_plan_is_read_as_utf8_whatever_the_locale(file):
    file.write_bytes(SMALL.replace('"small"', '"größer"').encode())
    assert load_plan(file).name == "größer"


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("name=other", "name", "other"),
        ('name="quoted"', "name", "quoted"),
        ("target.weights=a=b", "target.weights", "a=b"),
        ("target.weights=", "target.weights", ""),
        ("seeds=[0, 1, 2]", "seeds", [0, 1, 2]),
        ("device=cuda:0", "device", "cuda:0"),
        ("data.seed=7", "data.seed", 7),
        ("data.public.count=500", "data.public.count", 500),
        ("data.source=/some/folder", "data.source", "/some/folder"),
        ("data.private.split=train[:9]", "data.private.split", "train[:9]"),
        ("target.fit.epochs=3", "target.fit.epochs", 3),
        ("target.options={classes = 5}", "target.options", {"classes": 5}),
        ("target.options.classes=5", "target.options", {"classes": 5}),
        ("target.weights=my.safetensors", "target.weights", "my.safetensors"),
        ("attacks.0.steps=50", "attacks.0.steps", 50),
        ("attacks.decoder.steps=50", "attacks.0.steps", 50),
        ("threats.split_inference.cut=fc1", "threats.0.cut", "fc1"),
        ('threats.0.cut=["conv1", "fc1"]', "threats.0.cut", ["conv1", "fc1"]),
        ("attacks.0.name=inversion/likelihood", "attacks.0.name", "inversion/likelihood"),
        ("attacks.0.decoder.steps=9", "attacks.0.decoder", {"steps": 9}),
    ],
)
def test_an_override_sets_a_dotted_key(file, override, where, value):
    node = load_plan(file, [override]).model_dump()
    for part in where.split("."):
        node = node[int(part) if part.isdigit() else part]
    assert node == value


def test_an_override_changes_nothing_else(file):
    before, after = load_plan(file), load_plan(file, ["data.public.count=500"])
    assert after.model_copy(update={"data": before.data}) == before
    assert after.data.victims == before.data.victims


def test_overrides_are_applied_in_order(file):
    assert load_plan(file, ["data.seed=1", "data.seed=2"]).data.seed == 2


def test_overrides_apply_to_a_preset_and_leave_it_alone():
    assert load_plan("demo", ["attacks.decoder.steps=7"]).attacks[0].options["steps"] == 7
    assert load_plan("demo").attacks[0].options["steps"] != 7


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.seed", "cannot read the setting 'data.seed'; write key=value"),
        ("", "write key=value"),
        ("=3", "''"),
        ("attacks.5.steps=3", "there is no '5' in the plan; check the key"),
        ("attacks.nothing.steps=3", "there is no 'nothing'"),
        ("attacks.steps=3", "attacks is not a table; check the key"),
        ("name.x=3", "name is not a table"),
        ("name.x.y=3", "there is no 'x'"),
        ("seeds.0=3", "seeds is not a table"),
        ("seeds.0.x=3", "there is no '0'|not a table"),
        ("data.sed=3", "unknown key in data 'sed'; did you mean 'seed'"),
        ("data..seed=3", "unknown key in data ''"),
        ("data.seed=soon", "data.seed = 'soon'"),
        ("data=embedded", "data = 'embedded'"),
    ],
)
def test_a_wrong_override_is_an_error_on_one_line(file, override, told):
    """The demo gives seeds, the small plan leaves them out."""
    fails(told, file if "seeds" not in override else "demo", override)


def test_an_override_by_name_survives_an_entry_whose_name_is_no_word(file):
    changed(file, 'name = "inversion/decoder"', "name = 3")
    fails("attacks", file, "attacks.decoder.steps=3")


def test_a_component_keeps_its_options_apart_from_its_name(file):
    attack = load_plan(file).attacks[0]
    assert attack.name == "inversion/decoder"
    assert attack.options == {"steps": 10}


def test_a_plan_can_be_made_in_python():
    plan = Plan.model_validate(tomllib.loads(SMALL))
    assert plan.data.victims.count == 20
    assert plan.data.victims.split == "train"
