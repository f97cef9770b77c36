"""Published rows on prediction APIs beside ours: knows records and nothing above."""

from collections.abc import Sequence
from statistics import fmean, stdev

from pydantic import BaseModel, ConfigDict

from safelight.record.record import Cell, Finding, Measurement, Record
from safelight.record.verdict import LEVEL, LINE_UP, measure

#: SSIM as the study has it (11x11 Gaussian window), where a record holds it; else ours (7x7).
AS_PUBLISHED = "ssim gaussian"


class Row(BaseModel):
    """One adversary under one defense: published, and ours over all pairs.

    ``scores`` holds measurements by name, with 95 % intervals over victims whose scores are
    averaged over pairs first; ``spread`` the standard deviation of each between pairs. ``values``
    are those averages, victim by victim, so that rows can be compared in pairs. All are empty where
    nothing was run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    defense: str
    published: tuple[float, float] | None
    scores: dict[str, Measurement]
    spread: dict[str, float]
    values: dict[str, list[float]]
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
    controls = [control.passed for cell in cells for control in cell.controls]
    return Row(
        name=name,
        defense=defense,
        published=(published[0], published[1]) if published else None,
        scores={one: measure(_known(one), [c.scores[one] for c in cells], LEVEL) for one in kept},
        spread={
            one: stdev(fmean(c.scores[one]) for c in cells) if len(cells) > 1 else 0.0
            for one in kept
        },
        values=values,
        template={one: fmean(each[one] for each in templates) for one in _shared(templates)},
        pairs=len(cells),
        seconds=round(sum(one.seconds for one in cells), 1),
        outcomes=[finding.verdict.outcome for _, finding in found],
        controls_passed=all(controls) if controls else None,
    )


def difference(one: Row, other: Row, score: str) -> Measurement | None:
    """Return by how much one row's score exceeds another's, paired by victim; None if not run."""
    ours, theirs = one.values.get(score), other.values.get(score)
    if not ours or not theirs or len(ours) != len(theirs):
        return None
    return measure("gain", [[a - b for a, b in zip(ours, theirs, strict=True)]], LEVEL)


def _known(score: str) -> str:
    return "ssim" if score == AS_PUBLISHED else score


def _shared(templates: Sequence[dict[str, float]]) -> list[str]:
    return (
        [] if not templates else [one for one in templates[0] if all(one in t for t in templates)]
    )
