import dataclasses
from pathlib import Path

import pytest
import safetensors.torch
import torch

from safelight.attacks.extraction.attack import Extraction
from safelight.attacks.extraction.row_space import RowSpace
from safelight.auditing import extraction_scoring
from safelight.auditing.extraction import audit, prepare
from safelight.auditing.extraction_scoring import (
    checked,
    compared,
    likeness_of,
    score,
    unrelated,
)
from safelight.data.roles import deal
from safelight.errors import DataError, PlanError, RecordError
from safelight.metrics import matching
from safelight.plan.plan import parse_plan
from safelight.record.extraction import load_extraction
from safelight.record.store import Run
from safelight.reports.extraction import text
from safelight.stats.seeds import Seeds
from safelight.targets.classifiers.mlp import MLP
from safelight.targets.descent import descend
from safelight.targets.target import Normalized
from safelight.testing import worlds
from safelight.threats.released_model import TrainingSecret

HIDDEN = (128,)


def content(weights, **changes):
    plan = {
        "name": "released",
        "data": {
            "source": "embedded",
            "private": {"count": 30},
            "victims": {"count": 10},
            "holdout": {"count": 30},
            "public": {"count": 300},
        },
        "target": {"model": "mlp", "options": {"hidden": HIDDEN}, "weights": str(weights)},
        "threats": [{"name": "released_model"}],
        "attacks": [{"name": "extraction/row_space", "directions": 40}],
    }
    return plan | changes


def silent(*_: object) -> None:
    """Watch nothing."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights that know the training set by heart, and weights that never saw it."""
    folder = tmp_path_factory.mktemp("weights")
    private = deal(parse_plan(content("none"), "test").data).private
    torch.manual_seed(0)
    network = MLP(hidden=HIDDEN)
    files = {"untrained": folder / "untrained.safetensors", "trained": folder / "t.safetensors"}
    safetensors.torch.save_file(network.state_dict(), files["untrained"])
    model = Normalized(network, MLP.mean, MLP.std)
    descend(model, private, steps=1500, learning_rate=0.2, weight_decay=3e-3)
    safetensors.torch.save_file(network.state_dict(), files["trained"])
    return files


@pytest.fixture(scope="module")
def leak(weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory):
    run = Run(tmp_path_factory.mktemp("runs") / "leak")
    plan = parse_plan(content(weights["trained"], seeds=[0, 1]), "test")
    return run, audit(prepare(plan), run, silent)


def test_a_leak_is_found_with_its_controls(leak):
    run, record = leak
    assert record.status == "complete"
    assert record.verdict.outcome == "LEAK"
    assert record.verdict.severity in ("high", "critical")
    (finding,) = record.findings
    assert finding.extracted.measurement.value > 0.4
    assert [one.name for one in finding.controls].count("planted training set") == 1
    assert [one.name for one in finding.controls].count("unrelated candidates") == 2
    assert all(one.passed for one in finding.controls)
    assert record.target.facts["training accuracy"] == 1
    assert load_extraction(run.folder) == record


def test_the_record_says_what_was_measured(leak):
    run, record = leak
    one, two = record.cells
    assert (one.seed, two.seed) == (0, 1)
    assert one.candidates == 40
    assert one.budgets[-1][0] == 40
    assert one.budgets[-1][1] == pytest.approx(one.measurements["auc"])
    finding = record.findings[0]
    pooled = [(a + b) / 2 for a, b in zip(one.members.likeness, two.members.likeness, strict=True)]
    others = [(a + b) / 2 for a, b in zip(one.others.likeness, two.others.likeness, strict=True)]
    higher = sum(a > b for a in pooled for b in others) / 900
    assert finding.auc.measurement.value == pytest.approx(higher, abs=1e-3)
    assert finding.roc[0] == (0, 0)
    assert finding.roc[-1] == (1, 1)
    for name in (record.members_artifact, record.others_artifact, one.members.artifact):
        assert run.artifact(name).startswith(b"\x89PNG")


def test_weights_that_never_saw_the_pictures_are_no_leak(weights, tmp_path):
    plan = parse_plan(content(weights["untrained"]), "test")
    record = audit(prepare(plan), Run(tmp_path / "run"), silent)
    # Nothing may be found; where even the polytope is empty the attack says so.
    assert record.verdict.outcome in ("NO EVIDENCE", "INCONCLUSIVE")
    if record.verdict.outcome == "INCONCLUSIVE":
        assert "no picture of the first layer's row space" in record.verdict.reason


def test_a_finished_cell_is_not_done_again(leak, weights):
    run, record = leak
    plan = parse_plan(content(weights["trained"], seeds=[0, 1]), "test")
    again = audit(prepare(plan), run, silent, resume=True)
    assert again.cells == record.cells
    assert again.findings == record.findings
    with pytest.raises(RecordError, match="holds a run already"):
        audit(prepare(plan), run, silent)


def test_an_attack_that_breaks_is_no_clean_result(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(RowSpace, "run", lambda *_: 1 / 0)
    plan = parse_plan(content(weights["trained"]), "test")
    record = audit(prepare(plan), Run(tmp_path / "run"), silent)
    assert record.verdict.outcome == "INCONCLUSIVE"
    assert "ZeroDivisionError" in record.verdict.reason
    assert record.cells[0].status == "error"


def test_an_attack_that_does_not_fit_the_model_is_told_and_not_run(tmp_path):
    torch.manual_seed(0)
    plan = content(tmp_path / "lenet", target={"model": "lenet", "weights": "shipped"})
    plan["data"] |= {"private": {"count": 30}}
    with pytest.raises(PlanError, match=r"data\.private is not what"):
        prepare(parse_plan(plan, "test"))
    network = worlds.lenet().network
    file = tmp_path / "lenet.safetensors"
    safetensors.torch.save_file(network.state_dict(), file)
    plan["target"] = {"model": "lenet", "weights": str(file)}
    record = audit(prepare(parse_plan(plan, "test")), Run(tmp_path / "run"), silent)
    assert record.verdict.outcome == "INCONCLUSIVE"
    assert "does not begin with a dense layer" in record.findings[0].skipped


def test_what_a_plan_lacks_is_told_with_the_remedy(weights):
    def broken(error, told, **changes):
        plan = content(weights["trained"])
        plan["data"] = plan["data"] | changes.pop("data", {})
        with pytest.raises(error, match=told):
            prepare(parse_plan(plan | changes, "test"))

    broken(DataError, r"set data\.holdout\.count to 30", data={"holdout": {"count": 20}})
    broken(DataError, r"set data\.public\.count to 120", data={"public": {"count": 100}})
    broken(PlanError, r"set data\.private", data={"private": None})
    broken(PlanError, "remove it from the plan", attacks=[{"name": "inversion/decoder"}])
    broken(
        PlanError,
        "write a plan for each",
        threats=[{"name": "released_model"}, {"name": "split_inference", "cut": "1"}],
    )
    broken(
        PlanError,
        "unknown attack of threat released_model",
        threats=[{"name": "released_model", "attacks": ["extraction/kkt"]}],
    )


def test_a_part_of_a_large_training_set_is_scored_and_said_to_be_one(weights, tmp_path):
    data = content(weights["untrained"])["data"]
    data |= {"private": {"count": 403}, "holdout": {"count": 101}}
    attacks = [{"name": "extraction/kkt", "steps": 2, "most": 25}]
    plan = parse_plan(content(weights["untrained"], data=data, attacks=attacks), "test")
    setting, run = prepare(plan), Run(tmp_path / "run")
    assert (len(setting.training), setting.secret.count) == (403, 403)
    assert setting.training.sha256() == deal(plan.data).private.sha256()
    record = audit(setting, run, silent)
    assert [(one.name, one.count) for one in record.roles] == [
        ("training set", 403),
        ("scored", 101),
        ("held out", 101),
        ("public", 300),
    ]
    assert (record.trained_on, len(record.member_labels)) == (403, 101)
    assert record.cells[0].candidates == 25
    assert len(record.cells[0].members.likeness) == len(record.cells[0].others.likeness) == 101
    assert record.findings[0].extracted.measurement.n == 101
    assert "403" in text(run)
    assert load_extraction(run.folder) == record
    # The plan's data alone say who is scored, whatever attacks.
    other = prepare(parse_plan(content(weights["untrained"], data=data), "test"))
    assert other.secret.members.sha256() == setting.secret.members.sha256()


def lopsided(counts, seed=0):
    """Deal embedded digits with so many of each class, in a random order."""
    digits = worlds.digits().public
    draw = torch.Generator().manual_seed(seed)
    rows = torch.cat([(digits.labels == one).nonzero()[:few, 0] for one, few in enumerate(counts)])
    return digits.rows(rows[torch.randperm(len(rows), generator=draw)])


def test_of_each_class_as_many_members_are_scored_as_are_held_out():
    private = lopsided([90, 80, 10, 70, 60, 60, 60, 60, 60, 60])
    holdout = lopsided([10, 20, 30, 10, 10, 10, 10, 10, 10, 0], seed=1)
    members, others = extraction_scoring.sides(private, holdout)
    assert list(members.class_counts().values()) == [10, 20, 10, 10, 10, 10, 10, 10, 10, 0]
    assert members.class_counts() == others.class_counts()
    for part, whole in ((members, private), (others, holdout)):
        assert set(part.content_hashes()) <= set(whole.content_hashes())
        assert len(set(part.content_hashes())) == len(part) == 100
    # In the order of the whole set: what is drawn does not depend on who is drawn beside it.
    places = [private.content_hashes().index(one) for one in members.content_hashes()]
    assert places == sorted(places)


def test_all_members_are_scored_where_as_many_are_held_out():
    private, holdout = lopsided([5] * 10), lopsided([6] * 10, seed=1)
    members, others = extraction_scoring.sides(private, holdout)
    assert members is private
    assert torch.equal(others.images, holdout.images[:50])  # each class up to one


def test_a_held_out_set_with_other_shares_of_classes_is_matched_class_by_class():
    """One candidate that is like any 1 would tell a set of ones from one without."""
    private = lopsided([6, 45, 6, 6, 6, 6, 6, 6, 6, 6])
    holdout = lopsided([30] * 10, seed=1)
    members, others = extraction_scoring.sides(private, holdout)
    assert members.class_counts() == others.class_counts()
    assert members.class_counts()["1"] == 30


def test_classes_that_are_not_held_out_are_an_error():
    with pytest.raises(DataError, match="only 0 are held out"):
        extraction_scoring.sides(lopsided([50] * 4), lopsided([0] * 6 + [50] * 4, seed=1))


@pytest.mark.parametrize(("private", "holdout", "wanted"), [(3, 2, 30), (30, 9, 100), (9, 8, 90)])
def test_too_few_held_out_are_an_error_with_the_number_it_takes(private, holdout, wanted):
    with pytest.raises(DataError, match=rf"set data\.holdout\.count to {wanted} or more"):
        extraction_scoring.sides(lopsided([private] * 10), lopsided([holdout] * 10, seed=1))


def test_the_picture_most_like_by_chance_is_found_in_blocks(monkeypatch):
    secret, public = sides()
    center = public.images.mean(0)
    one, other = secret.members.images, secret.others.images
    whole = matching.nearest(likeness_of(one, other, center))
    monkeypatch.setattr(extraction_scoring, "BLOCK", 7)
    found = extraction_scoring.by_chance(one, other, center)
    assert found.candidate.tolist() == whole.candidate.tolist()
    assert found.likeness == pytest.approx(whole.likeness, abs=1e-6)


def sides(seed=0):
    digits = worlds.digits().public
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(digits), generator=draw)
    members, others, rest = order.split([100, 100, len(digits) - 200])
    return TrainingSecret(digits.rows(members), digits.rows(others)), digits.rows(rest)


def claim_of(images):
    n = len(images)
    return Extraction(images, torch.zeros(n, dtype=torch.int64), torch.arange(n).double())


def test_unrelated_candidates_are_at_chance_and_copies_are_not(tmp_path):
    run = Run(tmp_path / "run")
    run.create()
    p_values = []
    for seed in range(5):
        secret, public = sides(seed)
        control = unrelated(secret, public, 300, public.images.mean(0), seed)
        p_values.append(control.passed)
    assert all(p_values)
    secret, public = sides()
    noise = torch.randn(50, *public.shape, generator=torch.Generator().manual_seed(0))
    copies = (secret.members.images[:50] + 0.2 * noise).clamp(0, 1)
    scored = score(claim_of(copies), secret, public.images.mean(0), run)
    likeness = [torch.tensor(one.likeness).double().numpy() for one in _both(scored)]
    auc, extracted = compared(*likeness, 1)
    assert extracted.measurement.value == pytest.approx(0.5, abs=0.03)
    assert auc.measurement.value == pytest.approx(0.75, abs=0.06)
    assert auc.p <= 0.005
    # The rule of the literature hardly tells the two sides apart.
    assert scored.measurements["ssim rule"] < 0.6


def _both(scored):
    return scored.members, scored.others


def test_the_literature_s_rule_calls_unrelated_digits_reconstructed(tmp_path):
    run = Run(tmp_path / "run")
    run.create()
    secret, public = sides()
    scored = score(claim_of(public.images[:200]), secret, public.images.mean(0), run)
    assert scored.measurements["ssim rule"] > 0.9
    assert scored.measurements["ssim rule on others"] > 0.9
    assert abs(scored.measurements["auc"] - 0.5) < 0.15


def test_a_claim_that_is_none_is_an_error_of_the_attack():
    good = claim_of(torch.rand(3, 1, 28, 28))
    assert checked(good, (1, 28, 28)) is good
    for bad in (
        dataclasses.replace(good, images=good.images[:0]),
        dataclasses.replace(good, images=good.images * 2),
        dataclasses.replace(good, images=good.images * float("nan")),
        dataclasses.replace(good, labels=good.labels[:2]),
    ):
        with pytest.raises(ValueError, match="the attack claimed"):
            checked(bad, (1, 28, 28))
    assert Seeds(0).integer() != Seeds(1).integer()
