"""A world in which the best attack is known: log-odds are Gaussian, and members' lie higher.

Example i has the log-odds m_i + SHIFT in models that trained on it and m_i in others, under
independent noise of deviation NOISE. Whoever knows m_i catches Phi(Phi^-1(a) + SHIFT / NOISE) of
the members at a false alarm rate a, and nobody more (Neyman and Pearson).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm


class World(NamedTuple):
    target: NDArray[np.float64]
    member: NDArray[np.bool_]
    shadows: NDArray[np.float64]
    inside: NDArray[np.bool_]


def world(
    n: int, shadows: int, seed: int, shift: float = 2.0, noise: float = 1.0, level: float = 0.0
) -> World:
    """Draw a target that trained on the first half, and shadows that each saw half of all.

    Every example is in exactly half of the shadows. ``level`` is the mean of m_i, whose deviation
    is 2.
    """
    rng = np.random.default_rng(seed)
    easy = rng.normal(level, 2, n)
    member = np.arange(n) < n // 2
    inside = rng.permuted(np.arange(shadows)[:, None] % 2 == np.zeros(n), axis=0)
    target = easy + shift * member + rng.normal(0, noise, n)
    return World(target, member, easy + shift * inside + rng.normal(0, noise, (shadows, n)), inside)


def caught(separation: float, fpr: float) -> float:
    """TPR of a Gaussian score whose members lie ``separation`` deviations higher."""
    return float(norm.cdf(norm.ppf(fpr) + separation))
