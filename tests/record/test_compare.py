import pytest

from safelight.errors import RecordError
from safelight.record.compare import at_least, new_since, unfinished
from safelight.record.record import SEVERITIES
from safelight.record.verdict import skip


def leaks(make, **severities):
    return [make.finding(id, verdict=make.verdict("LEAK", s)) for id, s in severities.items()]


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        ("none", ["a", "b", "c", "d"]),
        ("low", ["a", "b", "c", "d"]),
        ("medium", ["b", "c", "d"]),
        ("high", ["c", "d"]),
        ("critical", ["d"]),
    ],
)
def test_leaks_of_that_severity_or_worse_are_returned(make, severity, expected):
    record = make.record(leaks(make, a="low", b="medium", c="high", d="critical"))
    assert [one.id for one in at_least(record, severity)] == expected


@pytest.mark.parametrize("outcome", ["NO EVIDENCE", "INCONCLUSIVE"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_what_is_no_leak_is_never_returned(make, outcome, severity):
    record = make.record([make.finding(verdict=make.verdict(outcome, "none"))])
    assert at_least(record, severity) == []


def test_a_leak_that_the_baseline_has_is_not_new(make):
    old = make.record(leaks(make, a="high"))
    assert new_since(old, leaks(make, a="high"), old) == []
    assert new_since(old, leaks(make, a="low"), old) == []


def test_a_leak_that_the_baseline_lacks_or_has_lower_is_new(make):
    old = make.record(leaks(make, a="low", b="high"))
    found = new_since(old, leaks(make, a="medium", b="high", c="low"), old)
    assert [one.id for one in found] == ["a", "c"]


@pytest.mark.parametrize("outcome", ["NO EVIDENCE", "INCONCLUSIVE"])
def test_a_baseline_without_the_leak_hides_nothing(make, outcome):
    old = make.record([make.finding("a", verdict=make.verdict(outcome, "none"))])
    assert [one.id for one in new_since(old, leaks(make, a="low"), old)] == ["a"]


def test_a_complete_record_with_clean_findings_is_finished(make):
    record = make.record([make.finding(verdict=make.verdict("NO EVIDENCE"))])
    assert unfinished(record) == []


def test_an_open_run_is_unfinished(make):
    clean = make.finding(verdict=make.verdict("NO EVIDENCE"))
    assert unfinished(make.record([clean], status="running")) == [
        "the run was not finished; --resume it"
    ]


def test_an_inconclusive_finding_is_unfinished_and_says_why_and_where(make):
    open_one = make.finding(verdict=make.verdict("INCONCLUSIVE", reason="error: it broke"))
    clean = make.finding("b", verdict=make.verdict("NO EVIDENCE"))
    assert unfinished(make.record([open_one, clean])) == [
        "conv1 / inversion/decoder: error: it broke"
    ]


def test_a_threat_that_was_never_attacked_is_unfinished(make):
    skipped = skip(make.finding("s", skipped="it needs weights"))
    clean = make.finding("c", verdict=make.verdict("NO EVIDENCE"))
    assert unfinished(make.record([skipped, clean])) == []
    assert unfinished(make.record([skipped])) == ["nothing was tried at conv1: it needs weights"]
    elsewhere = skipped.model_copy(update={"threat_options": {"cut": "fc1"}, "where": "fc1"})
    assert unfinished(make.record([elsewhere, clean])) == [
        "nothing was tried at fc1: it needs weights"
    ]


def test_an_unfinished_baseline_or_one_of_another_model_excuses_nothing(make):
    record = make.record(leaks(make, a="high"))
    other = record.target.model_copy(update={"name": "another"})
    for baseline in (
        record.model_copy(update={"status": "running"}),
        record.model_copy(update={"target": other}),
    ):
        with pytest.raises(RecordError, match="the baseline"):
            new_since(record, leaks(make, a="high"), baseline)


def test_a_record_without_findings_is_unfinished(make):
    assert unfinished(make.record()) == ["no attack fits any threat of the plan"]
