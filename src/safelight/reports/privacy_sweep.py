"""A sweep of privacy, shown: on a console, and as a page that fetches nothing."""

import io
from dataclasses import dataclass

from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safelight.record.privacy_sweep import FPR, Leakage, Point, SweepRecord
from safelight.record.record import Measurement
from safelight.reports import charts, numbers
from safelight.reports.sentences import plain
from safelight.reports.template import fill
from safelight.reports.terminal import WIDTH
from safelight.reports.tradeoff import Across, Mark, draw

#: What holds whatever was found.
CAVEATS = (
    "NO EVIDENCE is about these attacks. What epsilon promises holds against every attack, and "
    "stands beside it.",
    "Epsilon counts one training. Choosing one on the same pictures, by this sweep or by hand, is "
    "not counted in it; nor is publishing this page.",
    "The recipe of private training is taken as it is given. A better one may keep more at the "
    "same epsilon: learning rate, batch, clipping and epochs matter much.",
    "Epsilon is for one picture added or removed. Who is in several pictures is promised less.",
    "One target and one seed each: intervals are over pictures, not over trainings.",
)

_TITLES = {
    "no": "None of these epsilons helps.",
    "unneeded": "Without privacy there is no evidence of a leak either.",
    "unknown": "None of these epsilons is known to help.",
}


@dataclass(frozen=True)
class Line:
    """One training's row, as text; empty where there is nothing to say."""

    name: str
    note: str
    outcome: str
    kind: str
    right: str
    right_interval: str
    caught: str
    caught_interval: str
    caught_limit: str
    auc: str
    auc_interval: str
    auc_limit: str
    chosen: bool
    run: str


def title(record: SweepRecord) -> str:
    """Say whether it helps."""
    advice = record.advice
    if advice.epsilon is None:
        return _TITLES[advice.helps]
    if advice.helps == "yes":
        return f"It helps: take epsilon {advice.epsilon:g}."
    return f"Take epsilon {advice.epsilon:g}; that the model leaks without it was not shown."


def lead(record: SweepRecord) -> str:
    """Say why."""
    reason = plain(record.advice.reason)
    return f"{reason[0].upper()}{reason[1:]}."


def lines(record: SweepRecord) -> list[Line]:
    """Return the rows of the table, in the record's order."""
    return [_row(one, record) for one in record.points]


def text(record: SweepRecord, width: int = WIDTH) -> str:
    """Render as plain text for a console of that many columns."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("Epsilon")
    table.add_column("Verdict")
    for head in ("Right on others", "Caught at 1% FPR", "at most", "AUC", "at most"):
        table.add_column(head, justify="right", overflow="fold")
    for one in lines(record):
        table.add_row(
            one.name + (" <" if one.chosen else ""),
            one.outcome,
            f"{one.right}\n{one.right_interval}",
            f"{one.caught}\n{one.caught_interval}",
            one.caught_limit,
            f"{one.auc}\n{one.auc_interval}",
            one.auc_limit,
        )
    with console.capture() as captured:
        console.print(Text(title(record)))
        console.print(Text("\n" + lead(record)))
        console.print(table)
        for note in legend(record):
            console.print(Text(note))
        for caveat in CAVEATS:
            console.print(Text(f"- {caveat}"))
    return "\n".join(one.rstrip() for one in captured.get().splitlines()) + "\n"


def page(record: SweepRecord) -> str:
    """Render as one self-contained HTML page."""
    return fill(
        "privacy_sweep.html.j2",
        record=record,
        title=title(record),
        lead=lead(record),
        lines=lines(record),
        legend=legend(record),
        caveats=CAVEATS,
        facts=_facts(record),
        origin=_origin(record),
        tradeoff=_tradeoff(record),
        curves=_curves(record),
        plain=plain,
    )


def legend(record: SweepRecord) -> list[str]:
    """Explain the columns."""
    tries = max(one.attacks for one in record.points)
    attacks = "the attack" if tries == 1 else f"the highest of {tries} attacks"
    corrected = "" if tries == 1 else ", corrected for their number"
    return [
        f"Right on others: accuracy on {record.others:,} pictures that were not trained on. Caught "
        f"and AUC: {attacks}, with 95% intervals{corrected}.",
        "At most: what the training promises against any attack, by all pairs of epsilon and delta "
        "that the accountant gives for it.",
    ]


def _row(one: Point, record: SweepRecord) -> Line:
    caught, auc, promise = one.tpr, one.auc, one.promise
    by = sorted(
        {leakage.attack.removeprefix("membership/") for leakage in (caught, auc) if leakage}
    )
    note = f"\N{GREEK SMALL LETTER DELTA} = {promise.delta:g}" if promise else "plain training"
    kinds = {"LEAK": "leak", "NO EVIDENCE": "clear"}
    return Line(
        name=one.name,
        note=f"{note}; by {' and '.join(by)}" if by else note,
        outcome=one.verdict.outcome,
        kind=kinds.get(one.verdict.outcome, "open"),
        right=numbers.percent(one.utility.value or 0.0),
        right_interval=_shares(one.utility),
        caught=_share(caught),
        caught_interval=_shares(caught.measurement) if caught else "",
        caught_limit=f"{numbers.number(100 * promise.tpr, 1)}%" if promise else "",
        auc=numbers.number(auc.measurement.value, 3) if auc else "",
        auc_interval=numbers.interval(auc.measurement, 3) if auc else "",
        auc_limit=numbers.number(promise.auc, 3) if promise else "",
        chosen=one.epsilon is not None and one.epsilon == record.advice.epsilon,
        run=one.run,
    )


def _share(leakage: Leakage | None) -> str:
    return f"{numbers.number(100 * (leakage.measurement.value or 0.0), 1)}%" if leakage else ""


def _shares(measurement: Measurement) -> str:
    low, high = 100 * (measurement.low or 0.0), 100 * (measurement.high or 0.0)
    return numbers.interval(measurement.model_copy(update={"low": low, "high": high}), 1) + "%"


def _limits(measurement: Measurement) -> tuple[float, float, float]:
    return measurement.value or 0.0, measurement.low or 0.0, measurement.high or 0.0


def _tradeoff(record: SweepRecord) -> Markup:
    marks = [
        Mark(
            name="no privacy" if one.epsilon is None else f"ε = {one.name}",
            leaks=_limits(one.tpr.measurement),
            right=_limits(one.utility),
            wall=one.promise.tpr if one.promise else None,
            leak=one.verdict.outcome == "LEAK",
            chosen=one.epsilon is not None and one.epsilon == record.advice.epsilon,
        )
        for one in record.points
        if one.tpr is not None
    ]
    if not marks:
        return Markup("")
    said = "; ".join(
        f"{one.name}: {numbers.percent(one.right[0])} right, {numbers.percent(one.leaks[0])} caught"
        for one in marks
    )
    guessing = record.points[0].utility.chance or 0.0
    return draw(
        marks, Across.members(FPR), guessing, f"Accuracy against members caught at 1% FPR. {said}"
    )


def _curves(record: SweepRecord) -> list[tuple[str, Markup]]:
    """Draw accuracy and AUC over epsilon."""
    points, places = record.points, [one.name for one in record.points]
    right = [_placed(one, one.utility) for one in points]
    told = [_placed(one, one.auc.measurement) for one in points if one.auc]
    promised = [
        charts.Point(one.name, one.promise.auc, one.promise.auc, one.promise.auc, False)
        for one in points
        if one.promise
    ]
    guess = charts.Reference("chance", "guessing", points[0].utility.chance or 0.0)
    coin = charts.Reference("chance", "a coin", 0.5)
    found = [
        (
            "Right on pictures that were not trained on",
            charts.curve(
                places, [charts.Series("target", right)], [guess], True, "Accuracy by epsilon"
            ),
        )
    ]
    if told:
        series = [charts.Series("best attack", told), charts.Series("promised", promised)]
        found.append(
            (
                "AUC of the best attack (round), and the most that is promised (square)",
                charts.curve(places, series, [coin], False, "AUC by epsilon"),
            )
        )
    return found


def _placed(one: Point, measurement: Measurement) -> charts.Point:
    return charts.Point(one.name, *_limits(measurement), one.verdict.outcome == "LEAK")


def _facts(record: SweepRecord) -> list[tuple[str, str, str]]:
    tries = max(one.attacks for one in record.points)
    trained = [one.name for one in record.points]
    return [
        ("Trainings", str(len(trained)), f"epsilon {', '.join(trained)}"),
        ("Members", f"{record.members:,}", "the training set"),
        ("Others", f"{record.others:,}", "of the same source"),
        ("Attacks", str(tries), "on each"),
    ]


def _origin(record: SweepRecord) -> list[tuple[str, str]]:
    rows = [("target", record.model)]
    for one in record.points:
        if one.promise is not None:
            said = one.promise
            rows.append(
                (
                    f"epsilon {one.name}",
                    f"{said.epsilon:.4g} at delta {said.delta:g}; noise {said.noise:.4g}, "
                    f"{said.steps} steps, sampling {said.sampling}, accountant {said.accountant}; "
                    f"by that epsilon alone at most {100 * said.epsilon_tpr:.3g}% caught, AUC "
                    f"{said.epsilon_auc:.3f}",
                )
            )
    if record.settings:
        rows.append(("for private training alone", ", ".join(record.settings)))
    rows += [("safelight", record.safelight), ("machine", record.machine)]
    rows.append(("made", record.started))
    return [(name, plain(value)) for name, value in rows if value]
