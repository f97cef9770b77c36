"""Charts as inline SVG, colored by the page's style sheet: red for leaks, and never red alone.

A leak's mark is filled and others are hollow, so that a gray print says the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from safelight.record.record import Measurement

_SHAPES = ("circle", "square", "diamond", "triangle")


@dataclass(frozen=True)
class Reference:
    """A level to compare with. ``kind`` is null, oracle or chance: its line's look."""

    kind: str
    name: str
    value: float


@dataclass(frozen=True)
class Point:
    """One measurement at one place; ``where`` is an entry of the chart's places.

    ``text`` is the value as people read it, ``note`` what the place does not say.
    """

    where: str
    value: float
    low: float
    high: float
    leak: bool
    text: str = ""
    note: str = ""


@dataclass(frozen=True)
class Series:
    """The points of one attack, in the order of the places."""

    name: str
    points: list[Point]


def strip(
    measurement: Measurement, references: Sequence[Reference], leak: bool, spoken: str
) -> Markup:
    """Draw one measurement and its interval on an axis to 1, with what it is compared with.

    Args:
        measurement: with a value and limits; its unit's natural range ends at 1.
        references: drawn as lines across the axis.
        leak: whether the finding is one.
        spoken: what the picture says, for those who do not see it.
    """
    value, low, high = measurement.value, measurement.low, measurement.high
    if value is None or low is None or high is None:
        return Markup("")
    start = min(0.0, low, *[one.value for one in references])
    width, left, base = 200.0, 8.0, 20.0

    def x(of: float) -> float:
        return left + (width - 2 * left) * (of - start) / (1 - start)

    parts = [_line(x(start), base, x(1), base, "axis")]
    for end in (start, 1.0):
        parts.append(_line(x(end), base - 3, x(end), base + 3, "axis"))
        parts.append(_text(x(end), base + 15, f"{end:.1f}".removesuffix(".0"), "tick"))
    parts += [_line(x(one.value), 4, x(one.value), base + 7, one.kind) for one in references]
    kind = "leak" if leak else "other"
    # An interval narrower than its own dot is drawn a little wider than it is, never narrower.
    parts.append(
        _line(min(x(low), x(high) - 2), base, max(x(high), x(low) + 2), base, f"ci {kind}")
    )
    parts.append(_mark("circle", x(value), base, kind, 5))
    return _svg(width, 38, "strip", spoken, parts)


def curve(
    places: Sequence[str],
    series: Sequence[Series],
    references: Sequence[Reference],
    percent: bool,
    spoken: str,
) -> Markup:
    """Draw series over ordered places, with intervals and reference lines.

    Args:
        places: all places on the axis, in order; those without points are shown as not tried.
        series: at most a handful; each gets its own mark.
        references: horizontal lines.
        percent: write the axis in percent.
        spoken: what the chart says, for those who do not see it.
    """
    plot = _Plot(places, series, references)
    parts = plot.frame(percent)
    parts += [plot.level(one) for one in references]
    for number, one in enumerate(series):
        parts += plot.line(one, number, len(series))
    return _svg(plot.width, plot.height, "curve", spoken, parts)


def rows(
    points: Sequence[Point], references: Sequence[Reference], percent: bool, spoken: str
) -> Markup:
    """Draw points one below the other, each under its own name: for places with long names.

    What stands before the first comma of a name is written once, above those that share it.

    Args:
        points: from top to bottom.
        references: marks across every row, explained below the axis.
        percent: write the axis in percent.
        spoken: what the chart says, for those who do not see it.
    """
    listing = _List(min([0.0, *(one.low for one in points), *(one.value for one in references)]))
    parts: list[Markup] = []
    for before, one in zip([None, *points], points, strict=False):
        parts += listing.row(one, before, references)
    parts += listing.foot(references, percent)
    return _svg(listing.width, listing.bottom, "rows", spoken, parts)


def sample(number: int, leak: bool) -> Markup:
    """Draw the mark of the series with that number, for a legend."""
    mark = _mark(_SHAPES[number % len(_SHAPES)], 8, 8, "leak" if leak else "other", 5)
    return Markup('<svg class="sample" viewBox="0 0 16 16" aria-hidden="true">{}</svg>').format(
        mark
    )


class _List:
    """Where things go in rows; ``bottom`` moves down as they are drawn."""

    width, left, right = 400.0, 8.0, 392.0

    def __init__(self, start: float) -> None:
        self.start, self.bottom = start, 0.0

    def x(self, of: float) -> float:
        return self.left + (self.right - self.left) * (of - self.start) / (1 - self.start)

    def row(
        self, one: Point, before: Point | None, references: Sequence[Reference]
    ) -> list[Markup]:
        """Return one point under its name, and its group's name where a group begins."""
        group, _, name = one.where.partition(", ")
        parts = []
        if before is None or (before.where.partition(", ")[0], before.note) != (group, one.note):
            note = one.note if len(one.note) <= 30 else one.note[:29] + "\N{HORIZONTAL ELLIPSIS}"
            tool = Markup(' <tspan class="tool">{}</tspan>').format(note) if note else ""
            parts.append(
                _text(0, self.bottom + 16, Markup("{}{}").format(group, tool), "group start")
            )
            self.bottom += 22 if name else 2
        kind = "leak" if one.leak else "other"
        parts.append(_text(self.left, self.bottom + 14, name, "row start"))
        parts.append(_text(self.width, self.bottom + 14, one.text, f"value end {kind}"))
        y = self.bottom + 28
        parts.append(_line(self.left, y, self.right, y, "grid"))
        parts.append(_line(self.x(0), y, self.x(one.value), y, f"stem {kind}"))
        parts += [
            _line(self.x(ref.value), y - 8, self.x(ref.value), y + 8, ref.kind)
            for ref in references
        ]
        parts.append(_line(self.x(one.low), y, self.x(one.high), y, f"ci {kind}"))
        parts.append(_mark("circle", self.x(one.value), y, kind, 5))
        self.bottom += 44
        return parts

    def foot(self, references: Sequence[Reference], percent: bool) -> list[Markup]:
        """Return the axis and what the marks across the rows are."""
        y = self.bottom + 2
        parts = [_line(self.left, y, self.right, y, "axis")]
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
            x, anchor = self.x(tick), {0.0: "start", 1.0: "end"}.get(tick, "")
            parts.append(_line(x, y, x, y + 4, "axis"))
            parts.append(_text(x, y + 16, _number(tick, percent), f"tick {anchor}"))
        for ref in references:
            y += 16
            parts.append(_line(self.left, y + 16, self.left + 24, y + 16, ref.kind))
            name = f"{ref.name}, {_number(ref.value, percent)}"
            parts.append(_text(self.left + 32, y + 20, name, "start"))
        self.bottom = y + 28
        return parts


class _Plot:
    """Where things go in a curve."""

    width = 400.0
    right, top = 14.0, 14.0
    plotted = 180.0
    tallest = 18.0  # of a name: the least distance from one tilted name to the next

    def __init__(
        self, places: Sequence[str], series: Sequence[Series], references: Sequence[Reference]
    ) -> None:
        self.places, self.series = list(places), series
        self.levels = [one.value for one in references]
        self.written: list[tuple[float, float]] = []
        self.tried = {point.where for one in series for point in one.points}
        lowest = min(
            [point.low for one in series for point in one.points]
            + [one.value for one in references]
        )
        self.start = min(0.0, lowest)
        longest = max(len(_short(one)) for one in places)
        self.tilted = len(places) * (longest * 7 + 10) > 340
        # The first tilted name reaches out to the left of its place.
        self.left = 40.0 if not self.tilted else max(40.0, 5.0 * longest)
        self.height = self.top + self.plotted + (18 + 5.0 * longest if self.tilted else 26)

    @property
    def step(self) -> float:
        return (self.width - self.left - self.right) / len(self.places)

    def x(self, place: str) -> float:
        return self.left + self.step * (self.places.index(place) + 0.5)

    def y(self, value: float) -> float:
        return self.top + self.plotted * (1 - value) / (1 - self.start)

    def frame(self, percent: bool) -> list[Markup]:
        """Return the axes, the grid and the names of the places."""
        ends = self.left, self.width - self.right
        parts = []
        levels = [0.0, 0.25, 0.5, 0.75, 1.0] + ([self.start] if self.start < -0.12 else [])
        for level in levels:
            y = self.y(level)
            parts.append(_line(ends[0], y, ends[1], y, "axis" if level == 0 else "grid"))
            name = _number(level, percent)
            parts.append(_text(ends[0] - 6, y + 4, name, "tick end"))
        floor = self.top + self.plotted
        # In a deep network every second name, or every third, is written.
        skipped = math.ceil(self.tallest / self.step)
        for number, place in enumerate(self.places):
            x = self.x(place)
            kind = "tick" if place in self.tried else "tick untried"
            parts.append(_line(x, floor, x, floor + 4, "axis"))
            if number % skipped == 0:
                parts.append(_text(x, floor + 17, _short(place), kind, self.tilted))
        return parts

    def level(self, reference: Reference) -> Markup:
        """Return a reference line with its name on it, where the name hides least."""
        y, middle = self.y(reference.value), (self.left + self.width - self.right) / 2
        line = _line(self.left, y, self.width - self.right, y, reference.kind)
        sides = [(-5, True), (-5, False), (14, True), (14, False)]
        if reference.kind == "chance":  # below it there is only the axis
            sides = sides[:2]

        def hidden(side: tuple[float, bool]) -> int:
            top, bottom = y + side[0] - 12, y + side[0] + 5
            points = [p for one in self.series for p in one.points]
            drawn = [
                (self.y(p.high) - 6, self.y(p.low) + 6)
                for p in points
                if (self.x(p.where) < middle) == side[1]
            ]
            drawn += [(self.y(one),) * 2 for one in self.levels if one != reference.value]
            return sum(start < bottom and end > top for start, end in drawn + self.written)

        below, left = min(sides, key=hidden)
        y += below
        self.written.append((y - 12, y + 5))
        x, anchor = (self.left + 4, "start") if left else (self.width - self.right - 4, "end")
        return line + _text(x, y, reference.name, f"name {anchor}")

    def line(self, series: Series, number: int, total: int) -> list[Markup]:
        """Return one series: lines between neighbors, intervals, marks."""
        shift = (number - (total - 1) / 2) * min(9.0, self.step / (total + 1))
        parts = []
        for one, two in zip(series.points, series.points[1:], strict=False):
            near = self.places.index(two.where) - self.places.index(one.where) == 1
            kind = "way" if near else "way leap"
            x1, x2 = self.x(one.where) + shift, self.x(two.where) + shift
            parts.append(_line(x1, self.y(one.value), x2, self.y(two.value), kind))
        size = min(5.0, max(2.5, 0.35 * self.step))
        for point in series.points:
            x, kind = self.x(point.where) + shift, "leak" if point.leak else "other"
            parts.append(_line(x, self.y(point.low), x, self.y(point.high), f"ci {kind}"))
            shape = _SHAPES[number % len(_SHAPES)]
            parts.append(_mark(shape, x, self.y(point.value), kind, size))
        return parts


def _number(value: float, percent: bool) -> str:
    return f"{100 * value:.0f}%" if percent else f"{value:.2f}"


def _short(name: str, most: int = 14) -> str:
    """Keep the end of a long layer name, which is what tells it from its neighbors."""
    return name if len(name) <= most else "\N{HORIZONTAL ELLIPSIS}" + name[-most + 1 :]


def _svg(width: float, height: float, kind: str, spoken: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="{}" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>'
    ).format(kind, width, height, spoken, Markup("").join(parts))


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        kind, x1, y1, x2, y2
    )


def _text(x: float, y: float, text: str, kind: str, tilted: bool = False) -> Markup:
    turn = Markup(' transform="rotate(-40 {:.1f} {:.1f})"').format(x, y - 8) if tilted else ""
    kind = f"{kind} end" if tilted else kind
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}"{}>{}</text>').format(
        kind, x, y, turn, text
    )


def _mark(shape: str, x: float, y: float, kind: str, size: float) -> Markup:
    if shape == "circle":
        return Markup('<circle class="mark {}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(
            kind, x, y, size
        )
    corners = {
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "triangle": [(0, -1.15), (1.1, 0.9), (-1.1, 0.9)],
    }[shape]
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    return Markup('<polygon class="mark {}" points="{}"/>').format(kind, points)
