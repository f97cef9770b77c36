"""Scores of members and non-members, shown: on a console, and as a page that fetches nothing."""

import io
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safelight.record.membership import (
    ERROR,
    FEWEST_ALARMS,
    Compared,
    Rate,
    ScoresRecord,
    fine,
    leaking,
)
from safelight.record.record import Measurement
from safelight.reports import numbers
from safelight.reports.roc import draw
from safelight.reports.sentences import chip, plain
from safelight.reports.template import fill
from safelight.reports.terminal import WIDTH

_S = "\N{RIGHT SINGLE QUOTATION MARK}"

#: What holds whatever was found.
CAVEATS = (
    "Any difference between the two sets counts as a leak here. They must come from the same "
    "source, drawn at random, with no example or near copy of one in both.",
    "The verdict is on these scores. Whoever trains shadow models of your model (LiRA, RMIA) sees "
    "more than one loss or probability tells.",
    "An interval holds for examples that are independent of each other; several pictures of one "
    "person are not.",
)

_KINDS = {
    "loss": "losses, lower for members",
    "probability": "probabilities of the true class, higher for members",
    "score": "scores, higher for members",
}


@dataclass(frozen=True)
class Line:
    """One row of the table, as text; empty where a column has nothing to say."""

    name: str
    note: str
    value: str
    interval: str
    curve: str
    chance: str
    reach: str
    p: str
    precision: str
    leak: bool


def title(record: ScoresRecord) -> str:
    """Say the verdict in one sentence."""
    leaks = [rate for rate in record.rates if leaking(rate.compared)]
    if record.verdict.outcome == "LEAK" and leaks:
        worst = next((rate for rate in leaks if rate.fpr == 0.01), leaks[0])
        caught = _share(worst.compared.measurement)
        return (
            f"Your training set shows: {caught} of its members are caught at a false alarm rate of "
            f"{numbers.percent(worst.fpr)}."
        )
    if record.verdict.outcome == "LEAK":
        area = numbers.percent(record.auc.measurement.value or 0.0)
        return f"Your training set leaves a trace: members score higher in {area} of pairs."
    if record.verdict.outcome == "NO EVIDENCE":
        return "No evidence that these scores tell who was in the training set."
    return f"These scores cannot say whether the training set{_S}s members can be told."


def lead(record: ScoresRecord) -> str:
    """Say why, and what that does not mean."""
    reason = plain(record.verdict.reason)
    reason = reason[0].upper() + reason[1:] + "."
    if record.verdict.outcome == "NO EVIDENCE":
        return f"{reason} This clears these scores, and no others."
    if record.verdict.outcome == "INCONCLUSIVE":
        return f"{reason} That is not a clean result: mend the cause and run it again."
    return f"{reason} It is a leak if the two sets differ in nothing but membership."


def lines(record: ScoresRecord) -> list[Line]:
    """Return the rows of the table."""
    return [
        _line("AUC", "chance of ranking a pair right", record.auc),
        *(_rate(record, rate) for rate in record.rates),
        Line(
            name="Advantage",
            note="largest TPR less FPR, flattered by the choice of threshold",
            value=numbers.number(record.advantage.value, 3),
            interval=numbers.interval(record.advantage, 3),
            curve="",
            chance="0",
            reach="",
            p="",
            precision="",
            leak=False,
        ),
    ]


def text(record: ScoresRecord, width: int = WIDTH) -> str:
    """Render as plain text for a console of that many columns."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    heads = ("Measure", "Value", _level(record), "True curve", "Chance", "Shuffled", "p", "Right")
    for head in heads:
        table.add_column(head, justify="left" if head == "Measure" else "right", overflow="fold")
    for one in lines(record):
        cells = (one.value, one.interval, one.curve, one.chance, one.reach, one.p, one.precision)
        table.add_row(one.name, *cells)
    with console.capture() as captured:
        console.print(Text(chip(record.verdict.outcome, record.verdict.severity)))
        console.print(Text(title(record)))
        console.print(Text("\n" + lead(record)))
        console.print(table)
        for note in legend(record):
            console.print(Text(note))
        for control in record.controls:
            outcome = "passed" if control.passed else "FAILED"
            console.print(Text(f"Control, {control.name}: {outcome}, {control.detail}."))
        for caveat in CAVEATS:
            console.print(Text(f"- {caveat}"))
    return "\n".join(one.rstrip() for one in captured.get().splitlines()) + "\n"


def page(record: ScoresRecord) -> str:
    """Render as one self-contained HTML page."""
    return fill(
        "scores.html.j2",
        record=record,
        title=title(record),
        lead=lead(record),
        lines=lines(record),
        legend=legend(record),
        caveats=CAVEATS,
        level=_level(record),
        facts=_facts(record),
        origin=_origin(record),
        roc=draw(record),
        plain=plain,
    )


def legend(record: ScoresRecord) -> list[str]:
    """Explain the columns."""
    weak = [numbers.percent(rate.fpr) for rate in record.rates if not fine(rate)]
    notes = [
        f"{_level(record)}: exact at the threshold used, which was chosen on these non-members. "
        "True curve: allows for that choice as well.",
        f"Shuffled: the most that {record.shuffles:,} shuffles of the labels reach without "
        f"counting as a leak; a leakless pair of files is called a leak in at most "
        f"{numbers.percent(ERROR)} of cases, all tests together.",
        f"Right: how often a call is right where {numbers.percent(record.prior)} of those asked "
        "about are members.",
    ]
    if weak:
        notes.append(
            f"Fewer than {FEWEST_ALARMS} false alarms stand behind FPR {', '.join(weak)}: read "
            "the true curve there, or bring more non-members."
        )
    return notes


def _rate(record: ScoresRecord, rate: Rate) -> Line:
    curve = rate.compared.measurement.model_copy(
        update={"low": rate.curve_low, "high": rate.curve_high}
    )
    note = (
        f"{rate.false_alarms} of {record.nonmembers.count:,} non-members at or above the threshold"
    )
    return Line(
        name=f"TPR at {numbers.percent(rate.fpr)} FPR",
        note=note,
        value=_share(rate.compared.measurement),
        interval=_shares(rate.compared.measurement),
        curve=_shares(curve),
        chance=numbers.percent(rate.fpr),
        reach=f"{numbers.number(100 * rate.compared.reach, 2)}%",
        p=_p(rate.compared.p),
        precision=numbers.percent(rate.precision),
        leak=leaking(rate.compared),
    )


def _line(name: str, note: str, compared: Compared) -> Line:
    return Line(
        name=name,
        note=note,
        value=numbers.number(compared.measurement.value, 3),
        interval=numbers.interval(compared.measurement, 3),
        curve="",
        chance="0.5",
        reach=numbers.number(compared.reach, 3),
        p=_p(compared.p),
        precision="",
        leak=leaking(compared),
    )


def _share(measurement: Measurement) -> str:
    return f"{numbers.number(100 * (measurement.value or 0.0), 2)}%"


def _shares(measurement: Measurement) -> str:
    """Write the interval of a share in percent, to two decimals: 0.1 % is the chance of some."""
    low, high = 100 * (measurement.low or 0.0), 100 * (measurement.high or 0.0)
    return numbers.interval(measurement.model_copy(update={"low": low, "high": high}), 2) + "%"


def _p(value: float) -> str:
    return f"{value:.4f}"


def _level(record: ScoresRecord) -> str:
    return f"{numbers.percent(record.auc.measurement.level)} interval"


def _facts(record: ScoresRecord) -> list[tuple[str, str, str]]:
    members, others = record.members, record.nonmembers
    return [
        ("Members", f"{members.count:,}", plain(members.file)),
        ("Non-members", f"{others.count:,}", plain(others.file)),
        ("AUC", numbers.number(record.auc.measurement.value, 3), "chance 0.5"),
        ("Shuffles", f"{record.shuffles:,}", "of the labels"),
        ("Controls", _passed(record), "passed"),
    ]


def _passed(record: ScoresRecord) -> str:
    return f"{sum(one.passed for one in record.controls)} of {len(record.controls)}"


def _origin(record: ScoresRecord) -> list[tuple[str, str]]:
    files = (("members", record.members), ("non-members", record.nonmembers))
    rows = [
        (name, plain(f"{one.file}, column {one.column}, {one.count} scores, sha256 {one.sha256}"))
        for name, one in files
    ]
    rows.append(("read as", _KINDS[record.kind]))
    return [*rows, ("safelight", record.safelight), ("made", record.started)]
