import pytest
from typer.testing import CliRunner

from safelight.auditing import reproduction
from safelight.cli.main import app
from safelight.errors import PlanError
from safelight.record.reproduction import Table

PAPER = reproduction.load_paper("split-inference")


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_every_published_cell_of_the_full_scale_is_in_its_plan(scale):
    plans = reproduction.plans(PAPER, scale)
    for name, published in PAPER["published"].items():
        tried = {
            (one.options["cut"], tuple(sorted(one.options.items()))) for one in plans[name].threats
        }
        assert len(tried) >= len({str(one["threat"]) for one in PAPER["adversaries"]})
        cuts = {cut for cut, _ in tried}
        if scale == "full":
            assert {cut for cells in published.values() for cut in cells} <= cuts


def test_who_overhears_more_is_tried_at_the_full_scale_as_the_adversaries_that_the_table_names():
    assert "cifar10-overheard" not in reproduction.plans(PAPER, "quick")
    plan = reproduction.plans(PAPER, "full")["cifar10-overheard"]
    named = PAPER["tables"]["cifar10-overheard"]["full"]["adversaries"]
    assert len(plan.threats) == 2 * len(named)
    assert {one.name for one in plan.attacks} == {"inversion/class_means"}


def test_an_unknown_paper_lists_the_known_ones():
    with pytest.raises(PlanError, match="split-inference"):
        reproduction.load_paper("split")


def test_every_published_adversary_is_described():
    names = {one["name"] for one in PAPER["adversaries"]}
    for published in PAPER["published"].values():
        assert set(published) <= names


def test_a_tiny_reproduction_sets_ours_beside_theirs_and_goes_on_where_it_was(
    tmp_path, monkeypatch
):
    few = {"steps": 2, "decoder": {"steps": 2, "width": 2, "blocks": 1}}
    table = PAPER["tables"]["mnist"]
    quick = {
        "seeds": [0],
        "victims": "test",
        "cuts": ["conv1"],
        "likelihood": few,
        "decoder": few["decoder"],
        "clone": {"steps": 2, "likelihood": few},
        "shadow": {**few, "tries": 1},
    }
    data = {
        "source": "embedded",
        "public": {"count": 300},
        "victims": {"count": 40},
        "holdout": {"count": 1000},
        "private": {"count": 300},
    }
    tiny = PAPER | {
        "tables": {"mnist": {"plan": table["plan"] | {"data": data}, "quick": quick}},
    }
    monkeypatch.setattr(reproduction, "load_paper", lambda name: tiny)
    monkeypatch.setattr("safelight.attacks.inversion.likelihood.TUNED_ON", 4)
    monkeypatch.setattr("safelight.attacks.inversion.decoder.UNCERTAINTY_STEPS", 5)
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))
    plan = reproduction.plans(tiny, "quick")["mnist"]
    overrides = ["--set", "data.victims.count=40", "--set", "data.victims.split=train"]
    overrides += ["--set", "target.weights=nowhere.safetensors"]
    assert plan.name == "mnist-quick"
    model = tmp_path / "lenet.safetensors"
    from importlib import resources

    shipped = resources.files("safelight.targets") / "weights" / "lenet.safetensors"
    model.write_bytes(shipped.read_bytes())
    overrides[-1] = f"target.weights={model}"
    order = ["reproduce", "split-inference", "--out", str(tmp_path / "out"), *overrides]
    for _ in range(2):
        result = CliRunner().invoke(app, order)
        assert result.exit_code == 0, result.output
        assert "query-free, other set, aligned shadow" in result.output
    kept = Table.model_validate_json((tmp_path / "out/mnist.json").read_text())
    assert len(kept.rows) == len(PAPER["adversaries"])
    for row in kept.rows:
        assert row.scores["ssim"].n == 40
        assert row.as_published is not None
    white = kept.rows[0]
    assert white.published is not None
    assert white.published.psnr == 39.69
