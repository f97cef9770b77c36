"""An audit of released weights, shown: on a console, and as a page that fetches nothing."""

import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safelight.record.extraction import (
    FALSE_DISCOVERIES,
    LEGACY_SSIM,
    ExtractionFinding,
    ExtractionRecord,
    leaking,
    load_extraction,
)
from safelight.record.membership import Compared
from safelight.record.record import SEVERITIES, Measurement
from safelight.record.store import Run
from safelight.reports import numbers
from safelight.reports.evidence import Evidence
from safelight.reports.extraction_pictures import views
from safelight.reports.roc import Drawing, Mark, Tick
from safelight.reports.sentences import chip, differing, plain
from safelight.reports.template import fill
from safelight.reports.terminal import WIDTH

#: What holds whatever was found.
CAVEATS = (
    "NO EVIDENCE means that these attacks, which find a planted training set, found nothing. It is "
    "no proof: who knows more of the training, or of such pictures, may do better.",
    "Members and others must come from the same source, drawn at random, without near copies of "
    "one in the other: any difference between the two counts as a leak.",
    "A candidate is judged by its pixels. An attack that shows the class of a picture, or a face "
    "without its pose, is not seen by it.",
)


@dataclass(frozen=True)
class Line:
    """One row of the table, as text; empty where there is nothing to say.

    ``reach`` and ``p`` are of the number extracted and of the AUC.
    """

    attack: str
    note: str
    outcome: str
    kind: str
    auc: str
    auc_interval: str
    extracted: str
    extracted_interval: str
    reach: tuple[str, ...]
    p: tuple[str, ...]
    coverage: str
    ssim: str
    rule: str
    seconds: str
    why: str


def title(record: ExtractionRecord) -> str:
    """Say the verdict in one sentence."""
    lead, verdict = leading(record), record.verdict
    if verdict is None:
        return "This audit is not finished."
    if verdict.outcome == "LEAK" and lead and lead.extracted and leaking(lead.extracted):
        had = _kept(numbers.count(lead.extracted.measurement, whole=True))
        scored = " that were scored" if partly(record) else ""
        return f"Your training set is in the weights: {had} pictures{scored} were read out of them."
    if verdict.outcome == "LEAK":
        return "Your weights tell training pictures from others, though no picture was read out."
    if verdict.outcome == "NO EVIDENCE":
        return "No evidence that training pictures can be read out of these weights."
    return "This audit cannot say whether the training set can be read out of the weights."


def lead_text(record: ExtractionRecord) -> str:
    """Say why, and what that does not mean."""
    if record.verdict is None:
        return "Continue it with --resume; what is below is not judged."
    reason = plain(record.verdict.reason)
    reason = reason[0].upper() + reason[1:] + "."
    if record.verdict.outcome == "NO EVIDENCE":
        return f"{reason} This clears these attacks on these weights, and no others."
    if record.verdict.outcome == "INCONCLUSIVE":
        return f"{reason} That is not a clean result: mend the cause and run it again."
    return f"{reason} Whoever has the file has them; taking it down does not take them back."


def leading(record: ExtractionRecord) -> ExtractionFinding | None:
    """Return the finding to lead with: the most severe, then the one with most extracted."""
    ran = [one for one in record.findings if one.auc and one.extracted]

    def order(one: ExtractionFinding) -> tuple[int, float]:
        had = one.extracted.measurement.value if one.extracted else 0.0
        return SEVERITIES.index(one.verdict.severity), had or 0.0

    return max(ran, key=order) if ran else None


def lines(record: ExtractionRecord) -> list[Line]:
    """Return the rows of the table, one a finding."""
    return [_line(record, one) for one in record.findings]


def text(run: Run, width: int = WIDTH) -> str:
    """Render as plain text for a console of that many columns.

    Raises:
        RecordError: the record cannot be read.
    """
    record = load_extraction(run.folder)
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    for head in ("Attack", "Verdict", "Extracted", "AUC", "Coverage", "Time"):
        table.add_column(head, justify="left" if head == "Attack" else "right", overflow="fold")
    for one in lines(record):
        table.add_row(
            Text(f"{one.attack}\n{one.note}".strip()),
            Text(one.outcome + (f"\n{one.why}" if one.why else "")),
            Text(f"{one.extracted}\n{one.extracted_interval}".strip()),
            Text(f"{one.auc}\n{one.auc_interval}".strip()),
            Text(one.coverage),
            Text(one.seconds),
        )
    with console.capture() as captured:
        if record.verdict:
            console.print(Text(chip(record.verdict.outcome, record.verdict.severity)))
        console.print(Text(title(record)))
        console.print(Text("\n" + lead_text(record)))
        console.print(table)
        for note in [*legend(record), *map(_told, searched(record))]:
            console.print(Text(note))
        for finding in record.findings:
            for control in finding.controls:
                outcome = "passed" if control.passed else "FAILED"
                about = f"{_named(record, finding)}, {control.name}"
                console.print(Text(f"Control, {about}: {outcome}, {plain(control.detail)}."))
    return "\n".join(one.rstrip() for one in captured.get().splitlines()) + "\n"


def page(run: Run, evidence: Evidence) -> str:
    """Render as one self-contained HTML page.

    Raises:
        RecordError: the record or one of its contact sheets cannot be read.
    """
    record = load_extraction(run.folder)
    lead = leading(record)
    return fill(
        "extraction.html.j2",
        number=numbers.number,
        plain=plain,
        record=record,
        title=title(record),
        lead=lead_text(record),
        views=views(run, record, evidence),
        evidence=evidence,
        crisp=max(record.image_shape[1:]) <= 64 or evidence == "blurred",
        lines=lines(record),
        legend=legend(record),
        caveats=CAVEATS,
        facts=_facts(record),
        origin=_origin(run, record),
        leading=lead,
        roc=draw(lead) if lead else None,
        budgets=(budgets := _budgets(record, lead)),
        curve=best_of(budgets),
        searched=searched(record),
        controls=[
            (_named(record, one), control) for one in record.findings for control in one.controls
        ],
    )


def legend(record: ExtractionRecord) -> list[str]:
    """Explain the columns."""
    n = len(record.member_labels)
    scored = (
        f"Scored: {n:,} of {record.trained_on:,} training pictures, drawn at random, of each class "
        "as many as are held out. All numbers are of these."
    )
    return [
        *([scored] if partly(record) else []),
        f"Extracted: training pictures nearer to a candidate than {n:,} held-out pictures are, at "
        f"{numbers.percent(FALSE_DISCOVERIES)} false discoveries; the held-out ones set the "
        "threshold. AUC: how often a training picture is nearer to a candidate than a held-out "
        "one; chance is 0.5.",
        f"Shuffled: the most that {record.shuffles:,} shuffles of membership reach without "
        "counting as a leak. Coverage: share of the training pictures that are nearest to some "
        "candidate.",
        f"SSIM {LEGACY_SSIM:g} rule: what the literature counts as reconstructed after one-to-one "
        "matching, beside the same count on pictures that were never trained on, its null.",
    ]


def partly(record: ExtractionRecord) -> bool:
    """Whether only a part of the training set was scored."""
    return record.trained_on > len(record.member_labels)


def draw(finding: ExtractionFinding) -> Drawing:
    """Lay out the ROC curve of a finding on even axes: at 100 pictures no decade is empty."""
    left, top, right, floor = 48.0, 26.0, 388.0, 328.0

    def x(share: float) -> float:
        return left + (right - left) * share

    def y(share: float) -> float:
        return floor - (floor - top) * share

    marks = []
    if finding.extracted is not None:
        had = finding.extracted
        low, value, high = (
            one or 0.0 for one in (had.measurement.low, had.measurement.value, had.measurement.high)
        )
        kind = "leak" if leaking(had) else "other"
        marks.append(Mark(x(0.0), y(value), y(low), y(high), y(had.reach), kind))
    return Drawing(
        width=400.0,
        height=372.0,
        left=left,
        top=top,
        right=right,
        floor=floor,
        ticks=[Tick(x(one / 4), y(one / 4), f"{25 * one}%") for one in range(5)],
        trace=" ".join(f"{x(fpr):.1f},{y(tpr):.1f}" for fpr, tpr in finding.roc),
        marks=marks,
        spoken=f"ROC curve of {finding.attack}: AUC {_value(finding.auc, 2)}",
    )


def best_of(budgets: Sequence[tuple[int, float]]) -> str:
    """Lay out AUC against the logarithm of the number of candidates, as points of a polyline."""
    most = math.log2(max((size for size, _ in budgets), default=2)) or 1.0
    return " ".join(
        f"{8 + 224 * math.log2(size) / most:.1f},{88 - 80 * area:.1f}" for size, area in budgets
    )


def searched(record: ExtractionRecord) -> list[ExtractionFinding]:
    """Return the findings whose options were chosen on shadow models."""
    return [one for one in record.findings if one.searched is not None]


def _told(finding: ExtractionFinding) -> str:
    """Say how the options of an attack were chosen."""
    how = finding.searched
    if how is None:
        return ""
    falling = sorted(how.importance.items(), key=lambda one: -one[1])
    mattered = ", ".join(f"{name} {numbers.percent(share)}" for name, share in falling)
    return (
        f"Options of {finding.attack}: the best of {how.trials} trials on {how.shadows} shadow "
        f"models that learned public pictures by heart (AUC there "
        f"{numbers.number(how.auc, 2)}); the audited model was not looked at."
        + (f" What mattered: {mattered}." if mattered else "")
    )


def _line(record: ExtractionRecord, finding: ExtractionFinding) -> Line:
    verdict, had, area = finding.verdict, finding.extracted, finding.auc
    known = "" if finding.threat_options.get("knows") == "weights" else "knows the initialization"
    options = [known, *_apart(record, finding), "a limit of the model" if finding.skipped else ""]
    kind = {"LEAK": "leak", "NO EVIDENCE": "clear"}.get(verdict.outcome, "open")
    why = plain(verdict.reason) if verdict.outcome == "INCONCLUSIVE" else ""
    shown = finding.measurements
    rule = ""
    if "ssim rule" in shown:
        own, others = (shown[name].value or 0.0 for name in ("ssim rule", "ssim rule on others"))
        rule = f"{numbers.percent(own)} beside {numbers.percent(others)}"
    return Line(
        attack=plain(finding.attack),
        note=plain(", ".join(one for one in options if one)),
        outcome=chip(verdict.outcome, verdict.severity),
        kind=kind,
        auc=_value(area, 3),
        auc_interval=numbers.interval(area.measurement, 3) if area else "",
        extracted=numbers.count(had.measurement) if had else "",
        extracted_interval=numbers.percent_interval(had.measurement) if had else "",
        reach=(str(round(had.reach * had.measurement.n)), f"{area.reach:.3f}")
        if had and area
        else (),
        p=(f"{had.p:.4f}", f"{area.p:.4f}") if had and area else (),
        coverage=_share(shown.get("coverage")),
        ssim=_pair(shown.get("ssim of members"), shown.get("ssim of others")),
        rule=rule,
        seconds=numbers.duration(finding.seconds) if area else "",
        why=why,
    )


def _apart(record: ExtractionRecord, finding: ExtractionFinding) -> list[str]:
    alike = [one.attack_options for one in record.findings if one.attack == finding.attack]
    return differing(finding.attack_options, alike)


def _named(record: ExtractionRecord, finding: ExtractionFinding) -> str:
    told = ", ".join(_apart(record, finding))
    return f"{finding.attack} ({told})" if told else finding.attack


def _value(tested: Compared | None, digits: int) -> str:
    return numbers.number(tested.measurement.value, digits) if tested else ""


def _share(measurement: Measurement | None) -> str:
    return numbers.percent(measurement.value or 0.0) if measurement else ""


def _pair(own: Measurement | None, others: Measurement | None) -> str:
    if own is None or others is None:
        return ""
    return f"{numbers.number(own.value, 2)} beside {numbers.number(others.value, 2)}"


def _kept(words: str) -> str:
    """Keep "63 of 100" on one line: after "63 of" it reads as another number."""
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def _budgets(
    record: ExtractionRecord, lead: ExtractionFinding | None
) -> Sequence[tuple[int, float]]:
    if lead is None:
        return []
    cell = next(one for one in record.cells if one.finding == lead.id and one.budgets)
    return cell.budgets


def _facts(record: ExtractionRecord) -> list[tuple[str, str, str]]:
    target, controls = record.target, [one for each in record.findings for one in each.controls]
    right = target.accuracy.value if target.accuracy else None
    known = target.facts.get("training accuracy")
    n = len(record.member_labels)
    about = [f"{n:,} of them scored"] if partly(record) else []
    if isinstance(known, float):
        about.append(f"{numbers.percent(known)} right in training")
    seeds = sorted({cell.seed for cell in record.cells})
    return [
        ("Target", plain(target.name), f"{target.parameters:,} parameters"),
        ("Training set", f"{record.trained_on:,} pictures", ", ".join(about)),
        ("Held out", f"{n:,} pictures", f"{numbers.percent(right or 0)} right"),
        ("Seeds", str(len(seeds)), ", ".join(str(one) for one in seeds)),
        ("Controls", f"{sum(one.passed for one in controls)} of {len(controls)}", "passed"),
        ("Time", numbers.duration(record.seconds), plain(record.provenance.machine)),
    ]


def _origin(run: Run, record: ExtractionRecord) -> list[tuple[str, str]]:
    made, target = record.provenance, record.target
    packages = ", ".join(f"{name} {version}" for name, version in made.packages.items())
    content = run.record_file.read_bytes()
    rows = [
        ("sha256 of the record", hashlib.sha256(content).hexdigest()),
        ("sha256 of the weights", target.weights_sha256),
        ("target trained on", target.trained_on),
        ("target's facts", json.dumps(target.facts)),
    ]
    rows += [
        (role.name, f"{role.count} of {role.source}, sha256 {role.sha256}") for role in record.roles
    ]
    rows += [
        (f"{one.kind} {one.name}", f"{one.summary} {json.dumps(one.options)}")
        for one in record.components
    ]
    rows += [
        ("safelight", made.safelight + (f", commit {made.commit}" if made.commit else "")),
        ("Python", f"{made.python}; {packages}"),
        ("machine", f"{made.machine}; device {made.device}"),
        ("started", made.started),
    ]
    return [(plain(what), plain(value)) for what, value in rows]
