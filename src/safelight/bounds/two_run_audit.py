"""Epsilon and mu from below by many runs with a canary and many without.

The hits and false alarms of one test with a threshold that was fixed beforehand, on independent
runs; exact, after Jagielski, Ullman and Oprea (2020) and Nasr et al. (2021, 2023).
"""

from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from safelight.bounds.rero import LARGEST
from safelight.stats.intervals import clopper_pearson


class Mu(NamedTuple):
    """The mu of Gaussian differential privacy that scores suggest, with its interval."""

    value: float
    low: float
    high: float


def epsilon_lower_bound(
    hits: int, with_canary: int, alarms: int, without: int, delta: float, level: float = 0.95
) -> float:
    """Return an epsilon that the training's true one is not below, with confidence ``level``.

    (epsilon, delta)-DP means TPR <= e^epsilon FPR + delta and 1 - FPR <= e^epsilon (1 - TPR) +
    delta. Both are held against the lower limit of TPR and the upper limit of FPR (Clopper and
    Pearson), which may each fail with half of 1 - level.

    Args:
        hits: runs with the canary that the test says have it.
        with_canary: all runs with it.
        alarms: runs without the canary that the test says have it.
        without: all runs without it.
        delta: of the guarantee that is tested, in [0, 1].
        level: in (0, 1).

    Returns:
        at least 0, which proves nothing.
    """
    tpr, fpr = _limits(hits, with_canary, alarms, without, level)
    ratios = [(tpr - delta, fpr), (1 - fpr - delta, 1 - tpr)]
    return max([0.0, *(log(over / under) for over, under in ratios if over > 0)])


def mu_lower_bound(
    hits: int, with_canary: int, alarms: int, without: int, level: float = 0.95
) -> float:
    """Return a mu that the training's true one is not below, if it is Gaussian-DP at all.

    mu = Phi^-1(TPR) - Phi^-1(FPR) on the trade-off curve (Dong, Roth and Su 2022), with limits as
    in ``epsilon_lower_bound``. Far tighter than an epsilon for noisy sums, and no statement about
    mechanisms that are not.
    """
    tpr, fpr = _limits(hits, with_canary, alarms, without, level)
    return max(0.0, float(norm.ppf(tpr) - norm.ppf(fpr)))


def mu_of_scores(
    with_canary: NDArray[np.floating], without: NDArray[np.floating], level: float = 0.95
) -> Mu:
    """Estimate mu from scores that are Gaussian with one deviation, such as noisy dot products.

    mu = (mean with - mean without) / s, s^2 the pooled variance, with the interval
    mu -+ z sqrt(1/m + 1/n + mu^2 / 2 (m + n - 2)) of Hedges and Olkin (1985), whose coverage is
    right from five scores a side on. Look at the scores before believing it: ``mu_lower_bound``
    does not need them to be Gaussian.

    Args:
        with_canary: [m], m at least 2.
        without: [n], n at least 2.
        level: in (0, 1).

    Raises:
        ValueError: too few scores, or all the same.
    """
    m, n = with_canary.size, without.size
    if min(m, n) < 2:
        raise ValueError(f"two scores a side are needed, not {m} and {n}")
    squares = (m - 1) * with_canary.var(ddof=1) + (n - 1) * without.var(ddof=1)
    if not squares > 0:
        raise ValueError("the scores of each side are all the same: there is no noise to measure")
    freedom = m + n - 2
    mu = float((with_canary.mean() - without.mean()) / sqrt(squares / freedom))
    off = float(norm.isf((1 - level) / 2)) * sqrt(1 / m + 1 / n + mu * mu / (2 * freedom))
    return Mu(mu, mu - off, mu + off)


def epsilon_of_mu(mu: float, delta: float) -> float:
    """Smallest epsilon >= 0 such that mu-GDP implies (epsilon, delta)-DP.

    delta = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu) (Balle and Wang 2018; Dong,
    Roth and Su 2022, corollary 2.13).

    Args:
        mu: at least 0.
        delta: in (0, 1).

    Raises:
        ValueError: an argument is out of range, or no epsilon below 700 will do.
    """
    if not mu >= 0 or not 0 < delta < 1:
        raise ValueError(f"mu is at least 0 and delta in (0, 1), not {mu} and {delta}")

    def excess(epsilon: float) -> float:
        first = norm.cdf(mu / 2 - epsilon / mu)
        return float(first - exp(epsilon + norm.logcdf(-mu / 2 - epsilon / mu)) - delta)

    if mu == 0 or excess(0) <= 0:
        return 0.0
    if excess(LARGEST) > 0:
        raise ValueError(f"no epsilon below {LARGEST} describes mu = {mu} at delta = {delta}")
    return float(brentq(excess, 0, LARGEST, xtol=1e-10))


def _limits(
    hits: int, with_canary: int, alarms: int, without: int, level: float
) -> tuple[float, float]:
    """Lower limit of TPR and upper limit of FPR that hold together."""
    if not 0 <= hits <= with_canary or not 0 <= alarms <= without:
        raise ValueError(f"{hits} of {with_canary} and {alarms} of {without} are no counts")
    return clopper_pearson(hits, with_canary, level)[0], clopper_pearson(alarms, without, level)[1]
