"""Utility against leakage as one picture: each training a mark, its limits a cross."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

#: Shares of members on a logarithmic axis: from a thousandth to everybody.
DECADES = 3


@dataclass(frozen=True)
class Mark:
    """One training or defense. ``leaks`` is on the axis of leakage, ``right`` a share in [0, 1].

    ``wall`` is what nobody can get more of; None: nothing is promised. ``front``: no other mark is
    better in both.
    """

    name: str
    leaks: tuple[float, float, float]
    right: tuple[float, float, float]
    wall: float | None
    leak: bool
    chosen: bool
    front: bool = False


@dataclass(frozen=True)
class Across:
    """The axis of leakage: where a value stands in [0, 1], its ticks, what a guess gets."""

    name: str
    place: Callable[[float], float]
    ticks: list[tuple[float, str]]
    chance: float

    @classmethod
    def members(cls, chance: float) -> "Across":
        """Shares of members that are caught, logarithmic."""
        decades = [10.0 ** (number - DECADES) for number in range(DECADES + 1)]
        return cls(
            "members caught, of 100 called 1 wrongly",
            lambda share: 1 + math.log10(max(share, 10.0**-DECADES)) / DECADES,
            [(one, f"{100 * one:g}%") for one in decades],
            chance,
        )

    @classmethod
    def gain(cls, marks: Sequence[Mark]) -> "Across":
        """SSIM over the best null, linear, as far as the marks reach."""
        most = max(0.1, math.ceil(10 * max(one.leaks[2] for one in marks)) / 10)
        least = min(0.0, math.floor(10 * min(one.leaks[1] for one in marks)) / 10)
        step = 0.1 if most - least <= 0.6 else 0.2
        count = int((most - least) / step + 1e-9)
        ticks = [least + step * number for number in range(count + 1)]
        return cls(
            "gain over the best null, in SSIM",
            lambda value: (value - least) / (most - least),
            [(one, f"{one:+.1f}" if abs(one) > 1e-9 else "0") for one in ticks],
            0.0,
        )


#: Longest name beside a mark, in letters, and about how wide a letter is.
LONGEST, LETTER = 28, 7.4


class _Frame:
    """Where things go: names stand in a column of their own, so that none covers a mark."""

    height = 330.0
    left, right, top, floor = 40.0, 322.0, 14.0, 276.0

    def __init__(self, marks: Sequence[Mark], across: Across) -> None:
        highest = max(one.right[2] for one in marks)
        self.most = min(1.0, math.ceil(highest * 10 + 0.2) / 10)
        self.across = across
        self.width = self.right + 20 + LETTER * max(8, *(len(_short(one.name)) for one in marks))

    def x(self, value: float) -> float:
        along = min(1.0, max(0.0, self.across.place(value)))
        return self.left + (self.right - self.left) * along

    def y(self, share: float) -> float:
        return self.floor - (self.floor - self.top) * share / self.most


def draw(marks: Sequence[Mark], across: Across, guessing: float, spoken: str) -> Markup:
    """Draw leakage to the right, utility upward.

    Args:
        marks: at least one.
        across: the axis of leakage.
        guessing: share of labels that a guess gets right.
        spoken: what the picture says, for those who do not see it.
    """
    frame = _Frame(marks, across)
    parts = _axes(frame, guessing)
    parts += _front(frame, [one for one in marks if one.front])
    heights = _spread([frame.y(one.right[0]) for one in marks], frame)
    placed = zip(marks, heights, strict=True)
    for one, height in sorted(placed, key=lambda pair: pair[0].chosen):  # nothing lies upon it
        parts += _mark(frame, one, height)
    return Markup(
        '<svg class="tradeoff" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>'
    ).format(frame.width, frame.height, spoken, Markup("").join(parts))


def _axes(frame: _Frame, guessing: float) -> list[Markup]:
    parts = []
    for value, written in frame.across.ticks:
        x = frame.x(value)
        parts.append(_line(x, frame.top, x, frame.floor, "grid"))
        parts.append(_text(x, frame.floor + 16, written, "tick"))
    step = 0.1 if frame.most <= 0.5 else 0.2
    for number in range(int(frame.most / step + 1e-9) + 1):
        y = frame.y(step * number)
        parts.append(_line(frame.left, y, frame.right, y, "grid"))
        parts.append(_text(frame.left - 6, y + 4, f"{100 * step * number:.0f}%", "tick end"))
    parts.append(_line(frame.left, frame.floor, frame.right, frame.floor, "axis"))
    chance = frame.x(frame.across.chance)
    parts.append(_line(chance, frame.top, chance, frame.floor, "chance"))
    parts.append(_line(frame.left, frame.y(guessing), frame.right, frame.y(guessing), "chance"))
    middle = (frame.left + frame.right) / 2
    parts.append(_text(middle, frame.floor + 36, frame.across.name, "name"))
    return parts


def _front(frame: _Frame, marks: Sequence[Mark]) -> list[Markup]:
    """Draw the border of what is not beaten: who gives up less leakage gives up accuracy."""
    ordered = sorted(marks, key=lambda one: (one.leaks[0], one.right[0]))
    parts = []
    for less, more in itertools.pairwise(ordered):
        x, y = frame.x(more.leaks[0]), frame.y(less.right[0])
        parts.append(_line(frame.x(less.leaks[0]), y, x, y, "front"))
        parts.append(_line(x, y, x, frame.y(more.right[0]), "front"))
    return parts


def _mark(frame: _Frame, one: Mark, height: float) -> list[Markup]:
    kind = "leak" if one.leak else "other"
    x, y = frame.x(one.leaks[0]), frame.y(one.right[0])
    end = frame.x(one.leaks[2])
    parts = [_line(end, y, frame.right + 12, height, "pointer")]
    if one.wall is not None:
        wall = frame.x(one.wall)
        parts.append(_line(end, y, wall, y, "allowed"))
        parts.append(_line(wall, y - 8, wall, y + 8, "wall"))
    parts.append(_line(frame.x(one.leaks[1]), y, end, y, f"ci {kind}"))
    parts.append(_line(x, frame.y(one.right[1]), x, frame.y(one.right[2]), f"ci {kind}"))
    if one.chosen:
        parts.append(_circle(x, y, 10, "chosen"))
    parts.append(_circle(x, y, 5, f"mark {kind}"))
    weight = "place strong" if one.chosen else "place"
    parts.append(_text(frame.right + 15, height + 4, _short(one.name), f"{weight} start"))
    return parts


def _spread(wanted: Sequence[float], frame: _Frame, least: float = 16.0) -> list[float]:
    """Move heights apart to at least ``least``, the highest first, and back into the frame."""
    order = sorted(range(len(wanted)), key=lambda one: wanted[one])
    placed = list(wanted)
    for before, now in itertools.pairwise(order):
        placed[now] = max(placed[now], placed[before] + least)
    limit = frame.floor
    for now in reversed(order):
        placed[now] = min(placed[now], limit)
        limit = placed[now] - least
    return placed


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        kind, x1, y1, x2, y2
    )


def _circle(x: float, y: float, radius: float, kind: str) -> Markup:
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(
        kind, x, y, radius
    )


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, text)
