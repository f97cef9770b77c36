"""A threat-model entry with measured values, and what moves them: records beside each other."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from safelight.record.generator import GeneratorFinding, GeneratorRecord
from safelight.record.record import SEVERITIES, Measurement, Verdict

#: The false alarm rate at which an entry counts members.
FPR = 0.01


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reached(_Frozen):
    """What one attack reached on one architecture, over all its trainings.

    Values are means over trainings. Limits are the widest of any training, each corrected for the
    tests of its audit. ``extracted`` and ``falsely`` are pictures, one count a training; empty
    where the attack extracts none.
    """

    attack: str
    access: str
    auc: Measurement
    tpr: Measurement
    extracted: list[int]
    falsely: list[int]
    outcomes: list[str]


class Entry(_Frozen):
    """A threat-model entry for one architecture.

    ``severity`` and ``reason`` are of the worst verdict of any training.
    ``not_run`` names attacks that were not run or failed, with why. ``failed`` names controls that
    did not pass, each once, with what the first of them said.
    """

    architecture: str
    parameters: int
    steps: int
    pictures: int
    candidates: int
    owned: int
    classes: int
    trained_on: str
    trainings: int
    verdicts: list[str]
    severity: str
    reason: str
    reached: list[Reached]
    not_run: list[str]
    failed: list[str]
    queries: int
    seconds: float


class Level(_Frozen):
    """One setting of a factor: the mean AUC of one attack there.

    The limits, like those of the comparison, are of a bootstrap over pictures and trainings.
    ``leak``: any training's audit called this attack's finding a leak.
    """

    name: str
    auc: float
    low: float
    high: float
    leak: bool


class FactorRow(_Frozen):
    """One attack under one factor: the first of its levels is said to leak more than the last.

    ``difference`` is the mean AUC of the first less that of the last, with limits at ``level``.
    ``members_paired`` and ``others_paired``: both ends were asked about the very same pictures, so
    that the bootstrap drew them together; else each end drew its own.
    """

    factor: str
    said: str
    attack: str
    levels: list[Level]
    difference: float
    low: float
    high: float
    level: float
    members_paired: bool
    others_paired: bool
    members: int
    others: int
    trainings: int

    @property
    def outcome(self) -> Literal["confirmed", "refuted", "open"]:
        """Whether the interval lies on one side of 0."""
        if self.low > 0:
            return "confirmed"
        return "refuted" if self.high < 0 else "open"


class GeneratorReproduction(_Frozen):
    """Everything that was measured for one threat model.

    ``words``: what the entry says, by attack, and as ``severity``. ``missing``: factors of which
    not both ends were run.
    """

    title: str
    reference: str
    words: dict[str, str]
    scale: str
    entries: list[Entry]
    factors: list[FactorRow]
    missing: list[str]
    machine: str
    safelight: str


def entry(
    architecture: str, records: Sequence[GeneratorRecord], names: Sequence[Sequence[str]]
) -> Entry:
    """Return the entry of an architecture from the records of its trainings.

    Args:
        architecture: its name.
        records: one a training, of the same plan but for the seed.
        names: of each record's findings, in its order.
    """
    first = records[0]
    pairs = [
        (name, one)
        for record, own in zip(records, names, strict=True)
        for name, one in zip(own, record.findings, strict=True)
    ]
    found: dict[str, list[GeneratorFinding]] = {}
    for name, one in pairs:
        if one.scores is not None:
            found.setdefault(name, []).append(one)
    idle = [
        f"{name}: {one.skipped or one.failed or 'not run yet'}"
        for name, one in pairs
        if one.scores is None
    ]
    sizes = {role.name: role.count for role in first.roles}
    recipe, verdicts = first.target.facts.get("recipe", {}), [one.verdict for one in records]
    worst = max((one for one in verdicts if one), key=_strength, default=None)
    return Entry(
        architecture=architecture,
        parameters=first.target.parameters,
        steps=recipe.get("steps", 0),
        pictures=first.target.facts.get("n", sizes["members"]),
        candidates=sizes["members"],
        owned=sizes["reference"],
        classes=len(set(first.member_labels)),
        trained_on=first.target.trained_on,
        trainings=len(records),
        verdicts=[one.outcome if one else "not finished" for one in verdicts],
        severity=worst.severity if worst else "none",
        reason=worst.reason if worst else "not finished",
        reached=[_reached(name, own) for name, own in found.items()],
        not_run=list(dict.fromkeys(idle)),
        failed=_failed(records),
        queries=sum(one.queries for record in records for one in record.findings),
        seconds=round(sum(one.seconds for one in records), 1),
    )


def _strength(verdict: Verdict) -> tuple[bool, int]:
    return verdict.outcome == "LEAK", SEVERITIES.index(verdict.severity)


def _reached(name: str, findings: Sequence[GeneratorFinding]) -> Reached:
    scores = [one.scores for one in findings if one.scores is not None]
    rates = [rate.compared.measurement for one in scores for rate in one.rates if rate.fpr == FPR]
    had = [one.found for one in findings if one.found is not None]
    return Reached(
        attack=name,
        access=findings[0].access,
        auc=_over_trainings([one.auc.measurement for one in scores]),
        tpr=_over_trainings(rates),
        extracted=[_count(one.members) for one in had],
        falsely=[_count(one.others) for one in had],
        outcomes=[one.verdict.outcome for one in findings],
    )


def _over_trainings(values: Sequence[Measurement]) -> Measurement:
    lows = [one.low for one in values if one.low is not None]
    highs = [one.high for one in values if one.high is not None]
    return values[0].model_copy(
        update={
            "value": sum(one.value or 0.0 for one in values) / len(values),
            "low": min(lows, default=None),
            "high": max(highs, default=None),
            "seeds": len(values),
        }
    )


def _count(share: Measurement) -> int:
    return round((share.value or 0.0) * share.n)


def _failed(records: Sequence[GeneratorRecord]) -> list[str]:
    controls = [one for record in records for one in record.controls]
    for record in records:
        for finding in record.findings:
            own = finding.scores.controls if finding.scores else []
            controls += [*finding.controls, *own]
    first: dict[str, str] = {}
    for control in controls:
        if not control.passed:
            first.setdefault(control.name, control.detail)
    return [f"{name}: {detail}" for name, detail in first.items()]
