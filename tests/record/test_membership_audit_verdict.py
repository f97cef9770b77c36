import json

import pytest

from safelight.errors import RecordError
from safelight.record.membership import ERROR, TESTS, Compared, Rate, ScoreFile, ScoresRecord
from safelight.record.membership_audit import (
    AttackFinding,
    blind_control,
    judge_attack,
    leaking_control,
    load_membership_record,
    region_control,
)
from safelight.record.membership_finding import correct, overall
from safelight.record.record import Control, Measurement, Verdict


def measured(value, chance=0.5):
    return Measurement(
        value=value,
        low=max(value - 0.02, 0),
        high=min(value + 0.02, 1),
        level=0.95,
        n=2000,
        seeds=1,
        chance=chance,
        worse="higher",
        unit="share",
    )


def scores(p=0.5, planted=True):
    """Scores whose tests all have this p-value."""
    controls = [
        Control(name="planted leak", question="?", passed=planted, detail="32 of 100 were found")
    ]
    rates = [
        Rate(
            fpr=fpr,
            false_alarms=20,
            threshold=0.0,
            compared=Compared(measurement=measured(0.3, fpr), reach=0.1, p=p),
            curve_low=0.2,
            curve_high=0.4,
            precision=0.2,
        )
        for fpr in (0.001, 0.01, 0.1)
    ]
    file = ScoreFile(file="f", column="c", count=2000, sha256="0" * 64)
    made = ScoresRecord(
        verdict=Verdict(outcome="LEAK", severity="low", confidence="low", reason="not judged"),
        kind="score",
        members=file,
        nonmembers=file,
        prior=0.01,
        auc=Compared(measurement=measured(0.7), reach=0.6, p=p),
        reversed_p=1.0,
        advantage=measured(0.3, 0.0),
        rates=rates,
        controls=controls,
        shuffles=2000,
        roc=[(0.0, 0.0), (1.0, 1.0)],
        safelight="0",
        started="now",
    )
    return correct(made, 1)


def finding(**changes):
    given = {
        "threat": "membership_game",
        "threat_options": {},
        "attack": "membership/lira",
        "options": {},
        "access": "scores",
        "verdict": Verdict(
            outcome="INCONCLUSIVE", severity="none", confidence="low", reason="not run yet"
        ),
        "scores": scores(),
        "controls": [leaking_control(0.0005, 0.9)],
    }
    return AttackFinding(**(given | changes))


def judged(blind=None, **changes):
    one = finding(**changes)
    return judge_attack(one, blind)


def test_scores_decide_where_every_control_passed():
    assert judged().outcome == "NO EVIDENCE"
    assert judged(scores=scores(p=1e-4)).outcome == "LEAK"
    assert judged(blind_control(0.5, 0.5, 16), scores=scores(p=1e-4)).outcome == "LEAK"


def test_silence_counts_for_nothing_where_a_control_failed_or_is_missing():
    for controls in ([], [leaking_control(0.3, 0.5)]):
        verdict = judged(controls=controls)
        assert verdict.outcome == "INCONCLUSIVE"
        assert "nobody knows whether it can" in verdict.reason
    assert judged(scores=scores(planted=False)).outcome == "INCONCLUSIVE"
    assert judged(scores=scores(p=1e-4), controls=[]).outcome == "LEAK"


def test_a_difference_that_is_not_membership_makes_a_leak_void():
    verdict = judged(blind_control(1e-5, 0.6, 16), scores=scores(p=1e-4))
    assert verdict.outcome == "INCONCLUSIVE"
    assert "more than membership" in verdict.reason


def test_what_was_not_run_or_failed_clears_nothing():
    assert judged(skipped="needs scores", scores=None).reason == "not run: needs scores"
    assert judged(failed="ValueError: no", scores=None).outcome == "INCONCLUSIVE"


def test_a_curve_above_the_promise_is_a_leak_whatever_the_scores_say():
    broken = region_control(0.01, 0.3, 0.2)
    assert not broken.passed
    assert judged(within=broken).severity == "high"
    assert judged(within=region_control(0.01, 0.1, 0.2)).outcome == "NO EVIDENCE"


@pytest.mark.parametrize("attacks", [1, 2, 7])
def test_p_values_pay_for_every_attack_that_was_tried(attacks):
    edge = ERROR / TESTS / attacks
    assert correct(scores(p=0.9 * edge), attacks).verdict.outcome == "LEAK"
    assert correct(scores(p=1.1 * edge), attacks).verdict.outcome == "NO EVIDENCE"
    assert correct(scores(p=0.9), attacks).auc.p <= 1


def test_the_worst_leak_leads_and_what_is_open_comes_before_what_is_clear():
    def one(outcome, severity="none", **changes):
        verdict = Verdict(outcome=outcome, severity=severity, confidence="high", reason=outcome)
        return finding(verdict=verdict, **changes)

    clear, open_ = one("NO EVIDENCE"), one("INCONCLUSIVE")
    low, high = one("LEAK", "low"), one("LEAK", "high")
    assert overall([clear, low, open_, high]).severity == "high"
    assert overall([clear, open_]).outcome == "INCONCLUSIVE"
    assert overall([clear, clear]).outcome == "NO EVIDENCE"
    assert overall([clear, one("INCONCLUSIVE", skipped="hidden")]).outcome == "NO EVIDENCE"
    assert overall([one("INCONCLUSIVE", skipped="hidden")]).outcome == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "give a run's folder"),
        ("{", "cut short"),
        ("{}", "not a record of kind 'membership'"),
        (json.dumps({"kind": "membership", "schema_version": 99}), "schema version 99"),
        (json.dumps({"kind": "membership", "schema_version": 1}), "damaged at"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused_with_the_remedy(tmp_path, content, error):
    if content is not None:
        (tmp_path / "record.json").write_text(content)
    with pytest.raises(RecordError, match=error):
        load_membership_record(tmp_path)


def test_of_equally_severe_leaks_the_one_that_catches_most_is_told():
    """Whatever their order: the verdict's reason is that of the attack that the page names."""

    def leak(caught, reason):
        found = scores(p=0.0005)
        rates = [
            one.model_copy(
                update={"compared": one.compared.model_copy(update={"measurement": caught})}
            )
            for one in found.rates
        ]
        verdict = Verdict(outcome="LEAK", severity="medium", confidence="high", reason=reason)
        return finding(scores=found.model_copy(update={"rates": rates}), verdict=verdict)

    few, many = leak(measured(0.12, 0.01), "few"), leak(measured(0.33, 0.01), "many")
    assert overall([few, many]).reason == overall([many, few]).reason == "many"
