"""Plans of a generator's threat model, the comparison of their records, and the command."""

import copy
import itertools
import sys

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from safelight.attacks.membership.discriminator_score import DiscriminatorScore
from safelight.attacks.membership.generator_distance import GeneratorDistance
from safelight.auditing import generator_reproduction, reproduction
from safelight.auditing.generator import audit
from safelight.auditing.generator_reproduction import MEASURED_BY, End, compare, gather, plans
from safelight.auditing.generator_setting import mismatch, options_of, prepare
from safelight.cli.main import run
from safelight.data.roles import deal
from safelight.errors import PlanError
from safelight.record.generator_reproduction import GeneratorReproduction
from safelight.record.store import Run

PAPER = reproduction.load_paper("stylegan-leakage")
SCALES = ("quick", "full")


def micro():
    """The quick scale with everything in it, as small as an audit allows."""
    found = copy.deepcopy(PAPER)
    found["data"] = {"size": 16}
    found["recipe"] = {"resolution": 16}
    quick = found["quick"]
    quick["data"] |= {"private": {"count": 20}, "holdout": {"count": 20}, "public": {"count": 100}}
    quick["recipe"] = {"z_dim": 4, "w_dim": 4, "channel_base": 32, "channel_max": 4}
    quick["recipe"] |= {"steps": 1, "batch_size": 4}
    for label, one in quick["attacks"].items():
        one |= {"samples": 60} | ({"steps": 1} if "steps" in one else {})
        if label.startswith("crowds"):
            one["claims"] = 10
    quick["architectures"] = {}
    variants = quick["variants"]
    variants["more pictures"] |= {"data": {"private": {"count": 40}}, "candidates": 20}
    odd = {"classes": ["0"], "count": 8}
    sides = {"private": {"count": 12}, "holdout": {"count": 12}}
    variants["with outliers"]["data"] |= {"outliers": odd, **sides}
    variants["narrow"]["recipe"] = {"channel_max": 2}
    variants["short"]["recipe"] = {"steps": 2}
    return found


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFELIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("scale", SCALES)
def test_there_is_a_plan_for_each_architecture_variant_and_training(scale):
    built = plans(PAPER, scale)
    own = PAPER[scale]
    names = [*PAPER["architectures"], *own["variants"]]
    assert len(built) == len(names) * len(own["trainings"])
    assert {options_of(one).recipe.architecture for one in built.values()} == {
        one["architecture"] for one in PAPER["architectures"].values()
    }
    for plan in built.values():
        recipe = options_of(plan).recipe
        assert recipe.seed in own["trainings"]
        assert recipe.resolution == plan.data.size == 32
        assert plan.data.private.count == plan.data.holdout.count or options_of(plan).candidates
        labels = [label for threat in plan.threats for label in threat.attacks]
        assert sorted(labels) == sorted(one.label for one in plan.attacks)
        assert set(MEASURED_BY) <= set(labels)


def test_every_factor_of_the_seed_is_measured_at_both_ends_and_at_both_scales():
    named = {one["name"].partition(",")[0] for one in PAPER["factors"]}
    assert named == {
        *("training-set size", "diversity", "outliers", "capacity", "training length"),
        *("regularization", "style mixing", "latent space"),
    }
    for scale, factor in itertools.product(SCALES, PAPER["factors"]):
        own = [*PAPER["architectures"], *PAPER[scale]["variants"]]
        assert len(factor["levels"]) >= 2
        for level in factor["levels"]:
            assert level["plan"] in own
            assert level.get("attack", "weights") in PAPER["attacks"]


def test_a_factor_changes_one_thing():
    built = plans(PAPER, "quick")
    bare = built["DCGAN"].model_dump()
    for name, changed in {
        "more pictures": ("data", "private"),
        "two classes": ("data", "classes"),
        "short": ("recipe", "steps"),
        "penalized": ("recipe", "r1"),
    }.items():
        own = built[name].model_dump()
        recipes = [one["target"]["options"].pop("recipe") for one in (own, copy.deepcopy(bare))]
        data = own["data"], bare["data"]
        differ = [("recipe", key) for key in recipes[0] if recipes[0][key] != recipes[1][key]]
        differ += [("data", key) for key in data[0] if data[0][key] != data[1][key]]
        assert differ == [changed], name


def test_fewer_pictures_are_the_first_of_more():
    built = plans(PAPER, "quick")
    few, many = (deal(built[one].data).private for one in ("DCGAN", "more pictures"))
    assert len(many) == 512
    assert few.content_hashes() == many.content_hashes()[: len(few)]


def test_outliers_stand_on_both_sides_in_a_class_of_their_own():
    roles = deal(plans(PAPER, "quick")["with outliers"].data)
    assert roles.private.class_counts()["outlier"] == roles.holdout.class_counts()["outlier"] == 20
    assert roles.public.class_counts()["outlier"] == 0
    assert not set(roles.private.content_hashes()) & set(roles.holdout.content_hashes())


def area(members, others):
    return mannwhitneyu(members, others).statistic / (len(members) * len(others))


def end(members, others, who="the same", whom="the same"):
    return End(np.atleast_2d(members), np.atleast_2d(others), who, whom, False)


def test_the_difference_is_of_mean_areas_and_lies_in_its_interval():
    rng = np.random.default_rng(0)
    for trainings, n, m in itertools.product((1, 3), (20, 33), (25,)):
        scores = [rng.normal(size=(trainings, size)).round(1) for size in (n, m, n, m)]
        more, less = end(*scores[:2]), end(*scores[2:])
        areas = [
            np.mean([area(*pair) for pair in zip(one.members, one.others, strict=True)])
            for one in (more, less)
        ]
        value, low, high = compare(more, less, 0.95)
        assert value == pytest.approx(areas[0] - areas[1])
        assert low < value < high
        assert compare(less, more, 0.95)[0] == pytest.approx(-value)
        curved = [end(np.exp(one.members), np.exp(one.others)) for one in (more, less)]
        assert compare(*curved, 0.95) == (value, low, high)  # ranks alone count


def test_nothing_is_between_an_attack_and_itself():
    own = end(np.arange(30.0), np.arange(30.0) - 3)
    assert compare(own, own, 0.95) == (0, 0, 0)


def width(more, less, level=0.95):
    _, low, high = compare(more, less, level)
    return high - low


def test_the_same_pictures_are_drawn_together_and_others_are_not():
    rng = np.random.default_rng(1)
    members, others = rng.normal(0.5, 1, 60), rng.normal(0, 1, 60)
    again = [one + rng.normal(0, 0.05, 60) for one in (members, others)]
    paired = width(end(members, others), end(*again))
    half = width(end(members, others), end(*again, who="those"))
    apart = width(end(members, others), end(*again, "those", "these"))
    assert paired < 0.1
    assert paired < half < apart
    assert apart > 0.2


def test_a_higher_level_and_a_second_training_that_differs_widen_the_interval():
    rng = np.random.default_rng(2)
    less = rng.normal(size=(2, 40)), rng.normal(size=(2, 40))
    strong, weak = rng.normal(3, 1, 40), rng.normal(0, 1, 40)
    alike, differing = (
        end([strong, one], rng.normal(size=(2, 40))) for one in (strong + 0.01, weak)
    )
    assert width(differing, end(*less)) > 1.5 * width(alike, end(*less))
    assert width(alike, end(*less), 0.999) > width(alike, end(*less))


def test_an_interval_holds_what_is_true_about_as_often_as_it_says():
    rng, level, held = np.random.default_rng(3), 0.9, 0
    for number in range(30):
        # P[N(1, 1) > N(0, 1)] = Phi(1 / sqrt 2) = 0.7602; the other end is at 1/2.
        more = end(rng.normal(1, 1, 40), rng.normal(0, 1, 40), "a", "a")
        less = end(rng.normal(0, 1, 40), rng.normal(0, 1, 40), "b", "b")
        _, low, high = compare(more, less, level, number)
        held += low <= 0.2602 <= high
    assert held >= 22  # 27 expected, deviation 1.6


@pytest.fixture(scope="module")
def begun():
    """Every plan of the quick scale, resolved: pictures dealt, one step trained."""
    return {name: prepare(one) for name, one in plans(micro(), "quick").items()}


def test_every_plan_of_the_quick_scale_begins(begun):
    assert len(begun) == 11
    for name, setting in begun.items():
        assert len(setting.members) == len(setting.others) == 20, name
        assert [mismatch(*pair) for pair in setting.pairs] == [""] * len(setting.pairs)
        assert [attack.unfit(None) for _, attack in setting.pairs] == [""] * len(setting.pairs)
    assert begun["more pictures"].networks.facts["n"] == 40


@pytest.fixture(scope="module")
def records(begun, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: audit(begun[name], Run(folder / name), lambda *told: None)
        for name in ("DCGAN", "more pictures", "StyleGAN2", "with outliers")
    }


def test_every_attack_runs_and_is_recognized(records):
    names = {
        name: [generator_reproduction._label(PAPER, one) for one in record.findings]
        for name, record in records.items()
    }
    assert set(names["StyleGAN2"]) == set(PAPER["attacks"])
    assert len(names["DCGAN"]) == 4
    findings = [one for record in records.values() for one in record.findings]
    assert [one.failed or one.skipped for one in findings] == [""] * len(findings)


def rescored(record, attack, members, others):
    """A record whose attack gave other scores."""
    findings = [
        one.model_copy(
            update={
                "shown": one.shown.model_copy(
                    update={"member_scores": list(members), "other_scores": list(others)}
                )
            }
        )
        if generator_reproduction._label(PAPER, one) == attack
        else one
        for one in record.findings
    ]
    return record.model_copy(update={"findings": findings})


def row(made, factor, attack):
    return next(one for one in made.factors if (one.factor, one.attack) == (factor, attack))


def test_claims_are_decided_by_the_scores_of_the_records(records):
    far, near = np.arange(20.0) + 100, np.arange(20.0)
    given = records | {
        "DCGAN": rescored(records["DCGAN"], "weights", far, near),
        "more pictures": rescored(records["more pictures"], "weights", near, near),
    }
    made = gather(micro(), "quick", given)
    found = row(made, "training-set size", "weights")
    assert [one.auc for one in found.levels] == [1, 0.5]
    assert [one.name for one in found.levels] == ["20 pictures", "40 pictures"]
    assert found.difference == 0.5
    assert found.outcome == "confirmed"
    assert found.members_paired
    assert not found.others_paired  # the larger training set took some of the others
    turned = given | {"DCGAN": given["more pictures"], "more pictures": given["DCGAN"]}
    again = gather(micro(), "quick", turned)
    assert row(again, "training-set size", "weights").outcome == "refuted"
    alike = records | {"more pictures": records["DCGAN"]}
    same = gather(micro(), "quick", alike)
    assert {one.outcome for one in same.factors if one.factor == "training-set size"} == {"open"}


def test_outliers_are_compared_with_the_usual_pictures_beside_them(records):
    record = records["with outliers"]
    odd = np.array([record.classes[one] == "outlier" for one in record.member_labels])
    assert odd.sum() == 8
    members = np.where(odd, 50.0, 0.0)  # every outlier stands out, and nobody else
    given = records | {"with outliers": rescored(record, "weights", members, np.zeros(20))}
    found = row(gather(micro(), "quick", given), "outliers", "weights")
    assert [one.auc for one in found.levels] == [1, 0.5]
    assert found.outcome == "confirmed"
    assert not found.members_paired
    assert not found.others_paired
    assert (found.members, found.others) == (8, 8)


def test_style_mixing_is_compared_on_the_same_pictures(records):
    made = gather(micro(), "quick", records)
    attack = "mixed styles against pictures alone"
    found = row(made, "style mixing, StyleGAN2", attack)
    assert found.members_paired
    assert found.others_paired
    assert "style mixing, StyleGAN" in made.missing
    assert {"capacity", "diversity"} <= set(made.missing)


def test_intervals_hold_for_all_comparisons_together(records):
    made = gather(micro(), "quick", records)
    assert len(made.factors) == 3 + 3 + 1 + 1
    assert {one.level for one in made.factors} == {1 - 0.05 / len(made.factors)}


def test_several_trainings_are_gathered(records):
    twice = micro()
    twice["quick"]["trainings"] = [0, 1]
    given = {
        f"{name}, training {one}": records[name]
        for name in ("DCGAN", "more pictures")
        for one in (0, 1)
    }
    made = gather(twice, "quick", given)
    assert made.entries[0].trainings == 2
    assert row(made, "training-set size", "weights").trainings == 2
    alone = gather(twice, "quick", {"DCGAN, training 1": records["DCGAN"]})
    assert not alone.factors
    assert alone.entries[0].reached[0].auc.value == made.entries[0].reached[0].auc.value


def test_nothing_run_is_an_error():
    with pytest.raises(PlanError, match="leave out --table"):
        gather(micro(), "quick", {})


def small():
    found = micro()
    found["architectures"] = {"DCGAN": found["architectures"]["DCGAN"]}
    found["quick"]["variants"] = {"short": found["quick"]["variants"]["short"]}
    found["factors"] = [one for one in found["factors"] if one["name"] == "training length"]
    kept = ("discriminator", "weights")
    found["attacks"] = {name: found["attacks"][name] for name in kept}
    return found


def test_a_reproduction_that_was_interrupted_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduction, "load_paper", lambda name: small())
    folder = tmp_path / "out"
    words = ["safelight", "reproduce", "stylegan-leakage", "--out", str(folder)]
    calls, kept = [], DiscriminatorScore.run

    def counted(self, seen, rng):
        calls.append("discriminator")
        return kept(self, seen, rng)

    def type_in(*more):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        capsys.readouterr()
        try:
            run()
        except SystemExit as stop:
            return int(stop.code or 0), *capsys.readouterr()
        return 0, *capsys.readouterr()

    code, _, told = type_in("--table", "nobody")
    assert (code, told.count("\n")) == (2, 1)
    assert "has no table 'nobody'; choose from: DCGAN, short" in told

    monkeypatch.setattr(DiscriminatorScore, "run", counted)
    distance = GeneratorDistance.run

    def stopped(self, seen, rng):
        if len(calls) > 2:  # on the target and on the control of the first plan; now the second
            raise KeyboardInterrupt
        return distance(self, seen, rng)

    monkeypatch.setattr(GeneratorDistance, "run", stopped)
    code, _, told = type_in()
    assert code == 130
    assert "continue with: safelight reproduce stylegan-leakage" in told
    assert (folder / "short" / "record.json").is_file()
    assert not (folder / "comparison.md").exists()

    monkeypatch.setattr(GeneratorDistance, "run", distance)
    before = len(calls)
    code, out, _ = type_in()
    assert code == 0
    assert len(calls) == before  # every finished finding was taken as it was
    assert "Training length: with 1 steps in place of 2 steps" in out
    made = GeneratorReproduction.model_validate_json((folder / "comparison.json").read_text())
    assert [one.factor for one in made.factors] == ["training length"] * 2
    assert "<h2" in (folder / "comparison.html").read_text()
    assert (folder / "comparison.md").read_text().strip() in out
