"""How well scores tell members from non-members. Higher scores mean member, higher values a leak.

An example is called a member where its score is at or above a threshold. TPR is the share of
members caught, FPR the share of non-members called members: the false alarms. Every function takes
two arrays of one score an example, [members] and [non-members], independent within and between,
and raises ``ValueError`` where one is empty or holds NaN. Chance: AUC 0.5, TPR = FPR, advantage 0.
"""

from dataclasses import dataclass
from math import ceil, floor, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm, rankdata

from safelight.stats.intervals import clopper_pearson

Scores = NDArray[np.floating]


class Estimate(NamedTuple):
    """A value with its two-sided interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Roc:
    """Every point that a threshold reaches, from nobody to everybody; all [points].

    The first threshold is infinite. Examples with equal scores are called together, so that a tie
    gives one point and no corner that no attacker could reach.
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    thresholds: NDArray[np.float64]


@dataclass(frozen=True)
class Operating:
    """What an attacker catches who may raise a share ``fpr`` of false alarms.

    The threshold is the lowest with at most ``false_alarms`` = floor(fpr x non-members) of them
    among these very non-members. ``tpr`` is exact for that threshold (Clopper and Pearson 1934),
    whose true false alarm rate is only near ``fpr``; ``curve`` is an interval of the true ROC curve
    at ``fpr``, which allows for that as well.
    """

    fpr: float
    false_alarms: int
    threshold: float
    tpr: Estimate
    curve: Estimate


@dataclass(frozen=True)
class Calls:
    """The calls at one threshold that was fixed beforehand, with exact intervals.

    ``precision`` is of these very sets; NaN with the interval (0, 1) where nobody was called a
    member. At another share of members it is another number: see ``precision_at_prior``.
    """

    accuracy: Estimate
    precision: Estimate
    recall: Estimate
    fpr: Estimate


def roc(members: Scores, nonmembers: Scores) -> Roc:
    """Return the ROC curve at every different score."""
    _check(members, nonmembers)
    thresholds = np.unique(np.concatenate([members, nonmembers]))[::-1]
    called = [_at_least(side, thresholds) / side.size for side in (nonmembers, members)]
    fpr, tpr = (np.append(0.0, share) for share in called)
    return Roc(fpr, tpr, np.append(np.inf, thresholds).astype(np.float64))


def auc(members: Scores, nonmembers: Scores, level: float = 0.95) -> Estimate:
    """Area under the ROC curve: P[member > non-member] + P[equal] / 2 (Mann and Whitney 1947).

    The interval is Wilson's with n = min(members, non-members). It holds for every pair of laws and
    does not shrink to nothing at an area of 1: the variance of the estimate is at most
    A (1 - A) / min(m, n), since it is a mean over orders of means of min(m, n) independent pairs
    (Birnbaum and Klose 1957; Hoeffding 1963). At chance it is about a fifth too wide for sets of
    the same size.
    """
    _check(members, nonmembers)
    m, n = members.size, nonmembers.size
    ranks = rankdata(np.concatenate([members, nonmembers]))[:m]
    area = float((ranks.sum() - m * (m + 1) / 2) / (m * n))
    return Estimate(area, *_wilson(area, min(m, n), level))


def tpr_at_fpr(members: Scores, nonmembers: Scores, fpr: float, level: float = 0.95) -> Operating:
    """Share of members caught at a false alarm rate, in (0, 1)."""
    _check(members, nonmembers)
    m, n = members.size, nonmembers.size
    allowed = floor(fpr * n + 1e-9)  # 0.29 * 100 must not allow 28
    threshold = _lowest(members, nonmembers, allowed)
    caught = int((members >= threshold).sum())
    exact = Estimate(caught / m, *clopper_pearson(caught, m, level))
    return Operating(
        fpr, allowed, threshold, exact, _curve_at(members, nonmembers, fpr, exact.value, level)
    )


def advantage(members: Scores, nonmembers: Scores, level: float = 0.95) -> Estimate:
    """Largest TPR - FPR over thresholds, in [0, 1] (Yeom et al. 2018, at the best threshold).

    Picking the best threshold on the scores that are judged flatters it: without any leak it is
    near sqrt(1 / m + 1 / n), not 0. The interval holds over all thresholds at once: both shares
    are off by at most sqrt(log(4 / (1 - level)) / 2 n) (Dvoretzky, Kiefer and Wolfowitz 1956;
    Massart 1990).
    """
    curve = roc(members, nonmembers)
    best = float((curve.tpr - curve.fpr).max())
    off = sum(sqrt(log(4 / (1 - level)) / (2 * side.size)) for side in (members, nonmembers))
    return Estimate(best, max(best - off, 0.0), min(best + off, 1.0))


def at_threshold(
    members: Scores, nonmembers: Scores, threshold: float, level: float = 0.95
) -> Calls:
    """Accuracy, precision and recall at a threshold that was fitted on other models."""
    _check(members, nonmembers)
    caught = int((members >= threshold).sum())
    alarms = int((nonmembers >= threshold).sum())
    m, n = members.size, nonmembers.size

    def share(hits: int, of: int) -> Estimate:
        return Estimate(hits / of if of else float("nan"), *clopper_pearson(hits, of, level))

    return Calls(
        accuracy=share(caught + n - alarms, m + n),
        precision=share(caught, caught + alarms),
        recall=share(caught, m),
        fpr=share(alarms, n),
    )


def precision_at_prior(tpr: float, fpr: float, prior: float) -> float:
    """Return how often a call of "member" is right where a share ``prior`` are members, in [0, 1].

    prior TPR / (prior TPR + (1 - prior) FPR); NaN where nobody is called a member.
    """
    called = prior * tpr + (1 - prior) * fpr
    return prior * tpr / called if called else float("nan")


def _check(members: Scores, nonmembers: Scores) -> None:
    for name, side in (("members", members), ("non-members", nonmembers)):
        if side.ndim != 1 or not side.size or np.isnan(side).any():
            raise ValueError(f"the scores of {name} must be a filled row of numbers without NaN")


def _at_least(scores: Scores, thresholds: NDArray[np.floating]) -> NDArray[np.int64]:
    """Count the scores at or above each threshold."""
    return scores.size - np.searchsorted(np.sort(scores), thresholds, side="left")


def _lowest(members: Scores, nonmembers: Scores, allowed: int) -> float:
    """Lowest score with at most ``allowed`` non-members at or above it; infinite if there is none.

    It is the lowest score above the non-member that would be one alarm too many.
    """
    if allowed >= nonmembers.size:
        return float(min(members.min(), nonmembers.min()))
    barred = np.sort(nonmembers)[-allowed - 1]
    above = np.concatenate([members[members > barred], nonmembers[nonmembers > barred]])
    return float(above.min()) if above.size else float("inf")


def _curve_at(
    members: Scores, nonmembers: Scores, fpr: float, value: float, level: float
) -> Estimate:
    """Interval of the true ROC curve at ``fpr``: exact, for any two laws.

    Above the (k+1)-th highest non-member, the true false alarm rate is below ``fpr`` except with
    probability P[Bin(n, fpr) <= k]; from the k-th highest on, it is above ``fpr`` except with
    P[Bin(n, fpr) >= k]. Each of these, and each limit of Clopper and Pearson on the members there,
    may fail with a quarter of 1 - level.
    """
    tail, n = (1 - level) / 4, nonmembers.size
    ordered = np.sort(nonmembers)[::-1]
    few = int(binom.ppf(tail, n, fpr))
    few -= binom.cdf(few, n, fpr) > tail  # now the largest k with P[Bin <= k] within the tail
    many = ceil(binom.isf(tail, n, fpr)) + 1  # the smallest k with P[Bin >= k] within the tail
    low, high = 0.0, 1.0
    if few >= 0:
        caught = int((members > ordered[few]).sum())
        low = clopper_pearson(caught, members.size, 1 - 2 * tail)[0]
    if many <= n:
        caught = int((members >= ordered[many - 1]).sum())
        high = clopper_pearson(caught, members.size, 1 - 2 * tail)[1]
    return Estimate(value, low, high)


def _wilson(share: float, n: int, level: float) -> tuple[float, float]:
    """Solve |share - p| = z sqrt(p (1 - p) / n) for p (Wilson 1927)."""
    z = float(norm.isf((1 - level) / 2))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)
