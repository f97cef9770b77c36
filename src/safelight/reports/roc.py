"""A ROC curve on logarithmic axes: what matters of an attack lies at few false alarms."""

import math
from dataclasses import dataclass

from safelight.record.membership import Rate, ScoresRecord, leaking

#: The page shows no more decades than this, however many non-members there are.
SMALLEST = 1e-5


@dataclass(frozen=True)
class Tick:
    """A place on both axes, by the position of its value, and its name."""

    x: float
    y: float
    name: str


@dataclass(frozen=True)
class Mark:
    """One false alarm rate: what is caught, its interval, and what shuffled labels reach."""

    x: float
    y: float
    low: float
    high: float
    reach: float
    kind: str


@dataclass(frozen=True)
class Drawing:
    """Everything that the template ``roc.svg.j2`` sets, in its own units, y downward."""

    width: float
    height: float
    left: float
    top: float
    right: float
    floor: float
    ticks: list[Tick]
    trace: str
    marks: list[Mark]
    spoken: str


def draw(record: ScoresRecord) -> Drawing:
    """Lay out the ROC curve of a pair of score files, with its intervals and its null."""
    axes = _Axes(min(1e-3, 1 / max(record.members.count, record.nonmembers.count)))
    return Drawing(
        width=axes.width,
        height=axes.height,
        left=axes.left,
        top=axes.top,
        right=axes.right,
        floor=axes.floor,
        ticks=[
            Tick(axes.x(10.0**power), axes.y(10.0**power), f"{100 * 10.0**power:g}%")
            for power in range(axes.decade, 1)
        ],
        trace=" ".join(f"{axes.x(fpr):.1f},{axes.y(tpr):.1f}" for fpr, tpr in record.roc),
        marks=[axes.mark(rate) for rate in record.rates],
        spoken=_spoken(record),
    )


class _Axes:
    """Where a share lies: both axes from the same decade to 1, so that chance is the diagonal."""

    width, height = 400.0, 372.0
    left, top, right, floor = 48.0, 26.0, 388.0, 328.0

    def __init__(self, smallest: float) -> None:
        self.decade = math.floor(math.log10(max(smallest, SMALLEST)) + 1e-9)

    def x(self, share: float) -> float:
        return self.left + (self.right - self.left) * self._along(share)

    def y(self, share: float) -> float:
        return self.floor - (self.floor - self.top) * self._along(share)

    def mark(self, rate: Rate) -> Mark:
        found = rate.compared.measurement
        return Mark(
            x=self.x(rate.fpr),
            y=self.y(found.value or 0.0),
            low=self.y(found.low or 0.0),
            high=self.y(found.high or 0.0),
            reach=self.y(rate.compared.reach),
            kind="leak" if leaking(rate.compared) else "other",
        )

    def _along(self, share: float) -> float:
        """Position of a share in [0, 1]; what is below the axis, as zero is, lies at its start."""
        return 1 - math.log10(max(share, 10.0**self.decade)) / self.decade


def _spoken(record: ScoresRecord) -> str:
    caught = "; ".join(
        f"{100 * (rate.compared.measurement.value or 0):.2f}% of members at "
        f"{100 * rate.fpr:g}% false alarms"
        for rate in record.rates
    )
    return f"ROC curve on logarithmic axes: {caught}"
