"""Membership from scores that were made elsewhere: measure, set beside the null, have it judged."""

import importlib.metadata
import math
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from safelight.auditing.score_files import ScoreSet
from safelight.data.images import ImageSet
from safelight.metrics import membership
from safelight.metrics.membership_null import p_values, planted, reach, shuffled, statistics
from safelight.record.membership import (
    ERROR,
    PLANTED_DRAWS,
    PLANTED_SHARE,
    RATES,
    SHUFFLES,
    TESTS,
    Compared,
    Kind,
    Rate,
    ScoreFile,
    ScoresRecord,
    judge,
    planted_control,
)
from safelight.record.record import Control, Measurement
from safelight.record.verdict import LEVEL
from safelight.stats.intervals import clopper_pearson
from safelight.stats.seeds import Seeds

Array = NDArray[np.float64]

#: Corners of the ROC curve that are kept: finer than a page can draw.
CORNERS = 400


def assess(
    members: ScoreSet,
    nonmembers: ScoreSet,
    kind: Kind,
    prior: float,
    seed: int = 0,
    tests: int = 1,
) -> ScoresRecord:
    """Measure how well the scores tell members from non-members, and judge it.

    With several ``tests``, all that is compared with the null is fine enough for ``correct`` to
    multiply the p-values afterwards, which is left to the caller.

    Args:
        members: scores of the training set, higher for members.
        nonmembers: scores of examples from the same source that were not trained on.
        kind: what the numbers were in the files.
        prior: share of members among those whom an attacker would ask about, in (0, 1).
        seed: of the shuffles and the planted leaks; the same seed gives the same verdict.
        tests: sets of scores that are judged together, this one among them.
    """
    inside, outside = members.scores, nonmembers.scores
    fewer, root = min(inside.size, outside.size), Seeds(seed)
    found = statistics(inside, outside, RATES)
    # p = 1 / (1 + shuffles) must be within reach of ERROR / TESTS after it is multiplied by tests.
    shuffles = SHUFFLES * tests
    null = shuffled(inside, outside, RATES, shuffles, root.child("shuffles").integer())
    reached, p = reach(null, ERROR / TESTS / tests), p_values(found, null)
    auc = Compared(
        measurement=_measured(membership.auc(inside, outside, LEVEL), fewer, 0.5),
        reach=float(reached[0]),
        p=float(p[0]),
    )
    rates = [
        _rate(inside, outside, fpr, prior, float(reached[1 + place]), float(p[1 + place]))
        for place, fpr in enumerate(RATES)
    ]
    controls = [_planted(inside, outside, reached, root.child("planted").integer())]
    reversed_p = _reversed(inside, outside, shuffles, root.child("reversed").integer())
    advantage = membership.advantage(inside, outside, LEVEL)
    return ScoresRecord(
        verdict=judge(auc, rates, controls, reversed_p),
        kind=kind,
        members=members.origin,
        nonmembers=nonmembers.origin,
        prior=prior,
        auc=auc,
        reversed_p=reversed_p,
        advantage=_measured(advantage, fewer, 0.0),
        rates=rates,
        controls=controls,
        shuffles=shuffles,
        roc=_corners(membership.roc(inside, outside)),
        safelight=importlib.metadata.version("safelight"),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def sides_of(
    scores: Array, member: NDArray[np.bool_], members: ImageSet, others: ImageSet, column: str
) -> tuple[ScoreSet, ScoreSet]:
    """Return an attack's scores [candidates] as those of members and of others, for ``assess``."""

    def side(name: str, rows: NDArray[np.bool_], images: ImageSet) -> ScoreSet:
        origin = ScoreFile(file=name, column=column, count=len(images), sha256=images.sha256())
        return ScoreSet(scores[rows], (), origin)

    return side("data.private", member, members), side("data.holdout", ~member, others)


def _rate(
    inside: Array, outside: Array, fpr: float, prior: float, reached: float, p: float
) -> Rate:
    found = membership.tpr_at_fpr(inside, outside, fpr, LEVEL)
    return Rate(
        fpr=fpr,
        false_alarms=found.false_alarms,
        threshold=found.threshold if math.isfinite(found.threshold) else None,
        compared=Compared(measurement=_measured(found.tpr, inside.size, fpr), reach=reached, p=p),
        curve_low=found.curve.low,
        curve_high=found.curve.high,
        precision=membership.precision_at_prior(found.tpr.value, fpr, prior),
    )


def _measured(estimate: membership.Estimate, n: int, chance: float) -> Measurement:
    return Measurement(
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        level=LEVEL,
        n=n,
        seeds=1,
        chance=chance,
        worse="higher",
        unit="share",
    )


def _planted(inside: Array, outside: Array, reached: Array, seed: int) -> Control:
    """Plant a leak in data sets like this one, and count how often the tests find it."""
    rng = np.random.default_rng(seed)
    draws = (planted(outside, inside.size, PLANTED_SHARE, rng) for _ in range(PLANTED_DRAWS))
    hits = sum(bool((statistics(*draw, RATES) > reached).any()) for draw in draws)
    return planted_control(hits, clopper_pearson(hits, PLANTED_DRAWS, LEVEL)[0])


def _reversed(inside: Array, outside: Array, shuffles: int, seed: int) -> float:
    """Test the scores upside down: the smallest p-value of a leak of the opposite meaning."""
    found = statistics(-inside, -outside, RATES)
    return float(p_values(found, shuffled(-inside, -outside, RATES, shuffles, seed)).min())


def _corners(curve: membership.Roc) -> list[tuple[float, float]]:
    """Thin the curve to corners that are evenly spaced on a logarithmic axis, ends included."""
    last = len(curve.fpr) - 1
    wanted = np.geomspace(1e-6, 1, CORNERS // 2)
    near = [np.searchsorted(axis, wanted, side="right") - 1 for axis in (curve.fpr, curve.tpr)]
    kept = np.unique(np.concatenate([[0], *near, [last]]))
    return [(float(curve.fpr[one]), float(curve.tpr[one])) for one in kept]
