"""How the leak changes with one setting of the threat, where an attack was run at several."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safelight.record.record import Finding, Outcome, Record
from safelight.record.verdict import LINE_UP
from safelight.reports import numbers
from safelight.reports.adversaries import ORDER, adversaries, rank
from safelight.reports.charts import Point, Reference, Series
from safelight.reports.sentences import labels, plain

#: Places on the axis up to which layers that nobody tried are shown as well, as gaps.
MOST_PLACES = 14

#: Lines in one chart: each needs a mark that is told from the others.
MOST_LINES = 4


@dataclass(frozen=True)
class Chart:
    """One measurement over the places of an axis; ``listed`` draws a row for each place."""

    title: str
    places: list[str]
    series: list[Series]
    references: list[Reference]
    percent: bool
    listed: bool
    spoken: str


@dataclass(frozen=True)
class Curves:
    """What varies, the question that this asks, its answer and the charts behind it.

    ``answer`` is a list of (outcome, places): the worst that any line found there.
    """

    key: str
    question: str
    note: str
    answer: list[tuple[Outcome, str]]
    charts: list[Chart]


@dataclass(frozen=True)
class _Axis:
    """One thing that a plan may vary.

    ``settings`` are the options of the threat that make it, ``spoken`` what a chart says of it;
    ``suffix`` is written after its numbers. ``listed`` is set where names are long.
    """

    key: str
    settings: tuple[str, ...]
    question: str
    note: str
    spoken: str
    suffix: str = ""
    listed: bool = False


_AXES = (
    _Axis(
        "depth",
        ("cut",),
        "Deeper in the network, does it leak less?",
        "From the first layer to the last. Layers in gray were not tried, and a dotted line "
        "across them is no measurement.",
        "by the layer whose output is watched",
    ),
    _Axis(
        "adversary",
        tuple(ORDER),
        "Who must be feared: what does it take to see the pictures?",
        "From the adversary who knows most to the one who knows least. Pictures: what the "
        "adversary trains on. Structure: whether the kinds of layers before the cut are known.",
        "by what the adversary knows",
        listed=True,
    ),
    _Axis(
        "sends",
        ("sends",),
        "Sent again and again, does noise still hide the pictures?",
        "How often each picture was sent, each time with fresh noise; the adversary averages.",
        "by how often each picture is sent",
        suffix="\N{MULTIPLICATION SIGN}",
    ),
)


@dataclass(frozen=True)
class _Found:
    """The findings along one axis: where each stands, and the lines that they make."""

    axis: _Axis
    places: list[str]
    place: Mapping[str, str]
    lines: dict[str, list[Finding]]


def curves(record: Record) -> list[Curves]:
    """Return what varies in a record, what was varied most first, or nothing.

    A plan that varies one thing often varies another a little, as a study of adversaries at two
    cuts does: that is drawn as well, unless it takes more lines than one chart can hold. Sends
    are always drawn, since nobody varies them but to see their effect.
    """
    found = [one for one in (_along(record, axis) for axis in _AXES) if one is not None]
    found.sort(key=lambda one: -len(set(one.place.values())))
    return [
        _curves(record, one)
        for number, one in enumerate(found)
        if number == 0 or one.axis.key == "sends" or len(one.lines) <= MOST_LINES
    ]


def answers(record: Record) -> list[tuple[str, list[str]]]:
    """Return each question that a record answers with what was found, for pages without charts."""
    return [
        (one.question, [f"{outcome}: {places}" for outcome, places in one.answer])
        for one in curves(record)
    ]


def _along(record: Record, axis: _Axis) -> _Found | None:
    """Return the findings that differ along an axis, or None where too few were measured."""
    ran = [one for one in record.findings if not one.skipped]
    place = _place(axis, ran)
    groups: dict[str, list[Finding]] = defaultdict(list)
    for one in ran:
        if place(one):
            groups[_rest(one, axis)].append(one)
    several = [
        own for own in groups.values() if len({place(one) for one in own if one.measurements}) > 1
    ]
    if not several:
        return None
    every = [one for own in several for one in own]
    return _Found(
        axis,
        _places(record, axis, every, place),
        {one.id: place(one) for one in every},
        _lines(axis, several),
    )


def _place(axis: _Axis, findings: Sequence[Finding]) -> Callable[[Finding], str]:
    """Return what names a finding's place on the axis; empty where it has none."""
    if axis.key == "depth":
        return lambda one: plain(one.where)
    if axis.key == "adversary":
        named = adversaries(findings)
        return lambda one: plain(named[one.id])
    (setting,) = axis.settings

    def amount(one: Finding) -> str:
        value = one.threat_options.get(setting)
        return f"{value:g}{axis.suffix}" if isinstance(value, int | float) else ""

    return amount


def _rest(finding: Finding, axis: _Axis) -> str:
    """Return everything but the axis: what the findings of one line have in common."""
    kept = _without(finding, axis.settings).threat_options
    where = "" if axis.key == "depth" else finding.where
    # Each adversary has an attack of its own: a row tells it, rather than a line.
    attack = [] if axis.listed else [finding.attack, finding.attack_options]
    return json.dumps([finding.threat, kept, where, attack], sort_keys=True)


def _lines(axis: _Axis, groups: list[list[Finding]]) -> dict[str, list[Finding]]:
    """Name every line by what tells it from the others; the axis itself does not."""
    gone: dict[str, Any] = {"where": ""} if axis.key == "depth" else {}
    if axis.listed:
        gone |= {"attack": "", "attack_options": {}, "access": ""}
    names = labels([_without(own[0], axis.settings, **gone) for own in groups])
    wheres = {own[0].where for own in groups}
    lines: dict[str, list[Finding]] = {}
    for own in groups:
        label = names[own[0].id]
        words = [label.attack, label.apart if axis.listed else label.detail]
        if axis.key != "depth" and len(wheres) > 1:
            words.insert(0, label.where)
        lines.setdefault(", ".join(word for word in words if word), []).extend(own)
    return lines


def _places(
    record: Record, axis: _Axis, findings: list[Finding], place: Callable[[Finding], str]
) -> list[str]:
    """Return the places in order; of a short network, those that nobody tried as well."""
    if axis.key == "adversary":
        return list(dict.fromkeys(place(one) for one in sorted(findings, key=rank)))
    if axis.key != "depth":
        (setting,) = axis.settings
        ordered = sorted(findings, key=lambda one: one.threat_options[setting])
        return list(dict.fromkeys(place(one) for one in ordered))
    tried = {place(one) for one in findings}
    known = [plain(one) for one in record.target.cut_points]
    known = list(dict.fromkeys([*known, *(place(one) for one in findings)]))
    return known if len(known) <= MOST_PLACES else [one for one in known if one in tried]


def _curves(record: Record, found: _Found) -> Curves:
    axis, names = found.axis, list(found.lines)
    most = 1 if axis.listed else MOST_LINES
    charts = []
    for start in range(0, len(names), most):
        lines = {name: found.lines[name] for name in names[start : start + most]}
        charts += [
            _chart(f"Victims named among {LINE_UP}", "named", record, found, lines),
            _chart("SSIM to the victim", "ssim", record, found, lines),
        ]
    worst = " Where several lines meet, the worst of them is the answer." if len(names) > 1 else ""
    return Curves(axis.key, axis.question, axis.note + worst, _answer(found), charts)


def _answer(found: _Found) -> list[tuple[Outcome, str]]:
    """Return, for each outcome, the places where it is the worst of any line."""
    order: tuple[Outcome, ...] = ("LEAK", "INCONCLUSIVE", "NO EVIDENCE")
    worst: dict[str, Outcome] = {}
    for one in (one for own in found.lines.values() for one in own):
        place, outcome = found.place[one.id], one.verdict.outcome
        worst[place] = min(worst.get(place, outcome), outcome, key=order.index)
    tried = [one for one in found.places if one in worst]
    said = []
    for outcome in order:
        own = [one for one in tried if worst[one] == outcome]
        if own:
            said.append((outcome, _SPELL.get(found.axis.key, _each)(own, tried)))
    return said


def _each(places: list[str], tried: list[str]) -> str:
    del tried
    return ", ".join(places)


def _layers(places: list[str], tried: list[str]) -> str:
    """Spell layers; more than two neighbors by the first and the last of them."""
    runs: list[list[str]] = []
    for before, one in zip(["", *tried], tried, strict=False):
        if one in places:
            runs = runs if before in places else [*runs, []]
            runs[-1].append(one)
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)


def _kinds(places: list[str], tried: list[str]) -> str:
    """Spell adversaries; a kind of whom all behave alike by its own name."""
    spelled = []
    for one in places:
        kind = one.partition(", ")[0]
        every = [other for other in tried if other.partition(", ")[0] == kind]
        alike = len(every) > 1 and set(every) <= set(places)
        spelled.append(f"{kind} (all {len(every)})" if alike else one)
    return "; ".join(dict.fromkeys(spelled))


_SPELL: Mapping[str, Callable[[list[str], list[str]], str]] = {
    "depth": _layers,
    "adversary": _kinds,
}


def _levels(record: Record, own: Sequence[Finding]) -> list[Reference]:
    """Return the best null and the oracles as levels, where they were measured."""
    null = own[0]
    kinds = [("null", f"best null: {plain(null.best_null)}", null.best_null)]
    kinds += [
        ("oracle", f"{plain(one.name)}, for scale", one.name)
        for one in record.baselines
        if one.oracle
    ]
    levels = []
    for kind, name, key in kinds:
        measured = null.nulls.get(key)
        if measured is not None and measured.value is not None:
            levels.append(Reference(kind, name, measured.value))
    return levels


def _chart(
    title: str,
    name: str,
    record: Record,
    found: _Found,
    lines: dict[str, list[Finding]],
) -> Chart:
    axis, percent = found.axis, name == "named"
    first = next(iter(lines))
    # A list of adversaries is one line: its name stands above it, not in a legend.
    title = f"{title}, {first}" if axis.listed and first else title
    references = (
        [Reference("chance", "chance", 1 / LINE_UP)] if percent else _levels(record, lines[first])
    )
    series = [Series(line, _points(name, found, own)) for line, own in lines.items()]
    spoken = [f"{title}, {axis.spoken}."]
    for one in series:
        said = ", ".join(
            f"{p.where}{f' by {p.note}' if p.note else ''} {p.text}" for p in one.points
        )
        spoken.append(f"{said}." if axis.listed else f"{one.name}: {said}.")
    spoken += [f"{one.name}: {numbers.number(one.value, 2)}." for one in references]
    return Chart(title, found.places, series, references, percent, axis.listed, " ".join(spoken))


def _points(name: str, found: _Found, own: Sequence[Finding]) -> list[Point]:
    """Return one measurement of the findings of a line, in the order of the axis.

    In a list, the adversaries of one kind stand together, attack by attack.
    """
    kinds = list(dict.fromkeys(one.partition(", ")[0] for one in found.places))
    tools: dict[str, str] = {one.id: "" for one in own}
    if found.axis.listed:
        named = labels([_without(one, tuple(ORDER)) for one in own])
        tools = {
            one: ", ".join(word for word in (tool.attack, tool.apart) if word)
            for one, tool in named.items()
        }

    def order(one: Finding) -> tuple[int, str, int]:
        place = found.place[one.id]
        kind = kinds.index(place.partition(", ")[0]) if found.axis.listed else 0
        return kind, tools[one.id], found.places.index(place)

    points = []
    for one in sorted(own, key=order):
        measured = one.measurements.get(name)
        if measured is None:
            continue
        value, low, high = measured.value, measured.low, measured.high
        if value is None or low is None or high is None:
            continue
        points.append(
            Point(
                found.place[one.id],
                value,
                low,
                high,
                leak=one.verdict.outcome == "LEAK",
                text=numbers.count(measured) if name == "named" else numbers.number(value, 3),
                note=tools[one.id],
            )
        )
    return points


def _without(finding: Finding, settings: Sequence[str], **changes: Any) -> Finding:
    """Return a finding without some of its threat's settings, so that no label names them."""
    kept = {key: val for key, val in finding.threat_options.items() if key not in settings}
    return finding.model_copy(update={"threat_options": kept, **changes})
