"""How the leak changes with the place that is watched, where an attack was run at several."""

import json
from collections import defaultdict
from dataclasses import dataclass

from safelight.record.record import Finding, Record
from safelight.record.verdict import LINE_UP
from safelight.reports import numbers
from safelight.reports.charts import Point, Reference, Series
from safelight.reports.sentences import labels

#: Places on the axis up to which those that nobody tried are shown as well, as gaps.
MOST_PLACES = 14


@dataclass(frozen=True)
class Depth:
    """One chart over depth: a measurement of every attack that was run at several places."""

    title: str
    places: list[str]
    series: list[Series]
    references: list[Reference]
    percent: bool
    spoken: str


def depths(record: Record) -> list[Depth]:
    """Return the charts of a record: SSIM and naming over depth, or none without an axis."""
    lines = _lines(record)
    if not lines:
        return []
    places = _places(record, lines)
    null = next(iter(lines.values()))[0]
    kinds = [("null", f"best null: {null.best_null}", null.best_null)]
    kinds += [
        ("oracle", f"{one.name}, for scale", one.name) for one in record.baselines if one.oracle
    ]
    levels = []
    for kind, name, key in kinds:
        measured = null.nulls.get(key)
        if measured is not None and measured.value is not None:
            levels.append(Reference(kind, name, measured.value))
    guess = Reference("chance", "chance", 1 / LINE_UP)
    return [
        _depth(f"Victims named among {LINE_UP}", "named", places, lines, [guess]),
        _depth("SSIM to the victim", "ssim", places, lines, levels),
    ]


def _lines(record: Record) -> dict[str, list[Finding]]:
    """Return, by name, the measured findings that differ only in where they watched."""
    groups: dict[str, list[Finding]] = defaultdict(list)
    for one in record.findings:
        if one.measurements:
            threat = {key: val for key, val in one.threat_options.items() if val != one.where}
            groups[json.dumps([one.threat, threat, one.attack, one.attack_options])].append(one)
    several = [own for own in groups.values() if len({one.where for one in own}) > 1]
    # One place a line, so that what tells the lines apart is all that their names say.
    names = labels([own[0].model_copy(update={"where": ""}) for own in several])
    return {f"{names[own[0].id].attack}, {names[own[0].id].detail}": own for own in several}


def _places(record: Record, lines: dict[str, list[Finding]]) -> list[str]:
    """Return the places in the network's order, from the first to the last of a short network."""
    tried = {one.where for own in lines.values() for one in own}
    known = list(record.target.cut_points)
    known += [one.where for own in lines.values() for one in own if one.where not in known]
    known = list(dict.fromkeys(known))
    return known if len(known) <= MOST_PLACES else [one for one in known if one in tried]


def _depth(
    title: str,
    name: str,
    places: list[str],
    lines: dict[str, list[Finding]],
    references: list[Reference],
) -> Depth:
    percent = name == "named"
    series = []
    spoken = [f"{title}, by the layer whose output is watched."]
    for line, own in lines.items():
        points, said = [], []
        for one in sorted(own, key=lambda one: places.index(one.where)):
            measured = one.measurements[name]
            if measured.value is None or measured.low is None or measured.high is None:
                continue
            leak = one.verdict.outcome == "LEAK"
            points.append(Point(one.where, measured.value, measured.low, measured.high, leak))
            text = numbers.count(measured) if percent else numbers.number(measured.value, 3)
            said.append(f"{one.where} {text}")
        series.append(Series(line, points))
        spoken.append(f"{line}: {', '.join(said)}.")
    spoken += [f"{one.name}: {numbers.number(one.value, 2)}." for one in references]
    return Depth(title, places, series, references, percent, " ".join(spoken))
