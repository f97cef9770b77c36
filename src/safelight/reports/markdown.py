"""The findings for a pull request: short, GitHub's tables, no pictures."""

import re
from collections.abc import Sequence

from safelight.record.record import Finding, Record
from safelight.record.store import Run
from safelight.record.verdict import LEVEL
from safelight.reports import numbers
from safelight.reports.curves import answers
from safelight.reports.evidence import Evidence
from safelight.reports.sentences import (
    ASSUMED,
    Label,
    assumed,
    chip,
    dependences,
    failed_controls,
    headline,
    judged,
    labels,
    plain,
    ran,
    untried,
)


def render(run: Run, evidence: Evidence) -> str:
    """Render a run as GitHub Markdown; there are no pictures in it, whatever the evidence.

    Raises:
        RecordError: the record cannot be read.
    """
    del evidence
    record = run.load()
    head = headline(record)
    names = labels(record.findings)
    said = [
        f"## Safelight: {judged(head)}",
        f"**{_text(head.title)}**",
        _text(f"{head.measured} {head.lead}".strip()),
        *(_listed(f"{ASSUMED} ({who})", lines) for who, lines in assumed(record)),
        *(
            _listed("Tested apart, judged by no attack", seen)
            for seen in [dependences(record)]
            if seen
        ),
        *(_listed(question, found) for question, found in answers(record)),
        "\n".join(_table(record.findings, names)),
        _footing(record),
    ]
    failed = failed_controls(record)
    if failed:
        said.append(_listed("Failed controls", failed))
    gaps = untried(record)
    if gaps:
        lines = ["<details><summary>What was not tried</summary>", ""]
        lines += [f"- {_text(what)}{': ' + _code(how) if how else ''}" for what, how in gaps]
        said.append("\n".join([*lines, "", "</details>"]))
    return "\n\n".join(said) + "\n"


def _listed(what: str, lines: Sequence[str]) -> str:
    return "\n".join([f"**{_text(what)}**", "", *(f"- {_text(one)}" for one in lines)])


def _table(findings: Sequence[Finding], names: dict[str, Label]) -> list[str]:
    rows = [
        "| Where | Attack | Verdict | Named among 100 | SSIM | Best null | Gain over it | Time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in findings:
        name, verdict = names[one.id], chip(one.verdict.outcome, one.verdict.severity)
        verdict = f"**{verdict}**" if one.verdict.outcome == "LEAK" else verdict
        if one.verdict.outcome == "INCONCLUSIVE":
            verdict += f": {_text(one.verdict.reason)}"
        if one.assumptions and not one.skipped:
            verdict += " (under assumptions)"
        cells = [_code(name.where), f"{_code(name.attack)} ({_text(name.detail)})", verdict]
        cells += [*_measured(one), numbers.duration(one.seconds) if not one.skipped else ""]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _measured(finding: Finding) -> list[str]:
    named, ssim = finding.measurements.get("named"), finding.measurements.get("ssim")
    gain, null = finding.measurements.get("gain"), finding.nulls.get(finding.best_null)
    return [
        f"{numbers.count(named)} ({numbers.percent_interval(named)})" if named else "",
        f"{numbers.number(ssim.value, 3)} ({numbers.interval(ssim, 3)})" if ssim else "",
        numbers.number(null.value, 3) if null and ssim else "",
        f"{numbers.number(gain.value, 3, True)} ({numbers.interval(gain, 3, True)})"
        if gain
        else "",
    ]


def _footing(record: Record) -> str:
    checks = [control for one in record.findings for control in one.controls]
    passed = sum(one.passed for one in checks)
    seeds = len({cell.seed for cell in record.cells})
    return _text(
        f"Target {plain(record.target.name)}; {len(record.victim_labels)} victims; seeds: {seeds}; "
        f"controls passed: {passed} of {len(checks)}; findings judged together: "
        f"{len(ran(record))}; the intervals in parentheses are {numbers.percent(LEVEL)} "
        f"ones, corrected for that number (Bonferroni). Measurements "
        f"{record.measurements_sha256()[:16]}, safelight {record.provenance.safelight}."
    )


def _text(text: str) -> str:
    """Escape what GitHub would read as markup, a table cell's end, or somebody's name."""
    escaped = re.sub(r"([\\`*_{}\[\]<>|~#&])", r"\\\1", plain(text))
    # GitHub notifies whoever stands after an at sign, escaped or not; a joiner prevents it.
    return escaped.replace("@", "@\N{WORD JOINER}")


def _code(text: str) -> str:
    """Quote as code; a table cell ends at a bar even inside code, unless the bar is escaped."""
    text = plain(text).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"
