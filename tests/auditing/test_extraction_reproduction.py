import itertools

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from safelight.auditing import extraction_reproduction, reproduction
from safelight.auditing.extraction import audit, prepare
from safelight.auditing.extraction_reproduction import paired_difference
from safelight.record.extraction import ClaimRow
from safelight.record.store import Run
from safelight.reports import extraction_comparison

PAPER = reproduction.load_paper("network-inversion")


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_there_is_a_plan_for_each_data_set_size_and_architecture(scale):
    plans = extraction_reproduction.plans(PAPER, scale)
    own = PAPER[scale]
    wanted = itertools.product(own["data"], own["sizes"], PAPER["architectures"])
    assert list(plans) == [f"{data}-{size}-{one}" for data, size, one in wanted]
    for name, plan in plans.items():
        if name.split("-")[1] != "all":
            assert plan.data.private.count == plan.data.holdout.count
        assert [one.label for one in plan.attacks] == own.get("attacks", list(PAPER["attacks"]))


def test_a_whole_training_file_is_learned_by_its_own_recipe_beside_a_part_held_out():
    recipe = {"epochs": 4, "batch_size": 64}
    model = {"model": "vit", "fit": {"epochs": 9}, "fit at all": recipe}
    own = PAPER["quick"] | {"data": ["svhn"], "sizes": ["all", 100]}
    plans = extraction_reproduction.plans(
        PAPER | {"quick": own, "architectures": {"ViT": model}}, "quick"
    )
    whole, few = plans["svhn-all-ViT"], plans["svhn-100-ViT"]
    assert (whole.data.private.count, whole.data.holdout.count) == (None, 1000)
    assert (whole.target.fit.epochs, whole.target.fit.batch_size) == (4, 64)
    assert (few.data.private.count, few.data.holdout.count, few.target.fit.epochs) == (100, 100, 9)
    assert whole.target.options == {"image_shape": [3, 32, 32], "patch": 8}


def test_every_side_of_a_claim_is_in_the_table():
    for claim in PAPER["claims"]:
        for side in (claim["more"], claim["less"]):
            assert side["architecture"] in PAPER["architectures"]
            assert side["attack"] in PAPER["attacks"]


def area(members, others):
    return mannwhitneyu(members, others).statistic / (len(members) * len(others))


def test_the_difference_is_of_two_areas_and_its_interval_is_paired():
    rng = np.random.default_rng(0)
    members, others = rng.normal(0.5, 1, 60), rng.normal(0, 1, 60)
    noise = [rng.normal(0, 0.05, 60) for _ in range(2)]
    again = members + noise[0], others + noise[1]
    value, low, high = paired_difference((members, others), again)
    assert value == pytest.approx(area(members, others) - area(*again))
    assert low <= value <= high
    # Nearly the same scores: apart, each area would be uncertain by 0.1 on either side.
    assert high - low < 0.05
    fresh = rng.normal(0.5, 1, 60), rng.normal(0, 1, 60)
    _, low, high = paired_difference((members, others), fresh)
    assert high - low > 0.15


def test_nothing_is_between_an_attack_and_itself():
    scores = np.arange(30.0), np.arange(30.0) - 3
    assert paired_difference(scores, scores) == (0, 0, 0)


@pytest.mark.parametrize(
    ("low", "high", "outcome"), [(0.1, 0.3, "confirmed"), (-0.3, -0.1, "refuted"), (-1, 1, "open")]
)
def test_a_claim_is_decided_where_its_interval_leaves_zero(low, high, outcome):
    row = ClaimRow(setting="mnist-100", said="so", difference=0.0, low=low, high=high)
    assert row.outcome == outcome


def test_a_tiny_reproduction_names_its_rows_and_tests_the_claim_it_can(tmp_path):
    steps = {"steps": 2, "per_picture": 1, "channels": 8}
    attacks = ["network inversion", "without the stationary loss"]
    tiny = PAPER | {
        "quick": PAPER["quick"]
        | {
            "attacks": attacks,
            "sizes": [30],
            "options": {
                "network inversion": steps,
                "without the stationary loss": steps,
            },
        },
    }
    name = "mnist-30-MLP"
    plan = extraction_reproduction.plans(tiny, "quick")[name]
    content = plan.model_dump(exclude_none=True)
    content["data"] |= {
        "source": "embedded",
        "private": {"count": 30},
        "holdout": {"count": 30},
        "public": {"count": 300},
    }
    content["target"] |= {"options": {"hidden": [32]}, "fit": content["target"]["fit"]}
    content["target"]["fit"] |= {"epochs": 20}
    record = audit(
        prepare(type(plan).model_validate(content)), Run(tmp_path / "run"), lambda *_: None
    )
    rows = extraction_reproduction.rows(tiny, name, record)
    assert {one.attack for one in rows} == set(attacks)
    claims = extraction_reproduction.claims(tiny, {name: record})
    assert [one.said for one in claims] == [PAPER["claims"][0]["said"]]  # of one architecture
    assert claims[0].low <= claims[0].difference <= claims[0].high
    text = extraction_comparison.render(tiny["title"], tiny["reference"], rows, claims)
    assert text.count("| mnist, 30 |") == 3
    assert "without the stationary loss" in text
    for one in rows:
        assert f"{one.finding.auc.measurement.value:.3f}" in text
