"""Epsilon from below with one training run (Steinke, Nasr and Jagielski 2023).

Each of m canaries is put into the training set by its own fair coin. Whoever sees the result ranks
the canaries, guesses "in" for the highest, "out" for the lowest and abstains in between. Under
(epsilon, delta)-differential privacy few guesses can be right; when more are, the training is not
that private. A canary is one example added or removed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from safelight.bounds.rero import LARGEST
from safelight.stats.intervals import bonferroni


@dataclass(frozen=True)
class OneRunAudit:
    """What one run proves: the training is not (epsilon, delta)-private for a smaller epsilon.

    ``level`` is the confidence of that statement, over the coins; 0 proves nothing.
    """

    epsilon: float
    delta: float
    level: float
    canaries: int
    guesses: int
    right: int


def audit(
    scores: NDArray[np.floating],
    included: NDArray[np.bool_],
    guesses: Sequence[int],
    delta: float,
    level: float = 0.95,
) -> OneRunAudit:
    """Guess, count and bound; of several numbers of guesses, the best, at the price of their count.

    Args:
        scores: [m], higher where the canary looks included. Must not depend on ``included``
            but through the trained model.
        included: [m], the coins. They must have been tossed one by one: a set of exactly half the
            canaries is not what the theorem is about.
        guesses: numbers of guesses to try, each in [1, m], fixed before anything was looked at;
            half of each go to the top, half to the bottom. The level of each is raised by
            Bonferroni.
        delta: of the guarantee that is tested, in [0, 1].
        level: confidence, in (0, 1).

    Raises:
        ValueError: shapes differ, a score is NaN, or a number of guesses is out of range.
    """
    m = scores.size
    if scores.shape != included.shape or scores.ndim != 1 or np.isnan(scores).any():
        raise ValueError("scores and included must be rows of the same length, without NaN")
    if not guesses or not all(1 <= one <= m for one in guesses):
        raise ValueError(f"give numbers of guesses from 1 to the {m} canaries, not {guesses}")
    each = bonferroni(level, len(guesses))
    found = []
    for one in guesses:
        right = correct_guesses(scores, included, one)
        bound = epsilon_lower_bound(m, one, right, delta, each)
        found.append(OneRunAudit(bound, delta, level, m, one, right))
    return max(found, key=lambda one: one.epsilon)


def correct_guesses(scores: NDArray[np.floating], included: NDArray[np.bool_], guesses: int) -> int:
    """Count right guesses: "in" for the highest half of the guesses, "out" for the lowest."""
    order = np.argsort(-scores, kind="stable")
    top = (guesses + 1) // 2
    right = included[order[:top]].sum() + (~included[order[scores.size - guesses // 2 :]]).sum()
    return int(right)


def epsilon_lower_bound(
    canaries: int, guesses: int, right: int, delta: float, level: float = 0.95
) -> float:
    """Return the largest epsilon up to which that many right guesses are too many, 0 if none is.

    Searched by bisection: up to where the p-value first exceeds 1 - level it grows with epsilon.

    Args:
        canaries: m, in or out by fair coins.
        guesses: r <= m, fixed beforehand.
        right: v <= r.
        delta: in [0, 1].
        level: confidence of the bound, in (0, 1).
    """
    if not 0 <= right <= guesses <= canaries or not 0 <= delta <= 1:
        raise ValueError(
            f"right ({right}), guesses ({guesses}) and canaries ({canaries}) must not fall in that "
            f"order, and delta ({delta}) is in [0, 1]"
        )
    low, high = 0.0, 1.0
    while high < LARGEST and p_value(canaries, guesses, right, high, delta) < 1 - level:
        low, high = high, high + 1
    for _ in range(40):
        middle = (low + high) / 2
        if p_value(canaries, guesses, right, middle, delta) < 1 - level:
            low = middle
        else:
            high = middle
    return low


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Probability of at least this many right guesses under (epsilon, delta)-DP, at most.

    P[Bin(r, q) >= v] + 2 m delta alpha, with q = e^epsilon / (1 + e^epsilon) and
    alpha = max_i P[v > Bin(r, q) >= v - i] / i over i in 1 ... v (theorem 5.2; appendix D). The
    second term is all that tells (epsilon, delta) from pure epsilon, and must not be dropped.
    """
    q = 1 / (1 + np.exp(-epsilon))
    beta = float(binom.sf(right - 1, guesses, q))
    if delta == 0 or right == 0:
        return beta
    below = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, q))
    alpha = float((below / np.arange(1, right + 1)).max())
    return min(beta + 2 * canaries * delta * alpha, 1.0)
