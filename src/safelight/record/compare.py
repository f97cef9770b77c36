"""What is new in a record beside an older one."""

from safelight.errors import RecordError
from safelight.record.extraction import ExtractionFinding
from safelight.record.generator import GeneratorFinding
from safelight.record.kinds import AnyRecord
from safelight.record.membership_audit import AttackFinding
from safelight.record.record import SEVERITIES, Finding, Record, Severity
from safelight.record.verdict import never_attacked

AnyFinding = Finding | AttackFinding | ExtractionFinding | GeneratorFinding


def at_least(record: AnyRecord, severity: Severity) -> list[AnyFinding]:
    """Return the leaks of that severity or worse."""
    bar = SEVERITIES.index(severity)
    return [
        one
        for one in record.findings
        if one.verdict.outcome == "LEAK" and SEVERITIES.index(one.verdict.severity) >= bar
    ]


def new_since(
    record: AnyRecord, findings: list[AnyFinding], baseline: AnyRecord
) -> list[AnyFinding]:
    """Return the findings that the baseline lacks, or has at a lower severity.

    Findings are the same when threat, attack and all their options are.

    Raises:
        RecordError: the baseline is unfinished, or of another model or other victims, so that
            it can excuse nothing.
    """
    if baseline.status != "complete":
        raise RecordError("the baseline was not finished; --resume it, or gate without --baseline")
    if _subject(record) != _subject(baseline):
        raise RecordError(
            "the baseline audits another model, other pictures or another threat; audit both with "
            "one data plan"
        )
    known = {
        one.id: SEVERITIES.index(one.verdict.severity)
        for one in baseline.findings
        if one.verdict.outcome == "LEAK"
    }
    return [
        one for one in findings if SEVERITIES.index(one.verdict.severity) > known.get(one.id, -1)
    ]


def unfinished(record: AnyRecord) -> list[str]:
    """Return why a record cannot clear its model: an open run, errors, inconclusive findings."""
    reasons = [] if record.status == "complete" else ["the run was not finished; --resume it"]
    reasons += [
        f"{one.where} / {one.attack}: {one.verdict.reason}"
        for one in record.findings
        if one.verdict.outcome == "INCONCLUSIVE" and not one.skipped
    ]
    if not record.findings:
        reasons.append("no attack fits any threat of the plan")
    return reasons + never_attacked(record.findings)


def _subject(record: AnyRecord) -> tuple[str, ...]:
    """Return what a record is about: question, model, and whose pictures are at stake."""
    trained_on = ("private", "training set", "members")
    secret = ("victims",) if isinstance(record, Record) else trained_on
    pictures = [role.sha256 for role in record.roles if role.name in secret]
    return type(record).__name__, record.target.name, *pictures
