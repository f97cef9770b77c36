import pytest

from safelight.errors import RecordError
from safelight.record.generator import (
    Found,
    GeneratorFinding,
    blind_control,
    judge_generator,
    load_generator_record,
    reciting_control,
)
from safelight.record.membership import ERROR, TESTS, Compared, Rate, ScoreFile, ScoresRecord
from safelight.record.membership_finding import correct, overall
from safelight.record.record import Control, Measurement, Verdict

WORKS = reciting_control(0.0005, 1.0, None, 100)
ALIKE = blind_control(0.4, 0.51, 1000)


def share(value, n=100, low=None):
    return Measurement(
        value=value,
        low=max(value - 0.1, 0) if low is None else low,
        high=min(value + 0.1, 1),
        level=0.95,
        n=n,
        seeds=1,
        chance=0.5,
        worse="higher",
        unit="share",
    )


def scores(p=0.5, planted=True):
    controls = [Control(name="planted leak", question="?", passed=planted, detail="found")]
    rates = [
        Rate(
            fpr=fpr,
            false_alarms=20,
            threshold=0.0,
            compared=Compared(measurement=share(0.3), reach=0.1, p=p),
            curve_low=0.2,
            curve_high=0.4,
            precision=0.2,
        )
        for fpr in (0.001, 0.01, 0.1)
    ]
    file = ScoreFile(file="f", column="c", count=100, sha256="0" * 64)
    made = ScoresRecord(
        verdict=Verdict(outcome="LEAK", severity="low", confidence="low", reason="not judged"),
        kind="score",
        members=file,
        nonmembers=file,
        prior=0.01,
        auc=Compared(measurement=share(0.7), reach=0.6, p=p),
        reversed_p=1.0,
        advantage=share(0.1),
        rates=rates,
        controls=controls,
        shuffles=2000,
        roc=[(0.0, 0.0), (1.0, 1.0)],
        safelight="0",
        started="now",
    )
    return correct(made, 1)


def found(members, others, p, low=None):
    return Found(bar=0.5, members=share(members, low=low), others=share(others), p=p)


def finding(**changes):
    given = {
        "threat": "released_generator",
        "threat_options": {},
        "attack": "membership/density_ratio",
        "options": {},
        "access": "full black-box",
        "asks": "membership",
        "verdict": Verdict(outcome="INCONCLUSIVE", severity="none", confidence="low", reason="?"),
        "scores": scores(),
        "controls": [WORKS],
    }
    return GeneratorFinding(**(given | changes))


def judged(blind=ALIKE, **changes):
    made = finding(**changes)
    return made.model_copy(update={"verdict": judge_generator(made, blind)})


def test_nothing_found_by_an_attack_that_works_is_no_evidence():
    assert judged().verdict.outcome == "NO EVIDENCE"


@pytest.mark.parametrize("controls", [[], [reciting_control(0.5, 0.52, None, 100)]])
def test_nothing_found_by_an_attack_that_may_not_work_says_nothing(controls):
    verdict = judged(controls=controls).verdict
    assert verdict.outcome == "INCONCLUSIVE"
    assert "nobody knows whether it can" in verdict.reason


def test_a_leak_stands_even_where_the_control_failed():
    """An attack that finds members here works, whatever the planted generator is like."""
    failed = [reciting_control(0.5, 0.52, None, 100)]
    assert judged(scores=scores(0.0005), controls=failed).verdict.outcome == "LEAK"


def test_sets_that_differ_without_the_generator_void_a_leak():
    void = judged(blind=blind_control(0.0005, 0.6, 1000), scores=scores(0.0005)).verdict
    assert void.outcome == "INCONCLUSIVE"
    assert "differ in more than membership" in void.reason


@pytest.mark.parametrize(("low", "severity"), [(0.6, "critical"), (0.2, "high"), (0.02, "medium")])
def test_extracted_pictures_are_as_severe_as_they_are_many(low, severity):
    verdict = judged(asks="extraction", found=found(0.7, 0.0, 1e-6, low)).verdict
    assert (verdict.outcome, verdict.severity) == ("LEAK", severity)
    assert "70 of 100 training pictures are extracted" in verdict.reason
    assert "0 of 100 pictures extracted that were never trained on" in verdict.reason


def test_what_reconstructs_anybody_extracts_nobody():
    """A search in w+ calls every picture extracted, members and others alike."""
    verdict = judged(asks="extraction", found=found(1.0, 1.0, 1.0)).verdict
    assert verdict.outcome == "NO EVIDENCE"


def test_a_trace_of_members_without_extracted_pictures_is_low():
    verdict = judged(asks="extraction", scores=scores(0.0005), found=found(0.0, 0.0, 1.0)).verdict
    assert (verdict.outcome, verdict.severity) == ("LEAK", "low")


def test_errors_and_skips_are_never_clean():
    assert "error: broken" in judged(failed="broken", scores=None).verdict.reason
    assert judged(skipped="no twin", scores=None).verdict.outcome == "INCONCLUSIVE"


def test_the_worst_leak_carries_the_verdict_and_doubt_beats_silence():
    leak = judged(asks="extraction", found=found(0.7, 0.0, 1e-6, 0.6))
    clear, broken = judged(), judged(failed="broken", scores=None)
    skipped = judged(skipped="no twin", scores=None)
    assert overall([clear, leak, broken]).severity == "critical"
    assert overall([clear, broken]).outcome == "INCONCLUSIVE"
    assert overall([clear, skipped]).outcome == "NO EVIDENCE"
    assert overall([skipped]).outcome == "INCONCLUSIVE"


def test_controls_pass_as_surely_as_tests_decide():
    assert reciting_control(ERROR / TESTS, 0.9, (50, 0), 60).passed
    assert not reciting_control(1.01 * ERROR / TESTS, 0.9, (50, 0), 60).passed
    assert not blind_control(0.001, 0.6, 1000).passed


@pytest.mark.parametrize("content", ["", "[]", '{"kind": "membership"}', '{"kind": "generator"}'])
def test_what_is_no_record_is_told_with_the_remedy(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(RecordError, match=r"run the audit again|another run"):
        load_generator_record(tmp_path)
