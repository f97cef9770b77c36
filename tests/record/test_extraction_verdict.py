import json

import pytest

from safelight.errors import RecordError
from safelight.record.extraction import (
    ERROR,
    FEWEST_MEMBERS,
    TESTS,
    ExtractionFinding,
    inconclusive,
    judge,
    load_extraction,
    overall,
    planted_control,
    unrelated_control,
)
from safelight.record.membership import Compared
from safelight.record.record import Measurement, Verdict


def compared(value, p, *, low=None, n=100, seeds=3, chance=0.5):
    measurement = Measurement(
        value=value,
        low=value - 0.1 if low is None else low,
        high=min(value + 0.1, 1),
        level=0.95,
        n=n,
        seeds=seeds,
        chance=chance,
        worse="higher",
        unit="share",
    )
    return Compared(measurement=measurement, reach=0.07, p=p)


YES, NO = 0.0005, 0.4
PASSED = [planted_control(compared(0.99, YES), compared(0.8, YES)), unrelated_control(0.5, 0.5, 0)]


@pytest.mark.parametrize(
    ("area", "share", "outcome", "severity"),
    [
        ((0.99, YES), (0.8, YES), "LEAK", "critical"),
        ((0.8, YES), (0.3, YES), "LEAK", "high"),
        ((0.6, NO), (0.12, YES), "LEAK", "medium"),
        ((0.7, YES), (0.02, NO), "LEAK", "low"),
        ((0.52, NO), (0.01, NO), "NO EVIDENCE", "none"),
    ],
)
def test_what_was_found_decides(area, share, outcome, severity):
    found = judge(compared(*area), compared(*share), PASSED)
    assert (found.outcome, found.severity) == (outcome, severity)
    assert found.confidence == "high"


def test_each_p_value_must_reach_its_part_of_the_error():
    limit = ERROR / TESTS
    for p, outcome in ((limit, "LEAK"), (limit + 1e-6, "NO EVIDENCE")):
        assert judge(compared(0.6, p), compared(0.02, NO), PASSED).outcome == outcome
        assert judge(compared(0.5, NO), compared(0.08, p), PASSED).outcome == outcome


def test_silence_counts_for_nothing_without_its_controls():
    area, share = compared(0.5, NO), compared(0.0, NO)
    assert judge(area, share, []).outcome == "INCONCLUSIVE"
    assert "not tried on a planted" in judge(area, share, PASSED[1:]).reason
    blind = planted_control(compared(0.5, NO), compared(0.0, NO))
    assert not blind.passed
    found = judge(area, share, [blind, PASSED[1]])
    assert found.outcome == "INCONCLUSIVE"
    assert "failed where a leak was planted" in found.reason
    # A leak that was found is one, though the attack may miss others.
    leak = judge(compared(0.9, YES), compared(0.5, YES), [blind, PASSED[1]])
    assert (leak.outcome, leak.confidence) == ("LEAK", "low")


def test_a_score_that_finds_leaks_where_there_are_none_voids_everything():
    false = unrelated_control(0.0005, 0.7, 12)
    found = judge(compared(0.99, YES), compared(0.8, YES), [PASSED[0], false])
    assert found.outcome == "INCONCLUSIVE"
    assert "cannot be trusted" in found.reason


def test_a_part_of_the_training_set_is_never_told_as_the_whole():
    some, none = compared(0.9, YES, n=1000), compared(0.01, NO, n=1000)
    part = "of 1,000 training pictures that were scored, of 59,000, are extracted"
    for share in (some, none):
        assert part in judge(some, share, PASSED, whole=59_000).reason
        assert "of 1000 training pictures are extracted" in judge(some, share, PASSED).reason
        assert "scored" not in judge(some, share, PASSED, whole=1000).reason


def test_a_crash_and_too_few_pictures_are_never_clean():
    area, share = compared(0.99, YES), compared(0.8, YES)
    assert judge(area, share, PASSED, ["it broke"]).reason == "error: it broke"
    few = FEWEST_MEMBERS - 1
    found = judge(compared(0.99, YES, n=few), compared(0.8, YES, n=few), PASSED)
    assert found.outcome == "INCONCLUSIVE"


def test_confidence_needs_pictures_and_seeds():
    for n, seeds, expected in ((100, 3, "high"), (99, 3, "medium"), (100, 2, "medium")):
        options = {"n": n, "seeds": seeds}
        found = judge(compared(0.9, YES, **options), compared(0.5, YES, **options), PASSED)
        assert found.confidence == expected


def finding(outcome, severity="none", skipped=""):
    verdict = Verdict(outcome=outcome, severity=severity, confidence="high", reason=outcome)
    return ExtractionFinding(
        id=outcome,
        threat="released_model",
        threat_options={},
        attack="extraction/kkt",
        attack_options={},
        access="white-box",
        skipped=skipped,
        verdict=verdict,
    )


def test_the_model_s_verdict_is_its_worst_finding():
    leak, open_, clear = finding("LEAK", "low"), finding("INCONCLUSIVE"), finding("NO EVIDENCE")
    worse = finding("LEAK", "critical")
    assert overall([clear, leak, open_, worse]) == worse.verdict
    assert overall([clear, open_]) == open_.verdict
    assert overall([clear]) == clear.verdict
    idle = finding("INCONCLUSIVE", skipped="no dense layer")
    assert overall([clear, idle]) == clear.verdict
    assert overall([idle]).outcome == "INCONCLUSIVE"
    assert inconclusive("why").outcome == "INCONCLUSIVE"


def test_a_file_that_is_no_such_record_is_refused(tmp_path):
    file = tmp_path / "record.json"
    for content, told in [
        (None, "no record at"),
        ("{", "cut short"),
        ("[]", "not a record of kind 'extraction'"),
        (json.dumps({"schema_version": 1}), "not a record of kind 'extraction'"),
        (json.dumps({"kind": "extraction", "schema_version": 9}), "schema version 9"),
        (json.dumps({"kind": "extraction", "schema_version": 1}), "damaged at"),
    ]:
        if content is not None:
            file.write_text(content)
        with pytest.raises(RecordError, match=told):
            load_extraction(tmp_path)
