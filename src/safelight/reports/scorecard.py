"""Defenses beside each other, shown: on a console, and as a page that fetches nothing."""

import io
from dataclasses import dataclass, replace

from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safelight.record.record import Cell, Measurement, Record
from safelight.record.scorecard import LEAST_REMOVED, MOST_LOSS, ScorecardRecord
from safelight.record.scorecard import Row as Defended
from safelight.record.store import Run
from safelight.reports import numbers
from safelight.reports.evidence import Evidence
from safelight.reports.pictures import Row, Tile, cut_out, drawn
from safelight.reports.sentences import plain
from safelight.reports.template import fill
from safelight.reports.terminal import WIDTH
from safelight.reports.tradeoff import Across, Mark, draw

#: What holds whatever was found.
CAVEATS = (
    "A defense is as good as the best attack that was tried on it by somebody who knows it. A "
    "better attack may come; only what can be proved stays.",
    "What is removed is likeness. Who needs to know only one thing about a picture may still "
    "find it in the message.",
    "Each picture is sent once unless the plan says more. Noise and dropout are averaged out by "
    "who sees the same picture again: see safelight study repeats.",
    "The intervals are over pictures, not over trainings: a defense that is trained is one "
    "training here.",
)


@dataclass(frozen=True)
class Line:
    """One defense's row, as text; ``cells`` are (value, more), empty where nothing was measured."""

    name: str
    note: str
    outcome: str
    kind: str
    cells: list[tuple[str, str]]
    chosen: bool


def title(record: ScorecardRecord) -> str:
    """Say which to take."""
    advice = record.advice
    if advice.row is not None:
        return f"Take {plain(record.rows[advice.row].name)}."
    if advice.helps == "unneeded":
        return "Without a defense there is no evidence of a leak either."
    return "None of these defenses is worth its cost."


def lead(record: ScorecardRecord) -> str:
    """Say why."""
    reason = plain(record.advice.reason)
    return f"{reason[0].upper()}{reason[1:]}."


def lines(record: ScorecardRecord) -> list[Line]:
    """Return the rows of the table, in the record's order."""
    return [
        _line(number, one, number == record.advice.row) for number, one in enumerate(record.rows)
    ]


def text(record: ScorecardRecord, width: int = WIDTH) -> str:
    """Render as plain text for a console of that many columns."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("Defense")
    table.add_column("Verdict")
    for head in ("Gain", "Unaware", "Removed", "Named", "Lost"):
        table.add_column(head, justify="right", overflow="fold")
    for one in lines(record):
        gain, unaware, removed, named, _, lost, *_ = ("\n".join(pair) for pair in one.cells)
        name = one.name + (" <" if one.chosen else "")
        table.add_row(name, one.outcome, gain, unaware, removed, named, lost)
    with console.capture() as captured:
        console.print(Text(title(record)))
        console.print(Text("\n" + lead(record)))
        console.print(table)
        for note in legend(record):
            console.print(Text(note))
        for caveat in CAVEATS:
            console.print(Text(f"- {caveat}"))
    return "\n".join(one.rstrip() for one in captured.get().splitlines()) + "\n"


def page(run: Run, record: ScorecardRecord, evidence: Evidence) -> str:
    """Render as one self-contained HTML page; the pictures come from the audits' folders.

    Raises:
        RecordError: an audit of it, or its pictures, cannot be read.
    """
    shown = [] if evidence == "none" else _strips(run, record, evidence)
    return fill(
        "scorecard.html.j2",
        record=record,
        kind="leak" if record.advice.helps == "no" else "clear",
        title=title(record),
        lead=lead(record),
        strips=shown,
        lines=lines(record),
        legend=legend(record),
        bounds=[(plain(one.name), plain(one.bound)) for one in record.rows if one.bound],
        caveats=CAVEATS,
        facts=_facts(record),
        origin=_origin(record),
        tradeoff=_tradeoff(record),
        sensitive=(
            "It holds private pictures and what was rebuilt of them."
            if shown
            else "Its figures are of private pictures."
        ),
        plain=plain,
        number=numbers.number,
    )


def legend(record: ScorecardRecord) -> list[str]:
    """Explain the columns."""
    level = numbers.percent(record.rows[0].gain.level)
    return [
        f"Gain: mean SSIM over the best null, of the attack that gained most. Intervals are "
        f"{level}: all hold together with 95%. Removed: the share of the gain without a defense "
        "that is gone. Lost: accuracy, against no defense, picture by picture.",
        "Message: one as float32, deflated, and before that. Device: one picture through its part "
        "of the model and the defense, on the machine of the audit.",
        f"Recommended is what removes most, and surely {100 * LEAST_REMOVED:g}%, among what surely "
        f"loses at most {100 * MOST_LOSS:g} points of accuracy.",
    ]


def _line(number: int, one: Defended, chosen: bool) -> Line:
    kinds = {"LEAK": "leak", "NO EVIDENCE": "clear"}
    attack = one.attack.removeprefix("inversion/")
    front = "; not beaten in both by any" if one.front else ""
    size = numbers.count_of_bytes(one.sent_bytes), f"of {numbers.count_of_bytes(one.raw_bytes)}"
    named = one.named
    return Line(
        name=plain(one.name),
        note=f"by {plain(attack)}{front}",
        outcome=one.outcome,
        kind=kinds.get(one.outcome, "open"),
        cells=[
            (numbers.number(one.gain.value, 3, True), numbers.interval(one.gain, 3, True)),
            _signed(one.unaware),
            _share(one.removed) if number else ("", "the reference"),
            (numbers.count(named), numbers.percent_interval(named)),
            _share(one.accuracy),
            _share(one.loss) if number else ("", ""),
            size if one.sent_bytes is not None else ("", ""),
            (f"{one.milliseconds:.2f} ms", "") if one.milliseconds is not None else ("", ""),
        ],
        chosen=chosen,
    )


def _signed(measurement: Measurement | None) -> tuple[str, str]:
    if measurement is None:
        return "", ""
    return numbers.number(measurement.value, 3, True), numbers.interval(measurement, 3, True)


def _share(measurement: Measurement | None) -> tuple[str, str]:
    if measurement is None:
        return "", ""
    low, high = 100 * (measurement.low or 0.0), 100 * (measurement.high or 0.0)
    limits = numbers.interval(measurement.model_copy(update={"low": low, "high": high}), 1)
    return f"{numbers.number(100 * (measurement.value or 0.0), 1)}%", f"{limits}%"


def _strips(run: Run, record: ScorecardRecord, evidence: Evidence) -> list[Row]:
    """Cut the same victims out of every audit's sheets."""
    first = _audit(run, record.rows[0])
    victims = drawn(first)
    rows = [_strip(run, record.rows[0], first, victims, evidence)]
    for number, one in enumerate(record.rows):
        audit = _audit(run, one)
        cell = next(cell for cell in audit.cells if cell.finding == one.finding)
        row = _rebuilt(run, one, audit, cell, victims, evidence)
        if number == record.advice.row:
            row = replace(row, kind=f"{row.kind} chosen")
        rows.append(row)
    return [*rows, _null(run, record.rows[0], first, victims, evidence)]


def _audit(run: Run, one: Defended) -> Record:
    return Run(run.folder / one.run).load()


def _strip(run: Run, one: Defended, audit: Record, victims: list[int], evidence: Evidence) -> Row:
    uris = cut_out(Run(run.folder / one.run), audit, audit.victims_artifact, victims, evidence)
    tiles = [Tile(uri, f"Victim {number}", None) for number, uri in zip(victims, uris, strict=True)]
    return Row("victim", "Victim", "the private picture", tiles)


def _null(run: Run, one: Defended, audit: Record, victims: list[int], evidence: Evidence) -> Row:
    finding = next(other for other in audit.findings if other.id == one.finding)
    null = next(other for other in audit.baselines if other.name == finding.best_null)
    uris = cut_out(Run(run.folder / one.run), audit, null.artifact, victims, evidence)
    scores = (null.scores["ssim"][number] for number in victims)
    tiles = [
        Tile(uri, f"Victim {number}, the best null", ssim)
        for number, uri, ssim in zip(victims, uris, scores, strict=True)
    ]
    return Row("null", "Best null", plain(null.name), tiles)


def _rebuilt(
    run: Run, one: Defended, audit: Record, cell: Cell, victims: list[int], evidence: Evidence
) -> Row:
    uris = cut_out(Run(run.folder / one.run), audit, cell.artifact, victims, evidence)
    tiles = [
        Tile(uri, f"Victim {number}, rebuilt behind {one.defense or 'no defense'}", ssim)
        for number, uri, ssim in zip(
            victims, uris, (cell.scores["ssim"][number] for number in victims), strict=True
        )
    ]
    kind = "leak" if one.outcome == "LEAK" else "other"
    return Row(kind, plain(one.defense or "no defense"), plain(one.where), tiles)


def _tradeoff(record: ScorecardRecord) -> Markup:
    marks = [
        Mark(
            name=plain(_called(one, record)),
            leaks=_limits(one.gain),
            right=_limits(one.accuracy),
            wall=None,
            leak=one.outcome == "LEAK",
            chosen=number == record.advice.row,
            front=one.front,
        )
        for number, one in enumerate(record.rows)
        if one.accuracy is not None
    ]
    if not marks:
        return Markup("")
    said = "; ".join(
        f"{one.name}: {numbers.percent(one.right[0])} right, {one.leaks[0]:+.2f}" for one in marks
    )
    first = record.rows[0].accuracy
    guessing = (first.chance or 0.0) if first else 0.0
    spoken = f"Accuracy against SSIM over the best null. {said}"
    return draw(marks, Across.gain(marks), guessing, spoken)


def _called(one: Defended, record: ScorecardRecord) -> str:
    """Name a row as short as the record allows: options without brackets, the place if several."""
    name = (one.defense or "no defense").replace(" (", ", ").removesuffix(")")
    return name if len({row.where for row in record.rows}) == 1 else f"{one.where}: {name}"


def _limits(measurement: Measurement | None) -> tuple[float, float, float]:
    if measurement is None:
        return 0.0, 0.0, 0.0
    return measurement.value or 0.0, measurement.low or 0.0, measurement.high or 0.0


def _facts(record: ScorecardRecord) -> list[tuple[str, str, str]]:
    defenses = {one.run for one in record.rows[1:]}
    return [
        ("Defenses", str(len(defenses - {record.rows[0].run})), "each audited by itself"),
        ("Victims", f"{record.victims:,}", "the same behind every defense"),
        ("Others", f"{record.others:,}", "for accuracy, with the victims"),
        ("Seeds", str(record.seeds), "of each attack"),
    ]


def _origin(record: ScorecardRecord) -> list[tuple[str, str]]:
    rows = [("target", record.model)]
    rows += [(one.name, f"{one.run}/report.html") for one in record.rows]
    rows += [("safelight", record.safelight), ("machine", record.machine), ("made", record.started)]
    return [(plain(name), plain(value)) for name, value in rows if value]
