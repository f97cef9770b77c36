"""The page: one HTML file that fetches nothing, for two minutes or for an afternoon."""

import hashlib
import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tomli_w
from markupsafe import Markup

from safelight.record.record import Finding, Measurement, Record
from safelight.record.store import Run
from safelight.record.verdict import LEVEL, LINE_UP
from safelight.reports import charts, numbers
from safelight.reports.curves import Chart, curves
from safelight.reports.evidence import Evidence
from safelight.reports.pictures import BLOCKS, gallery
from safelight.reports.sentences import (
    ASSUMED,
    Headline,
    Label,
    assumed,
    dependences,
    headline,
    labels,
    plain,
    ran,
    untried,
)
from safelight.reports.template import fill

#: What a page says of the pictures on it, and of itself.
_EVIDENCE = {
    "full": "This page shows private pictures as they are. Keep it as private as the data itself.",
    "blurred": f"Pictures on this page are pixelated to {BLOCKS} x {BLOCKS} blocks (blurred "
    "evidence). The page is still sensitive: it tells an attacker what works.",
    "nothing": "This page holds no pictures, since none were rebuilt. It is still sensitive: it "
    "names victims' classes and the model's weak places.",
    "none": "This page holds no pictures (evidence withheld). It is still sensitive: it tells an "
    "attacker what works.",
}


@dataclass(frozen=True)
class Row:
    """One finding, ready to be set: everything in it is text or drawn."""

    finding: Finding
    label: Label
    ssim: Markup
    named: Markup
    numbers: dict[str, str]
    cost: str


@dataclass(frozen=True)
class Check:
    """What one control said over all findings."""

    name: str
    question: str
    passed: int
    total: int
    details: list[str]


@dataclass(frozen=True)
class Meter:
    """The number that carries the verdict, as a bar; all positions in percent of its length."""

    value: str
    what: str
    beside: str
    filled: float
    low: float
    high: float
    chance: float


def render(run: Run, evidence: Evidence) -> str:
    """Render a run as one self-contained HTML page.

    Raises:
        RecordError: the record or one of its contact sheets cannot be read.
    """
    record = run.load()
    head = headline(record)
    names = labels(record.findings)
    oracles = [one.name for one in record.baselines if one.oracle]
    pictures = gallery(run, record, evidence)
    return fill(
        "report.html.j2",
        number=numbers.number,
        plain=plain,
        sample=charts.sample,
        record=record,
        head=head,
        # A line that ends after "200 of" reads as another number.
        title=re.sub(r"(\d+) of (\d+)", "\\1\N{NO-BREAK SPACE}of\N{NO-BREAK SPACE}\\2", head.title),
        threats=_threats(record),
        meter=_meter(head),
        facts=_facts(record),
        evidence=evidence,
        sensitive=_EVIDENCE[evidence if pictures or evidence == "none" else "nothing"],
        gallery=pictures,
        rows=[_row(one, names[one.id], oracles) for one in record.findings],
        curves=[(one, [_drawn(chart) for chart in one.charts]) for one in curves(record)],
        checks=_checks(record, names),
        together=_together(record),
        bounds=_bounds(record, names),
        assumed=assumed(record),
        assumed_label=ASSUMED,
        dependences=dependences(record),
        untried=untried(record),
        cells=_cells(record, names),
        plan=_toml(record.plan),
        file=run.record_file.name,
        provenance=_provenance(run, record),
        references=list(dict.fromkeys(one.bibtex for one in record.components if one.bibtex)),
        components=_components(record),
    )


def _threats(record: Record) -> str:
    return ", ".join(dict.fromkeys(one.threat.replace("_", " ") for one in record.findings))


def _meter(head: Headline) -> Meter | None:
    if head.finding is None or not head.carrier:
        return None
    one = head.finding.measurements[head.carrier]
    if one.value is None or one.low is None or one.high is None:
        return None
    chance = one.chance or 0.0
    scaled = [100 * min(max(of, 0.0), 1.0) for of in (one.value, one.low, one.high, chance)]
    if head.carrier == "named":
        value, what = numbers.count(one), f"victims named among {LINE_UP} pictures of their class"
        beside = f"Guessing names {numbers.guessed(one)} of {one.n}"
        spread = numbers.percent_interval(one)
    else:
        value, what = f"{numbers.number(one.value, 2, True)} SSIM", "over the best null"
        beside = "Without a leak: 0"
        spread = numbers.interval(one, 2, signed=True)
    beside += f" (mark on the bar). {_level(one)} interval: {spread}."
    return Meter(value, what, beside, *scaled)


def _facts(record: Record) -> list[tuple[str, str, str]]:
    """Return the facts row: what, its value, a word more."""
    target, every = record.target, ran(record)
    accuracy = target.accuracy
    right = f", {numbers.percent(accuracy.value)} right" if accuracy and accuracy.value else ""
    victims = next((one for one in record.roles if one.name == "victims"), None)
    done = sum(cell.status == "ok" for cell in record.cells)
    seeds = sorted({cell.seed for cell in record.cells})
    checks = [control for one in every for control in one.controls]
    passed = sum(one.passed for one in checks)
    planned = len(every) * len(record.plan.get("seeds", seeds))
    return [
        ("Target", plain(target.name), f"{target.parameters:,} parameters{right}"),
        ("Data", plain(victims.source) if victims else "unknown", _shape(record)),
        ("Victims", str(len(record.victim_labels)), f"of {len(record.classes)} classes"),
        ("Seeds", str(len(seeds)), ", ".join(str(one) for one in seeds)),
        ("Cells", f"{done} of {planned}", "finished"),
        ("Controls", f"{passed} of {len(checks)}", "passed" if checks else "none was run"),
        ("Time", numbers.duration(record.seconds), plain(record.provenance.machine)),
    ]


def _shape(record: Record) -> str:
    channels, height, width = record.victims_shape
    kind = {1: "gray", 3: "color"}.get(channels, f"{channels} channels")
    return f"{width} x {height} pixels, {kind}"


def _level(measurement: Measurement) -> str:
    return numbers.percent(measurement.level)


def _row(finding: Finding, label: Label, oracles: Sequence[str]) -> Row:
    leak = finding.verdict.outcome == "LEAK"
    ssim, named = finding.measurements.get("ssim"), finding.measurements.get("named")
    told: dict[str, str] = {}
    drawn = {"ssim": Markup(""), "named": Markup("")}
    if ssim is not None:
        marks = _references(finding, oracles)
        told["ssim"] = numbers.number(ssim.value, 3)
        told["ssim interval"] = numbers.interval(ssim, 3)
        told["compared"] = "; ".join(f"{one.name} {numbers.number(one.value, 2)}" for one in marks)
        spoken = f"SSIM {told['ssim']}, interval {told['ssim interval']}; {told['compared']}"
        drawn["ssim"] = charts.strip(ssim, marks, leak, spoken)
    gain = finding.measurements.get("gain")
    if gain is not None:
        told["gain"] = numbers.number(gain.value, 3, signed=True)
        told["gain interval"] = numbers.interval(gain, 3, signed=True)
    if named is not None:
        chance = named.chance or 0.0
        told["named"] = numbers.count(named)
        told["named interval"] = numbers.percent_interval(named)
        told["guessed"] = f"guessing {numbers.guessed(named)}"
        spoken = (
            f"{told['named']} named among {LINE_UP}, interval {told['named interval']}; "
            f"chance {numbers.percent(chance)}"
        )
        mark = charts.Reference("chance", "chance", chance)
        drawn["named"] = charts.strip(named, [mark], leak, spoken)
    psnr = finding.measurements.get("psnr")
    if psnr is not None:
        told["psnr"] = f"{numbers.number(psnr.value, 1)} dB"
        told["psnr interval"] = numbers.interval(psnr, 1)
    cost = numbers.duration(finding.seconds)
    return Row(finding, label, drawn["ssim"], drawn["named"], told, cost)


def _references(finding: Finding, oracles: Sequence[str]) -> list[charts.Reference]:
    """Return the best null and the oracles of a finding, where they were measured."""
    kinds = [("null", f"best null, {plain(finding.best_null)},", finding.best_null)]
    kinds += [("oracle", plain(name), name) for name in oracles]
    marks = []
    for kind, name, key in kinds:
        measured = finding.nulls.get(key)
        if measured is not None and measured.value is not None:
            marks.append(charts.Reference(kind, name, measured.value))
    return marks


def _drawn(chart: Chart) -> dict[str, Any]:
    if chart.listed:
        points = [point for one in chart.series for point in one.points]
        svg = charts.rows(points, chart.references, chart.percent, chart.spoken)
        return {"title": chart.title, "svg": svg, "series": []}
    return {
        "title": chart.title,
        "svg": charts.curve(
            chart.places, chart.series, chart.references, chart.percent, chart.spoken
        ),
        "series": [(one.name, any(point.leak for point in one.points)) for one in chart.series],
    }


def _checks(record: Record, names: dict[str, Label]) -> list[Check]:
    """Return every control once, with what it said of each finding, failures first."""
    said: dict[str, list[tuple[bool, str, str]]] = {}
    for one in record.findings:
        for control in one.controls:
            outcome = "passed" if control.passed else "FAILED"
            text = f"{names[one.id]} ({outcome}): {plain(control.detail)}"
            said.setdefault(control.name, []).append((control.passed, text, control.question))
    return [
        Check(
            name=plain(name),
            question=plain(every[0][2]),
            passed=sum(passed for passed, _, _ in every),
            total=len(every),
            details=[text for _, text, _ in sorted(every, key=lambda one: one[0])],
        )
        for name, every in said.items()
    ]


def _level_of_each(record: Record) -> float:
    return next((m.level for one in record.findings for m in one.measurements.values()), LEVEL)


def _together(record: Record) -> dict[str, str]:
    """Say how the verdicts' intervals are widened for being judged together."""
    tests = len(ran(record))
    return {
        "tests": str(tests),
        "level": numbers.percent(LEVEL),
        "each": f"{100 * _level_of_each(record):.2f}%",
        "seeds": str(len({cell.seed for cell in record.cells})),
    }


def _bounds(record: Record, names: dict[str, Label]) -> list[dict[str, Any]]:
    """Return every different bound once, with the findings it was looked for in."""
    found: dict[str, dict[str, Any]] = {}
    for one in record.findings:
        if one.bound is not None:
            key = one.bound.model_dump_json()
            entry = found.setdefault(key, {"bound": one.bound, "where": []})
            entry["where"].append(str(names[one.id]))
    return list(found.values())


def _cells(record: Record, names: dict[str, Label]) -> list[dict[str, str]]:
    rows = []
    for cell in record.cells:
        named, ssim = cell.scores.get("named"), cell.scores.get("ssim")
        rows.append(
            {
                "finding": str(names[cell.finding]) if cell.finding in names else cell.finding,
                "seed": str(cell.seed),
                "status": plain(f"{cell.status}: {cell.reason}" if cell.reason else cell.status),
                "named": f"{sum(named):.0f} of {len(named)}" if named else "",
                "ssim": numbers.number(statistics.fmean(ssim), 3) if ssim else "",
                "queries": f"{cell.queries:,}",
                "time": numbers.duration(cell.seconds),
                "artifact": cell.artifact,
            }
        )
    return rows


def _components(record: Record) -> list[tuple[str, str, str]]:
    return [
        (f"{one.kind} {plain(one.name)}", plain(one.summary), json.dumps(one.options))
        for one in record.components
    ]


def _provenance(run: Run, record: Record) -> list[tuple[str, str]]:
    made, target = record.provenance, record.target
    packages = ", ".join(f"{name} {version}" for name, version in made.packages.items())
    rows = [
        ("record", run.record_file.name),
        ("sha256 of the record", hashlib.sha256(run.record_file.read_bytes()).hexdigest()),
        ("sha256 of its measurements", record.measurements_sha256()),
        ("sha256 of the weights", target.weights_sha256),
        ("target trained on", target.trained_on),
        ("target's facts", json.dumps(target.facts)),
        ("layers", ", ".join(target.cut_points)),
    ]
    rows += [
        (f"{role.name} pictures", f"{role.count} of {role.source}, sha256 {role.sha256}")
        for role in record.roles
    ]
    rows += [
        ("safelight", made.safelight + (f", commit {made.commit}" if made.commit else "")),
        ("Python", f"{made.python}; {packages}"),
        ("machine", f"{made.machine}; device {made.device}"),
        ("started", made.started),
        ("took", numbers.duration(record.seconds)),
    ]
    return [(plain(what), plain(value)) for what, value in rows]


def _toml(plan: dict[str, Any]) -> str:
    """Write the plan as its author would; TOML has no None, and what is unset needs no line."""

    def given(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: given(one) for key, one in value.items() if one is not None}
        return (
            [given(one) for one in value if one is not None] if isinstance(value, list) else value
        )

    return tomli_w.dumps(given(plan))
