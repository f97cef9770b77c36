"""What scores that know nothing reach, and whether a leak that is there would be seen."""

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]


class _Order:
    """Scores in falling order, ready to be measured under any labels."""

    def __init__(self, members: Array, nonmembers: Array, rates: Sequence[float]) -> None:
        scores = np.concatenate([members, nonmembers])
        order = np.argsort(-scores, kind="stable")
        self.member = np.arange(scores.size)[order] < members.size
        self.ranks = rankdata(scores)[order]
        # A threshold calls equal scores together: only the last of each group is a place for one.
        self.last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
        self.pairs = members.size * nonmembers.size
        self.lowest = members.size * (members.size + 1) / 2
        self.allowed = [floor(rate * nonmembers.size + 1e-9) for rate in rates]

    def measure(self, member: NDArray[np.bool_]) -> Array:
        """Return AUC and TPR at each rate under these labels, [1 + rates]."""
        area = (self.ranks[member].sum() - self.lowest) / self.pairs
        caught = np.cumsum(member)
        alarms = (np.arange(1, member.size + 1) - caught)[self.last]
        groups = np.searchsorted(alarms, self.allowed, side="right")
        tpr = np.append(0, caught[self.last])[groups] / caught[-1]
        return np.append(area, tpr)


def statistics(members: Array, nonmembers: Array, rates: Sequence[float]) -> Array:
    """AUC and TPR at each false alarm rate, [1 + rates], as ``metrics.membership`` defines them."""
    order = _Order(members, nonmembers, rates)
    return order.measure(order.member)


def shuffled(
    members: Array, nonmembers: Array, rates: Sequence[float], shuffles: int, seed: int
) -> Array:
    """Deal the labels at random, keeping the scores and how many are members: the exact null.

    The threshold of each false alarm rate is chosen anew on each shuffle's non-members, so that
    the null pays for that choice like the data does.

    Returns:
        [shuffles, 1 + rates], as ``statistics``.
    """
    order, rng = _Order(members, nonmembers, rates), np.random.default_rng(seed)
    return np.stack([order.measure(rng.permutation(order.member)) for _ in range(shuffles)])


def p_values(found: Array, null: Array) -> Array:
    """Share of the null at or above what was found, itself counted in (Phipson and Smyth 2010).

    Args:
        found: [statistics].
        null: [shuffles, statistics].
    """
    return np.asarray((1 + (null >= found).sum(0)) / (1 + len(null)), dtype=np.float64)


def reach(null: Array, error: float) -> Array:
    """Largest value of each statistic whose p-value is still above ``error``, [statistics].

    What was found has a p-value of at most ``error`` exactly where it is larger than this.
    """
    beaten = floor(error * (1 + len(null)) + 1e-9) - 1  # shuffles that may lie at or above
    if beaten < 0:
        raise ValueError(f"{len(null)} shuffles cannot reach p = {error}; take more")
    return np.asarray(np.sort(null, axis=0)[-beaten - 1], dtype=np.float64)


def planted(
    nonmembers: Array, members: int, share: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return a data set with a known leak: ``share`` of the members stand above all non-members.

    All others, members and non-members, are drawn from the non-members with replacement.

    Returns:
        scores of ``members`` pretended members, and of as many non-members as there were.
    """
    pretended = rng.choice(nonmembers, members)
    pretended[: ceil(share * members)] = np.nextafter(nonmembers.max(), np.inf)
    return pretended, rng.choice(nonmembers, nonmembers.size)
