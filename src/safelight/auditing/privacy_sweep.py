"""Does differential privacy help: one plan audited at several epsilons, beside none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safelight import catalog
from safelight.auditing.legs import Leg
from safelight.bounds.dp_region import largest_auc, largest_tpr, proved
from safelight.bounds.rero import ApproximateDP
from safelight.data.roles import deal
from safelight.defenses.dp_sgd import DPSGD, epsilon_of
from safelight.errors import PlanError
from safelight.plan.plan import DefensePlan, Plan, override
from safelight.record.membership import Compared, ScoresRecord, leaking
from safelight.record.membership_audit import MembershipRecord
from safelight.record.privacy_sweep import (
    FPR,
    Leakage,
    Point,
    Promise,
    SweepRecord,
    recommend,
)
from safelight.record.record import Measurement
from safelight.record.verdict import LEVEL
from safelight.stats.intervals import bonferroni, clopper_pearson

#: Deltas beside the plan's at which the accountant is asked for epsilon: each pair is a promise of
#: the same training, a tangent of its largest ROC curve. The small ones touch it at few false
#: alarms, the large ones in the middle, which the AUC is about.
DELTAS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 0.6)


@dataclass(frozen=True)
class PrivateLeg(Leg):
    """One audit of a sweep, and the epsilon that is asked of its training; None: no privacy."""

    epsilon: float | None


def read_epsilons(text: str) -> list[float | None]:
    """Read a list such as ``0.5,1,3,none``; returned from the strongest promise to none.

    Raises:
        PlanError: an entry is no number above 0 and not ``none``, or stands there twice.
    """
    found: list[float | None] = []
    for word in text.split(","):
        try:
            value = None if word.strip() == "none" else float(word)
        except ValueError:
            value = math.nan
        if value is not None and not 0 < value < math.inf:
            raise PlanError(f"--epsilons has {word.strip()!r}; write numbers above 0, or none")
        if value in found:
            raise PlanError(f"--epsilons has {word.strip()} twice; name each once")
        found.append(value)
    return sorted(found, key=lambda one: math.inf if one is None else one)


def legs(
    plan: Plan, epsilons: Sequence[float | None], private: Sequence[str] = ()
) -> list[PrivateLeg]:
    """Return the audits of a sweep, in the order of ``epsilons``.

    Without privacy the plan's own loop and recipe hold. With it, the plan's ``[defense]`` or
    ``dp_sgd`` as it comes trains instead, at that epsilon, in float32.

    Args:
        plan: whose threats are membership games.
        epsilons: to be reached; None is without privacy.
        private: ``dotted.key=value`` items for private training alone, whose best learning rate
            and batch are others.

    Raises:
        PlanError: the plan asks something else, or cannot be trained privately at an epsilon.
    """
    if any(one.name != "membership_game" for one in plan.threats):
        raise PlanError(
            "a sweep of privacy asks who was in the training set; give a plan whose threats are "
            "membership_game, such as the preset membership"
        )
    if plan.target.weights is not None:
        raise PlanError("a sweep trains its targets; leave out target.weights")
    members = _members(plan)
    found = []
    for epsilon in epsilons:
        if epsilon is None:
            bare = plan.model_copy(update={"name": f"{plan.name} no privacy", "defense": None})
            found.append(PrivateLeg("none", bare, None))
            continue
        given = override(plan, ["target.fit.precision=float32", *private], "--private")
        defense = _at(given.defense or DefensePlan(name="dp_sgd"), epsilon)
        built: DPSGD = catalog.build("defense", defense.name, defense.options)
        built.privacy(members, given.target.fit)  # refuses what cannot be promised
        named = {"name": f"{plan.name} epsilon {epsilon:g}", "defense": defense}
        found.append(PrivateLeg(f"epsilon-{epsilon:g}", given.model_copy(update=named), epsilon))
    return found


def _members(plan: Plan) -> int:
    role = plan.data.private
    if role is None:
        raise PlanError("a sweep of privacy needs data.private, the pictures to train on; name it")
    if role.count is not None:
        return role.count
    private = deal(plan.data).private
    return len(private) if private is not None else 0


def _at(defense: DefensePlan, epsilon: float) -> DefensePlan:
    if defense.options.get("noise"):
        raise PlanError(
            "defense.noise decides epsilon, which a sweep varies; leave it out of the plan"
        )
    return DefensePlan.model_validate({"name": defense.name, **defense.options, "epsilon": epsilon})


def gather(
    plan: Plan,
    legs: Sequence[PrivateLeg],
    records: Sequence[MembershipRecord],
    settings: Sequence[str],
) -> SweepRecord:
    """Put the audits of a sweep beside each other, and recommend.

    Args:
        plan: the sweep's.
        legs: of the sweep.
        records: of each leg, in the same order.
        settings: those of private training alone, to be shown.
    """
    points = [point(leg, one) for leg, one in zip(legs, records, strict=True)]
    sizes = {one.name: one.count for one in records[0].roles}
    made = records[0].provenance
    return SweepRecord(
        name=plan.name,
        advice=recommend(points),
        points=points,
        members=sizes["private"],
        others=sizes["holdout"],
        model=records[0].target.name,
        settings=list(settings),
        plan=plan.model_dump(mode="json", exclude_none=True),
        safelight=made.safelight,
        machine=made.machine,
        started=made.started,
    )


def point(leg: PrivateLeg, record: MembershipRecord) -> Point:
    """Return what one audit says of utility, leakage and promise."""
    ran = [(one.attack, one.scores) for one in record.findings if one.scores is not None]

    def rate(scores: ScoresRecord) -> Compared:
        return next(one.compared for one in scores.rates if one.fpr == FPR)

    tries = sum(not one.skipped for one in record.findings)
    assert record.verdict is not None  # noqa: S101 - of a finished audit
    return Point(
        epsilon=leg.epsilon,
        run=leg.folder,
        verdict=record.verdict,
        utility=record.test_accuracy,
        train_accuracy=record.train_accuracy,
        tpr=_highest([(name, rate(scores)) for name, scores in ran], tries),
        auc=_highest([(name, scores.auc) for name, scores in ran], tries),
        attacks=tries,
        promise=_promise(record.target.facts),
    )


def _highest(found: list[tuple[str, Compared]], tries: int) -> Leakage | None:
    """Return the highest value over attacks, with limits of the highest true value.

    With each of k attacks' limits at level 1 - (1 - LEVEL) / k, all hold together with LEVEL, and
    then the highest true value lies between the highest lower and the highest upper limit. An AUC
    varies at most as much as a share of n pictures does (see ``metrics.membership.auc``), whose
    exact limits serve for both.
    """
    if not found:
        return None
    attack, best = max(found, key=lambda pair: pair[1].measurement.value or 0)
    level = bonferroni(LEVEL, tries)
    limits = [
        clopper_pearson((one.measurement.value or 0) * one.measurement.n, one.measurement.n, level)
        for _, one in found
    ]
    measurement: Measurement = best.measurement.model_copy(
        update={"low": max(low for low, _ in limits), "high": max(high for _, high in limits)}
    )
    return Leakage(
        attack=attack,
        measurement=measurement,
        leak=any(leaking(one) for _, one in found),
    )


def _promise(facts: dict[str, Any]) -> Promise | None:
    given = facts.get("privacy")
    if not isinstance(given, dict) or given.get("epsilon") is None:
        return None
    epsilon, delta = float(given["epsilon"]), float(given["delta"])
    noise, rate, steps = given["noise"], given["sampling rate"], given["steps"]
    pairs = [ApproximateDP(epsilon, delta)]
    for wider in DELTAS:
        less = epsilon_of(noise, rate, steps, wider) if wider > delta else None
        pairs += [ApproximateDP(max(less, 0.0), wider)] if less is not None else []
    alone, at = pairs[0], np.array([FPR])
    return Promise(
        epsilon=epsilon,
        delta=delta,
        noise=noise,
        steps=steps,
        sampling=f"{given['sampling']}, rate {rate:.4g}",
        accountant=str(given["accountant"]),
        epsilon_tpr=float(largest_tpr(alone, at)[0]),
        epsilon_auc=largest_auc(alone),
        tpr=float(largest_tpr(proved(pairs), at)[0]),
        auc=largest_auc(proved(pairs)),
    )
