"""An audit of membership, shown: on a console, and as a page that fetches nothing."""

import io
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safelight.record.membership import ERROR, ScoresRecord, leaking
from safelight.record.membership_audit import (
    AttackFinding,
    MembershipRecord,
    load_membership_record,
)
from safelight.record.record import Control, Measurement
from safelight.record.store import Run
from safelight.reports import numbers
from safelight.reports.evidence import Evidence
from safelight.reports.exposed import tiles
from safelight.reports.roc import Drawing, draw
from safelight.reports.sentences import chip, plain
from safelight.reports.template import fill
from safelight.reports.terminal import WIDTH

#: What holds whatever was found.
CAVEATS = (
    "Members and others must come from the same source. The control with models that saw neither "
    "looks for any other difference, and finds large ones only.",
    "Shadow models draw their first weights by each layer's own rule. If the target's were chosen "
    "otherwise, its attacker knows better than this audit.",
    "NO EVIDENCE is about these attacks with this many shadow models; a promise needs training "
    "with differential privacy.",
    "An interval holds for pictures that are independent; several of one person are not.",
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
    rates: list[tuple[str, str, bool]]
    calls: str
    reason: str


@dataclass(frozen=True)
class Check:
    """What one control said over all attacks."""

    name: str
    question: str
    passed: int
    total: int
    details: list[str]


@dataclass(frozen=True)
class Plot:
    """The leading attack's curve as drawn by ``roc``, the others', and what is promised.

    All are points of SVG polylines; ``region`` is the border above which nobody can be.
    """

    roc: Drawing
    others: list[tuple[str, str, str]]
    region: str
    gaussian: str


def title(record: MembershipRecord) -> str:
    """Say the verdict in one sentence."""
    verdict, worst = record.verdict, leading(record)
    if verdict is None or verdict.outcome == "INCONCLUSIVE" or worst is None:
        return "This audit cannot say whether the training set can be told."
    if verdict.outcome == "NO EVIDENCE":
        return "No evidence that anyone can tell which pictures the model was trained on."
    scores = _scores(worst)
    leaks = [rate for rate in scores.rates if leaking(rate.compared)]
    if not leaks:
        area = numbers.percent(scores.auc.measurement.value or 0)
        return (
            f"The model leaves a trace of its training set: members stand out in {area} of pairs."
        )
    rate = next((one for one in leaks if one.fpr == 0.01), leaks[0])
    caught = numbers.number(100 * (rate.compared.measurement.value or 0), 1)
    return (
        f"The model shows its training set: {caught}% of the pictures in it are told at a false "
        f"alarm rate of {numbers.percent(rate.fpr)}."
    )


def lead(record: MembershipRecord) -> str:
    """Say why, and what that does not mean."""
    verdict, worst = record.verdict, leading(record)
    if verdict is None:
        return "The audit was not finished."
    reason = plain(verdict.reason)
    told = f"{reason[0].upper()}{reason[1:]}."
    by = f" That is by {worst.attack}." if worst is not None and verdict.outcome == "LEAK" else ""
    if record.privacy is None:
        promise = " Nothing is promised: the training was not differentially private."
    else:
        promise = (
            f" The training promises epsilon {record.privacy.epsilon:.3g} at delta "
            f"{record.privacy.delta:g}."
        )
    return told + by + promise


def leading(record: MembershipRecord) -> AttackFinding | None:
    """Return the finding that carries the verdict: the worst of those that were run."""
    ran = [one for one in record.findings if one.scores is not None]
    if not ran:
        return None
    outcome = record.verdict.outcome if record.verdict else ""
    return max(ran, key=lambda one: (one.verdict.outcome == outcome, one.strength))


def lines(record: MembershipRecord) -> list[Line]:
    """Return the rows of the table, in the record's order."""
    return [_line(one) for one in record.findings]


def page(run: Run, evidence: Evidence) -> str:
    """Render a run as one self-contained HTML page.

    Raises:
        RecordError: the record or its sheet of pictures cannot be read.
    """
    record = load_membership_record(run.folder)
    worst = leading(record)
    return fill(
        "membership.html.j2",
        record=record,
        title=title(record),
        lead=lead(record),
        lines=lines(record),
        facts=_facts(record),
        leading=worst,
        plot=_plot(record, worst) if worst else None,
        tiles=tiles(run, record, worst, evidence) if worst else [],
        evidence=evidence,
        checks=checks(record),
        caveats=CAVEATS,
        error=numbers.percent(ERROR),
        origin=_origin(record),
        plain=plain,
    )


def text(record: MembershipRecord, width: int = WIDTH) -> str:
    """Render as plain text for a console of that many columns."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    for head in ("Attack", "Verdict", "AUC", "at 0.1%", "at 1% FPR", "at 10%", "Calls"):
        left, whole = head == "Attack", head == "Verdict"
        table.add_column(head, justify="left" if left else "right", overflow="fold", no_wrap=whole)
    for one in lines(record):
        rates = [f"{value}\n{interval}" for value, interval, _ in one.rates] or ["", "", ""]
        name = f"{one.name}\n{one.note}" if one.note else one.name
        table.add_row(name, one.outcome, f"{one.auc}\n{one.auc_interval}", *rates, one.calls)
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
        for caveat in CAVEATS:
            console.print(Text(f"- {caveat}"))
    return "\n".join(one.rstrip() for one in captured.get().splitlines()) + "\n"


def _scores(finding: AttackFinding) -> ScoresRecord:
    assert finding.scores is not None  # noqa: S101 - the caller asks for findings that were run
    return finding.scores


def _line(finding: AttackFinding) -> Line:
    kind = {"LEAK": "leak", "NO EVIDENCE": "clear"}.get(finding.verdict.outcome, "open")
    scores, calls = finding.scores, finding.calls
    rates = []
    for rate in scores.rates if scores else ():
        found = rate.compared.measurement
        value = f"{numbers.number(100 * (found.value or 0), 1)}%"
        rates.append((value, _shares(found), leaking(rate.compared)))
    said = ""
    if calls is not None:
        three = (calls.accuracy, calls.precision, calls.recall)
        said = " / ".join(
            "none" if one.value is None else f"{100 * one.value:.0f}" for one in three
        )
    return Line(
        name=finding.attack.removeprefix("membership/"),
        note=_options(finding),
        outcome="NOT RUN" if finding.skipped else finding.verdict.outcome,
        kind=kind,
        auc=numbers.number(scores.auc.measurement.value, 3) if scores else "",
        auc_interval=numbers.interval(scores.auc.measurement, 3) if scores else "",
        rates=rates,
        calls=said,
        reason=plain(finding.verdict.reason),
    )


def _options(finding: AttackFinding) -> str:
    return ", ".join(f"{key} {_told(value)}" for key, value in finding.options.items())


def _told(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _shares(measurement: Measurement) -> str:
    low, high = 100 * (measurement.low or 0.0), 100 * (measurement.high or 0.0)
    return numbers.interval(measurement.model_copy(update={"low": low, "high": high}), 1) + "%"


def checks(record: MembershipRecord) -> list[Check]:
    """Return what every control said over all attacks, those that failed anywhere first."""
    found: dict[str, list[tuple[str, Control]]] = {}
    for control in record.controls:
        found.setdefault(control.name, []).append(("", control))
    for one in record.findings:
        own = [*one.controls, *([one.within] if one.within else [])]
        for control in own + (one.scores.controls if one.scores else []):
            by = one.attack.removeprefix("membership/") + ": "
            found.setdefault(control.name, []).append((by, control))
    result = []
    for name, said in found.items():
        passed = sum(control.passed for _, control in said)
        ordered = sorted(said, key=lambda pair: pair[1].passed)
        details = [attack + control.detail for attack, control in ordered]
        question = said[0][1].question
        result.append(Check(name, question, passed, len(said), list(dict.fromkeys(details))))
    return sorted(result, key=lambda one: one.passed - one.total)


def _facts(record: MembershipRecord) -> list[tuple[str, str, str]]:
    sizes = {one.name: one.count for one in record.roles}
    privacy = record.privacy
    controls = checks(record)
    return [
        ("Members", f"{sizes.get('private', 0):,}", "the training set"),
        ("Non-members", f"{sizes.get('holdout', 0):,}", "of the same source"),
        ("Right on members", _percent(record.train_accuracy), "of the target"),
        ("Right on others", _percent(record.test_accuracy), "of the target"),
        (
            "Promise",
            f"ε = {privacy.epsilon:.3g}" if privacy else "none",
            f"δ = {privacy.delta:g}, {privacy.accountant}" if privacy else "not private training",
        ),
        ("Controls", _passed(controls), "passed"),
    ]


def _passed(controls: list[Check]) -> str:
    return f"{sum(one.passed == one.total for one in controls)} of {len(controls)}"


def _percent(measurement: Measurement) -> str:
    return numbers.percent(measurement.value or 0.0)


def _plot(record: MembershipRecord, worst: AttackFinding) -> Plot:
    roc = draw(_scores(worst))
    styles = ("6 3", "2 3", "9 3 2 3", "1 4", "12 4")
    beside = [one for one in record.findings if one.scores is not None and one is not worst]
    named = [one.attack.removeprefix("membership/") for one in record.findings]
    others = []
    for one, style in zip(beside, itertools.cycle(styles), strict=False):
        name = one.attack.removeprefix("membership/")
        apart = f" ({_options(one)})" if named.count(name) > 1 else ""
        others.append((name + apart, _points(roc, _scores(one).roc), style))
    privacy = record.privacy
    return Plot(
        roc=roc,
        others=others,
        region=_points(roc, privacy.region) if privacy else "",
        gaussian=_points(roc, privacy.gaussian) if privacy else "",
    )


def _points(roc: Drawing, curve: Iterable[tuple[float, float]]) -> str:
    """Place a curve on the logarithmic axes of a drawing, which has a tick a decade."""
    decades = len(roc.ticks) - 1

    def along(share: float) -> float:
        return 1 + math.log10(max(share, 10.0**-decades)) / decades

    wide, high = roc.right - roc.left, roc.floor - roc.top
    return " ".join(
        f"{roc.left + wide * along(x):.1f},{roc.floor - high * along(y):.1f}" for x, y in curve
    )


def _origin(record: MembershipRecord) -> list[tuple[str, str]]:
    target, privacy = record.target, record.privacy
    rows = [
        (
            "target",
            f"{target.name}, {target.parameters:,} parameters, sha256 of its weights "
            f"{target.weights_sha256[:16]}",
        ),
        ("trained on", target.trained_on),
    ]
    rows += [
        (one.name, f"{one.count} pictures of {one.source}, sha256 {one.sha256[:16]}")
        for one in record.roles
    ]
    if privacy is not None:
        rows.append(
            (
                "promise",
                f"epsilon {privacy.epsilon:.4g}, delta {privacy.delta:g}; sampling "
                f"{privacy.sampling}; accountant {privacy.accountant}; {privacy.neighbors}",
            )
        )
    rows += [("safelight", record.provenance.safelight), ("commit", record.provenance.commit)]
    rows += [("machine", record.provenance.machine), ("made", record.provenance.started)]
    rows.append(("took", numbers.duration(record.seconds)))
    return [(name, plain(value)) for name, value in rows if value]
