"""What does each defense buy, and what does it cost: one plan audited behind every candidate."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight import catalog
from safelight.auditing.legs import Leg
from safelight.auditing.question import asks_for_messages
from safelight.auditing.setting import name_defense
from safelight.defenses.fit_at_cut import TrainedAtCut
from safelight.errors import PlanError, RecordError
from safelight.plan.plan import DefensePlan, Plan, ThreatPlan
from safelight.record.record import Cell, Deployment, Finding, Measurement, Outcome, Record
from safelight.record.scorecard import Row, ScorecardRecord, on_front, recommend
from safelight.record.verdict import LEVEL, measure
from safelight.stats.intervals import RESAMPLES, bonferroni, bootstrap_mean
from safelight.targets.generators.defended import GeneratorDefense
from safelight.targets.release import Release


def legs(plan: Plan) -> list[Leg]:
    """Return the audits: without a defense, then behind each candidate.

    Who attacks a defense of what leaves is tried knowing it and not knowing it.

    Raises:
        PlanError: the plan asks something else, or already has a defense, or a candidate is wrong.
    """
    if not asks_for_messages(plan):
        raise PlanError(
            "a scorecard compares what defenses hide of messages; give a plan whose threats are "
            "split_inference or prediction_api, or a single [defense]"
        )
    if plan.defense is not None:
        raise PlanError("the plan has both defense and defenses; keep one of them")
    bare = {"defenses": [], "name": f"{plan.name} no defense"}
    found = [Leg("none", plan.model_copy(update=bare))]
    for candidate in plan.defenses:
        for defense in catalog.expand("defense", candidate.name, candidate.options):
            if isinstance(defense, GeneratorDefense):
                raise PlanError(f"{candidate.name} trains a generator and hides no message")
            options = {key: asdict(defense)[key] for key in candidate.options}
            own = DefensePlan.model_validate({"name": candidate.name, **options})
            told = plan.model_copy(update={"defense": own, "defenses": []})
            changed = isinstance(defense, Release) or defense.at_release is not None
            threats = [_knowing(one) if changed else one for one in plan.threats]
            if isinstance(defense, TrainedAtCut):
                threats = [_behind(one, defense) for one in threats]
            said = name_defense(told)
            folder = re.sub(r"[^\w.-]+", "-", said).strip("-")
            named = {"name": f"{plan.name} {folder}", "threats": threats}
            found.append(Leg(folder, told.model_copy(update=named)))
    for number, leg in enumerate(found):
        if leg.folder in {one.folder for one in found[:number]}:
            raise PlanError(f"{leg.folder} stands in defenses twice; remove one")
    return found


def _knowing(threat: ThreatPlan) -> ThreatPlan:
    return ThreatPlan.model_validate({"aware": [True, False], **threat.model_dump()})


def _behind(threat: ThreatPlan, defense: TrainedAtCut) -> ThreatPlan:
    """Return the threat at the bottleneck where the defense puts one behind the threat's cut."""
    if "cut" not in threat.options:  # what a service returns lies behind every bottleneck
        return threat
    cuts = threat.options["cut"]
    listed = cuts if isinstance(cuts, list) else [cuts]
    moved = [defense.sends if one == defense.cut else one for one in listed]
    return ThreatPlan.model_validate({**threat.model_dump(), "cut": moved})


def gather(plan: Plan, legs: Sequence[Leg], records: Sequence[Record]) -> ScorecardRecord:
    """Put the audits beside each other, and recommend.

    Args:
        plan: the scorecard's.
        legs: of the scorecard, the first without a defense.
        records: of each leg, finished, in the same order.

    Raises:
        RecordError: no attack came to an end without a defense, so there is nothing to compare.
    """
    groups = [
        (leg, record, where)
        for leg, record in zip(legs, records, strict=True)
        for where in dict.fromkeys(one.where for one in _ran(record))
    ]
    tests = sum(len(_ran(record)) for record in records)
    level = bonferroni(LEVEL, tests)
    measured = []
    for leg, record, where in groups:
        finding = _strongest(record, where, aware=True)
        if finding is None:
            raise RecordError(f"no attack came to an end at {where}; see {leg.folder}/report.html")
        measured.append((leg, _Measured(record, finding)))
    if not measured:
        raise RecordError("no attack fits any threat of the plan; give one that needs less")
    first = measured[0][1]
    rows = [_row(leg, own, first, level) for leg, own in measured]
    fronts = on_front(rows)
    rows = [
        one.model_copy(update={"front": front}) for one, front in zip(rows, fronts, strict=True)
    ]
    sizes = {one.name: one.count for one in records[0].roles}
    made = records[0].provenance
    return ScorecardRecord(
        name=plan.name,
        advice=recommend(rows),
        rows=rows,
        victims=sizes["victims"],
        others=sizes["holdout"],
        seeds=len(plan.seeds),
        model=records[0].target.name,
        plan=plan.model_dump(mode="json", exclude_none=True),
        safelight=made.safelight,
        machine=made.machine,
        started=made.started,
    )


@dataclass(frozen=True)
class _Measured:
    """A finding in its record, with what its cells measured."""

    record: Record
    finding: Finding

    @property
    def cells(self) -> list[Cell]:
        own = [one for one in self.record.cells if one.finding == self.finding.id]
        return [one for one in own if one.status == "ok"]

    def values(self, score: str) -> NDArray[np.float64]:
        """Return one score of every victim, [n], its mean over seeds."""
        scores = np.array([one.scores[score] for one in self.cells], dtype=np.float64)
        return np.asarray(scores.mean(axis=0), dtype=np.float64)

    def pooled(self, score: str, level: float) -> Measurement:
        return measure(score, [one.scores[score] for one in self.cells], level)

    @property
    def deployment(self) -> Deployment | None:
        places = (one for one in self.record.deployments if one.where == self.finding.where)
        return next(places, None)


def _ran(record: Record) -> list[Finding]:
    return [one for one in record.findings if not one.skipped]


def _aware(finding: Finding) -> bool:
    return bool(finding.threat_options.get("aware", True))


def _strongest(record: Record, where: str, aware: bool) -> Finding | None:
    """Return the finding whose claims gain most there, of those that came to an end.

    Who knows a defense may act as if he did not.
    """
    own = [one for one in _ran(record) if one.where == where and (aware or not _aware(one))]
    done = {cell.finding for cell in record.cells if cell.status == "ok"}
    ended = [one for one in own if one.id in done]
    return max(ended, key=lambda one: one.measurements["gain"].value or 0.0, default=None)


def _row(leg: Leg, own: _Measured, first: _Measured, level: float) -> Row:
    finding, place = own.finding, own.deployment
    naive = _strongest(own.record, finding.where, aware=False)
    outcome, reason = _judged(own.record, finding.where)
    bound = finding.bound
    return Row(
        defense=finding.defense,
        where=finding.where,
        run=leg.folder,
        finding=finding.id,
        attack=finding.attack,
        outcome=outcome,
        reason=reason,
        gain=own.pooled("gain", level),
        named=own.pooled("named", level),
        unaware=_Measured(own.record, naive).pooled("gain", level) if naive else None,
        removed=None if own == first else _removed(own, first, level),
        accuracy=place.accuracy if place else None,
        loss=_loss(place, first.deployment, level),
        sent_bytes=place.sent_bytes if place else None,
        raw_bytes=place.raw_bytes if place else None,
        milliseconds=place.milliseconds if place else None,
        bound=bound.detail if bound is not None and bound.holds != "no" else "",
    )


def _judged(record: Record, where: str) -> tuple[Outcome, str]:
    """Return what attackers lead to there: what failed, for it might have been the best; a leak."""
    for cell in record.cells:
        failed = [one for one in _ran(record) if one.id == cell.finding and one.where == where]
        if cell.status == "error" and failed:
            return "INCONCLUSIVE", f"{failed[0].attack}: {cell.reason}"
    own = [one.verdict for one in _ran(record) if one.where == where]
    for outcome in ("LEAK", "INCONCLUSIVE"):
        for one in own:
            if one.outcome == outcome:
                return one.outcome, one.reason
    return own[0].outcome, own[0].reason


def _removed(own: _Measured, first: _Measured, level: float) -> Measurement | None:
    """Return 1 - gain / gain without a defense, with a bootstrap over victims, in pairs."""
    here, there = own.values("gain"), first.values("gain")
    if there.mean() <= 0 or len(here) != len(there):
        return None
    rows = np.random.default_rng(0).integers(0, len(here), (RESAMPLES, len(here)))
    left = here[rows].mean(1) / np.maximum(there[rows].mean(1), 1e-9)
    low, high = np.quantile(1 - left, [(1 - level) / 2, (1 + level) / 2])
    return _measured(1 - here.mean() / there.mean(), low, high, level, len(here), "lower")


def _loss(here: Deployment | None, there: Deployment | None, level: float) -> Measurement | None:
    """Return the accuracy that is lost, with an interval over the same pictures in pairs."""
    if here is None or there is None or len(here.right) != len(there.right):
        return None
    lost = np.array([int(b) - int(a) for a, b in zip(here.right, there.right, strict=True)], float)
    low, high = bootstrap_mean(lost, level)
    return _measured(lost.mean(), low, high, level, len(lost), "higher")


def _measured(value: Any, low: Any, high: Any, level: float, n: int, worse: Any) -> Measurement:
    return Measurement(
        value=float(value),
        low=float(low),
        high=float(high),
        level=level,
        n=n,
        seeds=1,
        chance=0.0,
        worse=worse,
        unit="share",
    )
