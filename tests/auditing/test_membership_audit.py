"""The audit of membership, end to end: known leaks are called so, and leakless targets are not."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from safelight.attacks.membership.attack import MembershipScores
from safelight.attacks.membership.label_only import LabelOnly
from safelight.attacks.membership.lira import Lira
from safelight.attacks.membership.threshold import Threshold
from safelight.auditing import membership as auditing
from safelight.auditing import membership_measures as measures
from safelight.auditing.membership import audit, prepare
from safelight.auditing.setting import Setting
from safelight.cache import Cache
from safelight.defenses.dp_sgd import DPSGD
from safelight.errors import DataError, PlanError, RecordError
from safelight.metrics.membership_null import p_values, shuffled, statistics
from safelight.plan.plan import load_plan, parse_plan
from safelight.record.membership import ERROR, RATES, TESTS
from safelight.record.membership_audit import load_membership_record
from safelight.record.store import Run
from safelight.stats.membership import lira
from safelight.stats.membership.signals import confidence_of_logits
from safelight.stats.seeds import Seeds
from safelight.targets.fit import fit
from safelight.testing.membership import RECIPE, arbitrary, play, target
from safelight.threats.membership_game import MembershipGame

PLAN = {
    "name": "test",
    "data": {
        "source": "embedded",
        "private": {"count": 60},
        "public": {"count": 180},
        "holdout": {"count": 60},
    },
    "target": {"model": "lenet", "fit": {"epochs": 2, "batch_size": 20}},
    "threats": [{"name": "membership_game"}],
    "attacks": [{"name": "membership/threshold"}, {"name": "membership/label_only", "views": 2}],
}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))


def plan(**changes):
    return parse_plan(PLAN | changes, "the test's plan")


def setting(kind, tmp_path, *attacks, game=None):
    """The same audit of a target that knows a hundred pictures by heart, or never saw them."""
    cache, roles = Cache(tmp_path / "shadows"), arbitrary()
    written = plan(target={"model": "lenet", "fit": RECIPE.model_dump()})
    one = target(kind)
    base = Setting(written, torch.device("cpu"), [], [], [], roles, one, torch.empty(0), cache)
    pairs = [(game or MembershipGame(), attack) for attack in attacks]
    return auditing.MembershipSetting(base, roles.private, pairs, fit)


def quiet(doing, done, total):
    pass


def test_a_target_that_knows_its_members_by_heart_leaks(tmp_path):
    given = setting("everything", tmp_path, Lira(shadows=8), Threshold())
    run = Run(tmp_path / "run")
    record = audit(given, run, quiet)
    assert record.verdict.outcome == "LEAK"
    assert record.verdict.severity == "high"
    assert record == load_membership_record(run.folder)
    found = record.findings[0]
    assert found.scores.auc.measurement.value > 0.95
    assert found.calls.accuracy.low > 0.8
    assert [one.name for one in record.controls] == ["models that never saw them"]
    assert all(one.passed for one in record.controls)
    assert found.controls[0].passed
    assert record.train_accuracy.value > 0.95
    assert record.test_accuracy.value < 0.3
    assert len(found.exposed) == 20
    assert set(found.exposed) <= set(range(100))
    assert run.artifact(record.exposed_artifact)


def test_scores_upside_down_are_seen_however_many_attacks_there_are():
    member, images = np.arange(600) < 300, arbitrary().private
    bench = SimpleNamespace(
        secret=SimpleNamespace(member=member), members=images, others=images, seeds=Seeds(0)
    )
    claim = MembershipScores(np.random.default_rng(0).random(600) - 2.0 * member)
    scores = measures._assessed(bench, Threshold(), claim, 8)
    assert "stand out by low scores" in scores.verdict.reason
    assert scores.shuffles == 16_000


def test_a_target_that_never_saw_them_does_not(tmp_path):
    given = setting("nothing", tmp_path, Lira(shadows=8), LabelOnly(views=1))
    record = audit(given, Run(tmp_path / "run"), quiet)
    assert record.verdict.outcome != "LEAK"
    assert [one.verdict.outcome for one in record.findings].count("LEAK") == 0
    # A hundred pictures are too few to call a silence clean, and the audit says so.
    assert record.verdict.outcome == "INCONCLUSIVE"
    assert "too few" in record.verdict.reason


def test_the_most_exposed_are_the_members_with_the_highest_scores(tmp_path):
    given = setting("everything", tmp_path, Threshold())
    record = audit(given, Run(tmp_path / "run"), quiet)
    seen, secret = play("everything", Cache(tmp_path / "shadows"))
    scores = Threshold().run(seen, Seeds(0)).scores
    best = max(np.flatnonzero(secret.member), key=lambda one: scores[one])
    assert record.findings[0].exposed[0] == secret.position[best]
    assert record.findings[0].exposed_scores[0] == scores[best]


def test_two_sets_that_differ_in_more_than_membership_make_it_void(tmp_path):
    """Non-members with other labels than members: models that saw neither tell them apart."""
    given = setting("everything", tmp_path, Lira(shadows=8))
    roles = given.base.roles
    easy = dataclasses.replace(roles.private, labels=roles.private.labels * 0 + 1)
    hard = dataclasses.replace(roles.holdout, labels=roles.holdout.labels * 0 + 2)
    every = dataclasses.replace(roles.public, labels=roles.public.labels * 0 + 1)
    dealt = dataclasses.replace(roles, private=easy, holdout=hard, public=every)
    base = dataclasses.replace(given.base, roles=dealt)
    given = dataclasses.replace(given, base=base, private=easy)
    record = audit(given, Run(tmp_path / "run"), quiet)
    assert record.verdict.outcome == "INCONCLUSIVE"
    assert "differ in more than membership" in record.verdict.reason


def test_an_attack_that_fails_is_told_and_clears_nothing(tmp_path):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Broken(Threshold):
        def run(self, seen, rng):
            raise ZeroDivisionError("no")

    Broken.__module__ = "safelight.attacks.membership.threshold"
    record = audit(setting("nothing", tmp_path, Broken()), Run(tmp_path / "run"), quiet)
    assert record.verdict.outcome == "INCONCLUSIVE"
    assert record.findings[0].failed == "ZeroDivisionError: no"


def test_an_attack_that_the_game_hides_from_is_skipped(tmp_path):
    game = MembershipGame(returns="label", knows="nothing")
    given = setting("everything", tmp_path, Lira(shadows=8), LabelOnly(views=1), game=game)
    record = audit(given, Run(tmp_path / "run"), quiet)
    assert "scores and shadows and online" in record.findings[0].skipped
    assert record.findings[1].verdict.outcome == "LEAK"
    assert record.verdict.outcome == "LEAK"


def test_the_same_plan_measures_the_same(tmp_path):
    one, two = (
        audit(
            setting("everything", tmp_path / name, Lira(shadows=8)),
            Run(tmp_path / f"r{name}"),
            quiet,
        )
        for name in "ab"
    )
    assert one.measurements_sha256() == two.measurements_sha256()


def test_null_of_200_audits_of_members_that_nobody_trained_on(tmp_path):
    """One target and its shadows, and 200 random choices of who is called a member: LEAK <= 2 %.

    All of an audit with LiRA but the training is done anew each time.
    """
    seen, secret = play("nothing", Cache(tmp_path))
    answers = seen.with_shadows(8, 1, True, Seeds(0))
    n, labels = answers.candidates, answers.labels
    phi = confidence_of_logits(answers.target[:n, 0], labels[:n])
    theirs = confidence_of_logits(answers.shadows[:, :n, 0], labels[:n])
    scores = lira.online(phi, theirs, answers.inside[:, :n])
    rng, leaks = np.random.default_rng(0), 0
    for number in range(200):
        member = rng.permutation(secret.member)
        sides = scores[member], scores[~member]
        null = shuffled(*sides, RATES, 500, number)
        leaks += p_values(statistics(*sides, RATES), null).min() <= ERROR / TESTS
    assert leaks <= 4


def test_a_plan_is_run_as_it_is_written(tmp_path):
    run = Run(tmp_path / "run")
    record = audit(prepare(plan()), run, quiet)
    assert [one.attack for one in record.findings] == [
        "membership/threshold",
        "membership/label_only",
    ]
    assert record.privacy is None
    assert parse_plan(record.plan, "the record") == load_plan(run.folder / "plan.toml")
    with pytest.raises(RecordError, match="--resume"):
        audit(prepare(plan()), run, quiet)
    assert audit(prepare(plan()), run, quiet, resume=True).status == "complete"


def test_a_private_target_carries_its_promise_and_keeps_it(tmp_path):
    given = prepare(
        plan(
            target={"model": "lenet", "fit": {"epochs": 2, "batch_size": 20, "learning_rate": 0.1}},
            defense={"name": "dp_sgd", "epsilon": 3.0},
        )
    )
    record = audit(given, Run(tmp_path / "run"), quiet)
    assert 2.9 < record.privacy.epsilon <= 3.0
    assert record.privacy.delta == 1e-5
    assert "Poisson" in record.privacy.sampling
    assert record.target.facts["privacy"]["steps"] == 6
    assert all(one.within.passed for one in record.findings)
    again = prepare(parse_plan(record.plan, "the record"))
    assert again.base.target.weights_sha256() == given.base.target.weights_sha256()


def test_a_promise_that_is_broken_is_a_leak(tmp_path):
    """A target that knows its members by heart and says that it is private."""
    given = setting("everything", tmp_path, Lira(shadows=8))
    facts = {"privacy": DPSGD(epsilon=0.5).privacy(100, RECIPE)}
    liar = dataclasses.replace(given.base.target, facts=facts)
    base = dataclasses.replace(given.base, target=liar)
    record = audit(dataclasses.replace(given, base=base), Run(tmp_path / "run"), quiet)
    assert not record.findings[0].within.passed
    assert "breaks its promise" in record.verdict.reason


@pytest.mark.parametrize(
    ("changes", "kind", "error"),
    [
        ({"seeds": [0, 1]}, PlanError, "give one seed"),
        ({"data": {**PLAN["data"], "private": {"count": 10}}}, DataError, r"data\.private\.count"),
        ({"attacks": [{"name": "inversion/decoder"}]}, PlanError, "a plan of their own"),
        (
            {"data": {k: v for k, v in PLAN["data"].items() if k != "private"}},
            PlanError,
            r"data\.private",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_remedy(changes, kind, error):
    with pytest.raises(kind, match=error):
        prepare(plan(**changes))


def test_a_defended_target_is_not_loaded(tmp_path):
    with pytest.raises(PlanError, match=r"leave out target\.weights"):
        prepare(
            plan(
                target={"model": "lenet", "weights": "shipped"},
                defense={"name": "dp_sgd", "epsilon": 3.0},
            )
        )


def test_more_attacks_need_a_smaller_p(tmp_path):
    """The same scores beside five attacks have a p-value five times as large."""
    alone = setting("everything", tmp_path, Threshold())
    bench = auditing._meet(alone, MembershipGame())
    claim = Threshold().run(bench.seen, Seeds(0))
    one = measures._assessed(bench, Threshold(), claim, 1)
    five = measures._assessed(bench, Threshold(), claim, 5)
    assert five.shuffles == 5 * one.shuffles
    assert five.auc.p == pytest.approx(5 / (five.shuffles + 1))
    assert five.auc.reach > one.auc.reach
