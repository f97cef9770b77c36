"""What audits under growing privacy found beside each other, and the only place that recommends."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from safelight.record.reading import read
from safelight.record.record import Measurement, Verdict

#: Raised whenever a reader of an older version would misread a newer file.
SCHEMA_VERSION = 1

#: The false alarm rate at which a sweep counts members: the field's, and the highest at which an
#: attacker is mostly right about a member among a hundred.
FPR = 0.01


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Promise(_Frozen):
    """What one training promises, and how: ``tpr`` at ``FPR`` and ``auc`` are limits on any attack.

    ``epsilon_tpr`` and ``epsilon_auc`` follow from (epsilon, delta) alone; ``tpr`` and ``auc``
    from all pairs (epsilon, delta) that the accountant gives for the same training, so that they
    are never higher.
    """

    epsilon: float
    delta: float
    noise: float
    steps: int
    sampling: str
    accountant: str
    epsilon_tpr: float
    epsilon_auc: float
    tpr: float
    auc: float


class Leakage(_Frozen):
    """The highest value that any attack of one audit reached, and which attack.

    The limits hold for the highest true value over all attacks at once: each attack's own are at
    a level that is corrected for their number. ``leak`` says whether any attack's value there,
    its p-value corrected, counts as a leak.
    """

    attack: str
    measurement: Measurement
    leak: bool


class Point(_Frozen):
    """One audit of a sweep. ``epsilon`` is what was asked for; None: without privacy.

    ``tpr`` (at ``FPR``) and ``auc`` are None where no attack came to an end. ``run`` is the folder
    of the audit, beside the sweep's file.
    """

    epsilon: float | None
    run: str
    verdict: Verdict
    utility: Measurement
    train_accuracy: Measurement
    tpr: Leakage | None
    auc: Leakage | None
    attacks: int
    promise: Promise | None

    @property
    def name(self) -> str:
        """Return epsilon as people write it."""
        return "none" if self.epsilon is None else f"{self.epsilon:g}"


class Advice(_Frozen):
    """Whether privacy helps, at which epsilon, and why, in a sentence without its full stop.

    ``unneeded``: without privacy no leak is found either. ``unknown``: an audit that decides it
    came to no result, or was left out; an epsilon may be recommended all the same.
    """

    helps: Literal["yes", "no", "unneeded", "unknown"]
    epsilon: float | None
    reason: str


class SweepRecord(_Frozen):
    """A sweep. ``points`` go from the strongest promise to none; ``failed`` is what failed."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["privacy sweep"] = "privacy sweep"
    name: str
    advice: Advice
    points: list[Point]
    members: int
    others: int
    model: str
    settings: list[str]
    plan: dict[str, Any]
    safelight: str
    machine: str
    started: str


def recommend(points: Sequence[Point]) -> Advice:
    """Return the strongest promise among those that are clear and lose no measurable accuracy.

    An epsilon is clear where its audit ends with NO EVIDENCE, controls and all, and of use where
    its accuracy is surely above guessing. Of those, accuracies whose intervals reach that of the
    best count as equal to it, and the smallest epsilon among them is recommended. Nothing is
    recommended where the model shows no evidence of a leak without privacy.
    """
    private = [one for one in points if one.epsilon is not None]
    plain = next((one for one in points if one.epsilon is None), None)
    if plain is not None and plain.verdict.outcome == "NO EVIDENCE":
        return Advice(
            helps="unneeded",
            epsilon=None,
            reason=f"without privacy these attacks find no evidence of a leak either "
            f"({_right(plain)}); private training would buy a promise alone",
        )
    clear = [one for one in private if one.verdict.outcome == "NO EVIDENCE"]
    useful = [one for one in clear if (one.utility.low or 0) > (one.utility.chance or 0)]
    if not useful:
        return _none(private, clear)
    best = max(useful, key=lambda one: one.utility.value or 0)
    equal = [one for one in useful if (one.utility.high or 0) >= (best.utility.low or 0)]
    chosen = min(equal, key=lambda one: one.epsilon or 0)
    beside = "" if chosen is best else f"; epsilon {best.name}: {_right(best)}"
    reason = (
        f"of the epsilons without evidence of a leak, {chosen.name} is the smallest whose accuracy "
        f"is not surely below the best's ({_right(chosen)}{beside})"
    )
    if plain is not None and plain.tpr is not None:
        caught = _percent(plain.tpr.measurement.value)
        reason += (
            f"; without privacy {caught} of the members are caught at a false alarm rate of "
            f"{100 * FPR:g}% ({_right(plain)})"
        )
    leaking = plain is not None and plain.verdict.outcome == "LEAK"
    return Advice(helps="yes" if leaking else "unknown", epsilon=chosen.epsilon, reason=reason)


def _none(private: Sequence[Point], clear: Sequence[Point]) -> Advice:
    """Return that no epsilon is recommended, and why."""
    leaks = [one.name for one in private if one.verdict.outcome == "LEAK"]
    told = f"the training set shows at epsilon {', '.join(leaks)}" if leaks else ""
    unsure = [one for one in private if one.verdict.outcome == "INCONCLUSIVE"]
    if unsure:
        names = ", ".join(one.name for one in unsure)
        reason = (
            f"at epsilon {names} the audit cannot say whether the training set shows: "
            f"{unsure[0].verdict.reason}"
        )
        reason += f"; {told}" if told else ""
        return Advice(helps="unknown", epsilon=None, reason=reason)
    if not clear:
        return Advice(helps="no", epsilon=None, reason=told or "no epsilon was tried")
    most = max(clear, key=lambda one: one.utility.value or 0)
    reason = (
        "where no leak is found, the model is not surely better than guessing "
        f"(epsilon {most.name}: {_right(most)})"
    )
    reason += f"; {told}" if told else ""
    return Advice(helps="no", epsilon=None, reason=reason)


def _right(point: Point) -> str:
    """Write accuracy with its limits, which are rounded outward."""
    low = math.floor(1000 * (point.utility.low or 0) + 1e-9) / 1000
    high = math.ceil(1000 * (point.utility.high or 0) - 1e-9) / 1000
    return f"{_percent(point.utility.value)} right, {_percent(low)} to {_percent(high)}"


def _percent(share: float | None) -> str:
    return f"{100 * (share or 0):.1f}%"


def load_sweep(path: str | Path) -> SweepRecord:
    """Read a sweep by its folder or its privacy.json.

    Raises:
        RecordError: there is none, it is cut short, or of another kind or version.
    """
    return read(path, SweepRecord, SCHEMA_VERSION, "privacy sweep", "privacy.json")
