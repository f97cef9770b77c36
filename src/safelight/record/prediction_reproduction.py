"""Published rows on prediction APIs beside ours: knows records and nothing above."""

from collections.abc import Sequence
from math import hypot, sqrt
from statistics import fmean, stdev

from pydantic import BaseModel, ConfigDict
from scipy import stats

from safelight.record.record import Cell, Finding, Measurement, Record
from safelight.record.verdict import LEVEL, LINE_UP, measure

#: SSIM as the study has it (11x11 Gaussian window), where a record holds it; else ours (7x7).
AS_PUBLISHED = "ssim gaussian"


class Row(BaseModel):
    """One adversary under one defense: published, and ours over all pairs.

    ``scores`` holds measurements by name, with 95 % intervals over victims and pairs (see
    ``widened``); ``spread`` the standard deviation of each between pairs. ``values`` are the
    averages over pairs, victim by victim, and ``by_pair`` those over victims, pair by pair, so that
    rows can be compared by both. All are empty where nothing was run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    defense: str
    published: tuple[float, float] | None
    scores: dict[str, Measurement]
    spread: dict[str, float]
    values: dict[str, list[float]]
    by_pair: dict[str, list[float]] = {}
    template: dict[str, float]
    pairs: int
    seconds: float
    outcomes: list[str]
    controls_passed: bool | None

    @property
    def times_chance(self) -> float | None:
        """How many times as often as by guessing victims are named."""
        named = self.scores.get("named")
        return None if named is None or named.value is None else named.value * LINE_UP


def row(
    name: str,
    defense: str,
    published: Sequence[float] | None,
    found: Sequence[tuple[Record, Finding]],
) -> Row:
    """Pool one finding of several records, one record a pair."""
    cells: list[Cell] = []
    templates: list[dict[str, float]] = []
    for record, finding in found:
        cells += [one for one in record.cells if one.finding == finding.id and one.status == "ok"]
        null = next(one for one in record.baselines if one.name == "class template")
        templates.append({score: fmean(values) for score, values in null.scores.items()})
    kept = [
        score
        for score in (AS_PUBLISHED, "ssim", "mse", "gain", "named")
        if cells and all(score in one.scores for one in cells)
    ]
    values = {
        score: [fmean(each) for each in zip(*(one.scores[score] for one in cells), strict=True)]
        for score in kept
    }
    by_pair = {score: [fmean(one.scores[score]) for one in cells] for score in kept}
    controls = [control.passed for cell in cells for control in cell.controls]
    return Row(
        name=name,
        defense=defense,
        published=(published[0], published[1]) if published else None,
        scores={
            one: widened(measure(_known(one), [c.scores[one] for c in cells], LEVEL), by_pair[one])
            for one in kept
        },
        spread={one: stdev(by_pair[one]) if len(cells) > 1 else 0.0 for one in kept},
        values=values,
        by_pair=by_pair,
        template={one: fmean(each[one] for each in templates) for one in _shared(templates)},
        pairs=len(cells),
        seconds=round(sum(one.seconds for one in cells), 1),
        outcomes=[finding.verdict.outcome for _, finding in found],
        controls_passed=all(controls) if controls else None,
    )


def difference(one: Row, other: Row, score: str) -> Measurement | None:
    """Return by how much one row's score exceeds another's, over the same victims and pairs.

    None where either was not run, or not on as many pairs as the other.
    """
    ours, theirs = one.values.get(score), other.values.get(score)
    if not ours or not theirs or len(ours) != len(theirs) or one.pairs != other.pairs:
        return None
    over_victims = measure("gain", [[a - b for a, b in zip(ours, theirs, strict=True)]], LEVEL)
    trained, other_trained = one.by_pair.get(score, []), other.by_pair.get(score, [])
    return widened(over_victims, [a - b for a, b in zip(trained, other_trained, strict=True)])


def widened(over_victims: Measurement, by_pair: Sequence[float]) -> Measurement:
    """Return a mean with an interval that holds for other pairs of models too, not these alone.

    Distances to the limits over victims and over pairs (Student's t) are added in squares (Zou and
    Donner 2008); what differs by victim and pair together is in both, so that the interval is
    rather too wide. One pair says nothing about others: its interval is over victims alone.

    Args:
        over_victims: the mean over both, with an interval over victims.
        by_pair: the means over victims, one a pair.
    """
    value, low, high = over_victims.value, over_victims.low, over_victims.high
    pairs = len(by_pair)
    if pairs < 2 or value is None or low is None or high is None:
        return over_victims
    quantile = float(stats.t.ppf((1 + over_victims.level) / 2, pairs - 1))
    reach = quantile * stdev(by_pair) / sqrt(pairs)
    low, high = value - hypot(value - low, reach), value + hypot(high - value, reach)
    if over_victims.unit == "share":
        low, high = max(low, 0.0), min(high, 1.0)
    return over_victims.model_copy(update={"low": low, "high": high})


def _known(score: str) -> str:
    return "ssim" if score == AS_PUBLISHED else score


def _shared(templates: Sequence[dict[str, float]]) -> list[str]:
    return (
        [] if not templates else [one for one in templates[0] if all(one in t for t in templates)]
    )
