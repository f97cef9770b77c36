"""An audit of a generator, shown: on a console, and as a page that fetches nothing."""

import io
import itertools
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safelight.record.generator import (
    GeneratorFinding,
    GeneratorRecord,
    extracting,
    load_generator_record,
)
from safelight.record.membership import ERROR, ScoresRecord
from safelight.record.record import Control, Measurement
from safelight.record.store import Run
from safelight.reports import numbers
from safelight.reports.evidence import Evidence
from safelight.reports.generator_pictures import made, views
from safelight.reports.membership import Check, _points
from safelight.reports.roc import Drawing, draw
from safelight.reports.sentences import chip, plain
from safelight.reports.template import fill
from safelight.reports.terminal import WIDTH

#: What holds whatever was found.
CAVEATS = (
    "Members and others must come from the same source. The control with pictures that nobody "
    "trained on looks for any other difference, and finds large ones only.",
    "A picture is judged by its pixels. A generator that shows a training face in another pose, or "
    "what only one person in the set has, is not seen by this.",
    "NO EVIDENCE is about these attacks with this many pictures of the generator, and about these "
    "candidates: a generator can know a few pictures by heart and forget the others.",
    "An interval holds for pictures that are independent; several of one person are not.",
)

#: What a search in w+ shows, and what it does not.
WIDE = (
    "w+ has a latent of its own for every layer and reconstructs nearly any picture, trained on or "
    "not. How good a reconstruction in w+ looks says nothing: only the difference between members "
    "and others counts."
)


@dataclass(frozen=True)
class Line:
    """One attack's row, as text; empty where there is nothing to say."""

    name: str
    note: str
    outcome: str
    kind: str
    auc: str
    auc_interval: str
    rates: list[tuple[str, str]]
    extracted: str
    extracted_interval: str
    falsely: str
    falsely_interval: str
    queries: str
    seconds: str
    reason: str


@dataclass(frozen=True)
class Plot:
    """The leading attack's curve, and the others' as (name, points, dashes)."""

    name: str
    roc: Drawing
    others: list[tuple[str, str, str]]


def title(record: GeneratorRecord) -> str:
    """Say the verdict in one sentence."""
    verdict, worst = record.verdict, leading(record)
    if verdict is None or verdict.outcome == "INCONCLUSIVE" or worst is None:
        return "This audit cannot say whether the generator remembers its training pictures."
    if verdict.outcome == "NO EVIDENCE":
        return "No evidence that the generator remembers which pictures it was trained on."
    if worst.found is not None and extracting(worst.found):
        return (
            f"The generator gives its training pictures away: {numbers.count(worst.found.members)} "
            "come out of it."
        )
    area = numbers.percent(_scores(worst).auc.measurement.value or 0)
    return f"The generator remembers its training pictures: members stand out in {area} of pairs."


def lead(record: GeneratorRecord) -> str:
    """Say why, and by which attack."""
    verdict, worst = record.verdict, leading(record)
    if verdict is None:
        return "The audit was not finished."
    reason = plain(verdict.reason)
    by = f" That is by {worst.attack}." if worst is not None and verdict.outcome == "LEAK" else ""
    return f"{reason[0].upper()}{reason[1:]}.{by}"


def leading(record: GeneratorRecord) -> GeneratorFinding | None:
    """Return the finding that carries the verdict: the worst of those that were run."""
    ran = _ranked(record)
    return ran[0] if ran else None


def lines(record: GeneratorRecord) -> list[Line]:
    """Return the rows of the table, in the record's order."""
    return [_line(one) for one in record.findings]


def page(run: Run, evidence: Evidence) -> str:
    """Render a run as one self-contained HTML page.

    Raises:
        RecordError: the record or a sheet of pictures cannot be read.
    """
    record = load_generator_record(run.folder)
    return fill(
        "generator.html.j2",
        record=record,
        title=title(record),
        lead=lead(record),
        facts=_facts(record),
        views=views(run, record, _ranked(record), evidence),
        made=made(run, record, evidence),
        plot=_plot(record),
        lines=lines(record),
        notes=notes(record),
        checks=checks(record),
        caveats=CAVEATS,
        origin=_origin(record),
        evidence=evidence,
        plain=plain,
    )


def text(record: GeneratorRecord, width: int = WIDTH) -> str:
    """Render as plain text for a console of that many columns."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    for head in ("Attack", "Verdict", "AUC", "at 1% FPR", "Extracted", "Falsely"):
        left, whole = head == "Attack", head == "Verdict"
        table.add_column(head, justify="left" if left else "right", overflow="fold", no_wrap=whole)
    for one in lines(record):
        at = "\n".join(one.rates[0]) if one.rates else ""
        name = f"{one.name}\n{one.note}" if one.note else one.name
        auc = f"{one.auc}\n{one.auc_interval}"
        table.add_row(name, one.outcome, auc, at, one.extracted, one.falsely)
    with console.capture() as captured:
        if record.verdict is not None:
            console.print(Text(chip(record.verdict.outcome, record.verdict.severity)))
        console.print(Text(title(record)))
        console.print(Text("\n" + lead(record)))
        console.print(table)
        for check in checks(record):
            outcome = "passed" if check.passed == check.total else "FAILED"
            told = f"{outcome} {check.passed} of {check.total}; {check.details[0]}"
            console.print(Text(f"Control, {check.name}: {told}."))
        for note in (*notes(record)[1:], *CAVEATS):
            console.print(Text(f"- {note}"))
    return "\n".join(one.rstrip() for one in captured.get().splitlines()) + "\n"


def notes(record: GeneratorRecord) -> list[str]:
    """Return what the columns mean; last, what a search in w+ shows, where there was one."""
    bars = [one.found.bar for one in record.findings if one.found]
    told = (
        "FPR: share of others that are called members. Intervals of the AUC and of what is "
        f"extracted hold together for all {record.tests} tests (95%). A generator without memory "
        f"is called a leak in at most {numbers.percent(ERROR)} of audits, all attacks together."
    )
    if bars:
        told += (
            " Extracted: a claim lies nearer to the picture than "
            f"{numbers.percent(bars[0])} of the claim's mean distance to its 50 nearest pictures "
            "that nobody trained on. Falsely: the same rule, on pictures never trained on."
        )
    wide = any(one.options.get("space") == "w+" and one.scores for one in record.findings)
    return [told, *([WIDE] if wide else [])]


def checks(record: GeneratorRecord) -> list[Check]:
    """Return what every control said over all attacks, those that failed anywhere first."""
    found: dict[str, list[tuple[str, Control]]] = {}
    for control in record.controls:
        found.setdefault(control.name, []).append(("", control))
    for one in record.findings:
        for control in one.controls + (one.scores.controls if one.scores else []):
            found.setdefault(control.name, []).append((f"{_named(one)}: ", control))
    result = []
    for name, said in found.items():
        passed = sum(control.passed for _, control in said)
        ordered = sorted(said, key=lambda pair: pair[1].passed)
        details = [attack + control.detail for attack, control in ordered]
        result.append(
            Check(name, said[0][1].question, passed, len(said), list(dict.fromkeys(details)))
        )
    return sorted(result, key=lambda one: one.passed - one.total)


def _ranked(record: GeneratorRecord) -> list[GeneratorFinding]:
    """Return the findings that were run, the one that carries the verdict first."""
    outcome = record.verdict.outcome if record.verdict else ""
    ran = [one for one in record.findings if one.scores is not None]
    return sorted(ran, key=lambda one: (one.verdict.outcome == outcome, one.strength), reverse=True)


def _scores(finding: GeneratorFinding) -> ScoresRecord:
    assert finding.scores is not None  # noqa: S101 - the caller asks for findings that were run
    return finding.scores


def _line(finding: GeneratorFinding) -> Line:
    kind = {"LEAK": "leak", "NO EVIDENCE": "clear"}.get(finding.verdict.outcome, "open")
    scores, found = finding.scores, finding.found
    rates = []
    for rate in scores.rates[1:] if scores else ():
        caught = rate.compared.measurement
        rates.append((_percent(caught), numbers.percent_interval(caught)))
    return Line(
        name=finding.attack,
        note=_options(finding),
        outcome="NOT RUN" if finding.skipped else finding.verdict.outcome,
        kind=kind,
        auc=numbers.number(scores.auc.measurement.value, 3) if scores else "",
        auc_interval=numbers.interval(scores.auc.measurement, 3) if scores else "",
        rates=rates,
        extracted=numbers.count(found.members) if found else "",
        extracted_interval=numbers.percent_interval(found.members) if found else "",
        falsely=numbers.count(found.others) if found else "",
        falsely_interval=numbers.percent_interval(found.others) if found else "",
        queries=f"{finding.queries:,}" if finding.queries else "",
        seconds=numbers.duration(finding.seconds) if scores else "",
        reason=plain(finding.verdict.reason),
    )


#: Options that tell two rows of the same attack apart; sizes stand in the record.
_TELLING = ("by", "guide", "space", "calibrate", "estimate", "kernel")


def _options(finding: GeneratorFinding) -> str:
    told = [finding.access]
    told += [f"{key} {finding.options[key]}" for key in _TELLING if key in finding.options]
    return ", ".join(told)


def _named(finding: GeneratorFinding) -> str:
    name = finding.attack.partition("/")[2] or finding.attack
    told = [str(finding.options[key]) for key in ("by", "guide", "space") if key in finding.options]
    return f"{name} ({', '.join(told)})" if told else name


def _percent(measurement: Measurement) -> str:
    return numbers.percent(measurement.value or 0.0)


def _plot(record: GeneratorRecord) -> Plot | None:
    ran = _ranked(record)
    if not ran:
        return None
    roc = draw(_scores(ran[0]))
    styles = itertools.cycle(("6 3", "2 3", "9 3 2 3", "1 4", "12 4"))
    others = [
        (_named(one), _points(roc, _scores(one).roc), style)
        for one, style in zip(ran[1:], styles, strict=False)
    ]
    return Plot(_named(ran[0]), roc, others)


def _facts(record: GeneratorRecord) -> list[tuple[str, str, str]]:
    target, controls = record.target, checks(record)
    n = len(record.member_labels)
    known = target.facts.get("n")
    whole = f"of {known:,} trained on" if isinstance(known, int) else "of the training set"
    passed = sum(one.passed == one.total for one in controls)
    made = sum(one.queries for one in record.findings)
    return [
        ("Generator", plain(target.name), f"{target.parameters:,} parameters"),
        ("Members", f"{n:,}", whole),
        ("Others", f"{len(record.other_labels):,}", "of the same source"),
        ("Pictures made", f"{made:,}", "by all attacks"),
        ("Controls", f"{passed} of {len(controls)}", "passed"),
        ("Time", numbers.duration(record.seconds), plain(record.provenance.machine)),
    ]


def _origin(record: GeneratorRecord) -> list[tuple[str, str]]:
    target, given = record.target, record.provenance
    rows = [
        ("generator", f"{target.name}, {target.parameters:,} parameters"),
        ("sha256 of the networks", target.weights_sha256),
        ("trained on", target.trained_on),
    ]
    rows += [
        (one.name, f"{one.count} pictures of {one.source}, sha256 {one.sha256[:16]}")
        for one in record.roles
    ]
    rows += [(f"{one.kind} {one.name}", one.summary) for one in record.components]
    rows += [("safelight", given.safelight), ("commit", given.commit)]
    rows += [("machine", given.machine), ("made", given.started)]
    rows.append(("took", numbers.duration(record.seconds)))
    return [(name, plain(value)) for name, value in rows if value]
