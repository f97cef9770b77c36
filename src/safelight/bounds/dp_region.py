"""What differential privacy of the training promises about membership: a region of the ROC plane.

A membership attack tests whether one picture was in the training set, so that its true ROC curve
lies at or below 1 - f, f the trade-off function of the training (Wasserman and Zhou 2010; Dong,
Roth and Su 2022). That holds for the picture and attacker that do best, and so for an average over
pictures too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from safelight.bounds.rero import GaussianDP, Guarantee

Curve = NDArray[np.float64]

#: Points of a curve that is drawn: evenly spaced on a logarithmic axis of six decades.
POINTS = 121


@dataclass(frozen=True)
class Region:
    """The largest TPR that a guarantee allows at each FPR, both [points] in [0, 1]."""

    fpr: Curve
    tpr: Curve

    def points(self) -> list[tuple[float, float]]:
        """Return the curve as pairs."""
        return [(float(x), float(y)) for x, y in zip(self.fpr, self.tpr, strict=True)]


def largest_tpr(guarantee: Guarantee, fpr: Curve) -> Curve:
    """Return 1 - f(fpr), the share of members that the best attack may catch.

    Args:
        guarantee: of the training.
        fpr: in [0, 1].
    """
    return np.asarray(1 - guarantee.tradeoff(np.asarray(fpr, dtype=np.float64)))


def largest_auc(guarantee: Guarantee) -> float:
    """Largest area under a ROC curve, by the trapezoid rule on a fine grid; in [1/2, 1]."""
    fpr = np.concatenate([[0.0], np.geomspace(1e-9, 1, 20001)])
    return float(np.trapezoid(largest_tpr(guarantee, fpr), fpr))


@dataclass(frozen=True)
class Proved:
    """Several guarantees of one release: every one holds, and so the strictest at each FPR."""

    each: tuple[Guarantee, ...]

    def tradeoff(self, fpr: Curve) -> Curve:
        """Return the largest of the trade-off functions."""
        return np.asarray(np.max([one.tradeoff(fpr) for one in self.each], axis=0))


def proved(each: Sequence[Guarantee]) -> Proved:
    """Return what several guarantees of the same release, at least one, promise together."""
    return Proved(tuple(each))


def region(guarantee: Guarantee) -> Region:
    """Return the curve to draw beside an attack's."""
    fpr = np.concatenate([[0.0], np.geomspace(1e-6, 1, POINTS)])
    return Region(fpr, largest_tpr(guarantee, fpr))


def gaussian_with(epsilon: float, delta: float) -> GaussianDP:
    """Return the least private Gaussian mechanism that is (epsilon, delta)-private.

    Its mu solves Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu) = delta (Balle and
    Wang 2018). DP-SGD is close to Gaussian for many small steps, so that its true region looks
    like this one; but (epsilon, delta) alone does not promise it.

    Raises:
        ValueError: epsilon is not above 0, or delta is not in (0, 1).
    """
    if not epsilon > 0 or not 0 < delta < 1:
        raise ValueError(f"epsilon is above 0 and delta in (0, 1), not {epsilon} and {delta}")

    def excess(mu: float) -> float:
        first = norm.cdf(mu / 2 - epsilon / mu)
        second = np.exp(epsilon + norm.logcdf(-mu / 2 - epsilon / mu))
        return float(first - second - delta)

    high = 1.0
    while excess(high) < 0:
        high *= 2
    return GaussianDP(float(brentq(excess, 1e-6, high, xtol=1e-12)))
