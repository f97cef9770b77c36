"""What audits of one plan behind several defenses found beside each other; it also recommends."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from safelight.record.reading import read
from safelight.record.record import Measurement, Outcome

#: Raised whenever a reader of an older version would misread a newer file.
SCHEMA_VERSION = 1

#: Accuracy that a defense may surely not cost more of to be recommended. Two points in a hundred
#: is what the literature on these defenses calls a small loss.
MOST_LOSS = 0.02

#: A defense must surely remove this share of the gain to be recommended: with more than half of it
#: left, an attacker still shows pictures.
LEAST_REMOVED = 0.5


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Frozen):
    """One defense at one place, against the attack that reached most there.

    ``defense`` is empty for none. ``gain`` is the SSIM over the best null by an attacker who knows
    the defense, ``unaware`` by one who does not; ``removed`` the share of the reference's gain that
    is gone, ``loss`` the accuracy that is gone, both paired picture by picture. ``run`` is the
    folder of the audit, beside the scorecard's file; ``finding`` and ``seed`` say which pictures in
    it to show. ``milliseconds`` is the device's time for a picture, ``sent_bytes`` a message
    deflated. ``bound`` is the finding's, in words.
    """

    defense: str
    where: str
    run: str
    finding: str
    attack: str
    outcome: Outcome
    reason: str
    gain: Measurement
    named: Measurement
    unaware: Measurement | None
    removed: Measurement | None
    accuracy: Measurement | None
    loss: Measurement | None
    sent_bytes: float | None
    raw_bytes: int | None
    milliseconds: float | None
    bound: str
    front: bool = False

    @property
    def name(self) -> str:
        """The defense and the place, as people write them."""
        return f"{self.defense or 'no defense'}, {self.where}"


class Advice(_Frozen):
    """The row to take, by its number, and why, in a sentence without its full stop."""

    helps: Literal["yes", "no", "unneeded"]
    row: int | None
    reason: str


class ScorecardRecord(_Frozen):
    """A scorecard. The first row is the reference: no defense, at the plan's first place."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["scorecard"] = "scorecard"
    name: str
    advice: Advice
    rows: list[Row]
    victims: int
    others: int
    seeds: int
    model: str
    plan: dict[str, Any]
    safelight: str
    machine: str
    started: str


def on_front(rows: Sequence[Row]) -> list[bool]:
    """Return which rows no other row beats in both leakage and accuracy (Pareto)."""

    def beaten(one: Row) -> bool:
        return any(
            _leak(other) <= _leak(one)
            and _right(other) >= _right(one)
            and (_leak(other), _right(other)) != (_leak(one), _right(one))
            for other in rows
        )

    return [not beaten(one) for one in rows]


def recommend(rows: Sequence[Row]) -> Advice:
    """Return the row that removes most of the leak among those that surely cost little accuracy.

    Little: the upper limit of its loss is at most ``MOST_LOSS``. Removes: the lower limit of the
    removed share is at least ``LEAST_REMOVED``. An audit without a result recommends nothing.
    """
    if rows[0].outcome == "INCONCLUSIVE":
        told = f"the audit without a defense has no result: {rows[0].reason}"
        return Advice(helps="no", row=None, reason=told)
    if rows[0].outcome == "NO EVIDENCE":
        return Advice(
            helps="unneeded", row=None, reason="without a defense no leak is found here either"
        )
    cheap = [
        number
        for number, one in enumerate(rows)
        if number and one.loss is not None and (one.loss.high or 0.0) <= MOST_LOSS
    ]
    useful = [
        number
        for number in cheap
        if (removed := rows[number].removed) is not None
        and (removed.low or 0.0) >= LEAST_REMOVED
        and rows[number].outcome != "INCONCLUSIVE"
    ]
    if not useful:
        told = f"no candidate surely loses at most {100 * MOST_LOSS:g} points of accuracy"
        if cheap:
            most = max((rows[number] for number in cheap), key=_removed)
            told = (
                f"nothing that surely loses at most {100 * MOST_LOSS:g} points of accuracy surely "
                "hides half of what an attacker gains who knows it; "
                f"{most.name}, which hides most, {100 * _removed(most):.0f}%"
            )
        return Advice(helps="no", row=None, reason=told)
    best = max(useful, key=lambda number: (_removed(rows[number]), -_leak(rows[number])))
    one = rows[best]
    reason = (
        f"{one.name} removes {100 * min(1.0, _removed(one)):.0f}% of what is gained over the best "
        f"null, for {100 * _lost(one):.1f} points of accuracy; it ends as {one.outcome}"
    )
    return Advice(helps="yes", row=best, reason=reason)


def load_scorecard(path: str | Path) -> ScorecardRecord:
    """Read a scorecard by its folder or its scorecard.json.

    Raises:
        RecordError: there is none, it is cut short, or of another kind or version.
    """
    return read(path, ScorecardRecord, SCHEMA_VERSION, "scorecard", "scorecard.json")


def _leak(row: Row) -> float:
    return row.gain.value or 0.0


def _right(row: Row) -> float:
    return (row.accuracy.value or 0.0) if row.accuracy else 0.0


def _removed(row: Row) -> float:
    return (row.removed.value or 0.0) if row.removed else 0.0


def _lost(row: Row) -> float:
    return (row.loss.value or 0.0) if row.loss else 0.0
