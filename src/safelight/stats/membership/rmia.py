"""The robust membership attack: how many other people's examples does this one dominate?

Zarifzadeh, Liu and Shokri (2024), "Low-cost high-power membership inference attacks": with the
ratio r(x) = p(x | target) / p(x),

    score(x) = P_z[ r(x) / r(z) >= gamma ]  over z of a population that the target never saw.

p(x | model) is the model's probability of x's true class, in [0, 1].
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: The paper's choice; scores change little with it.
GAMMA = 2.0

#: The paper's a for CIFAR-10 in p_in = a p_out + 1 - a.
OFFLINE_A = 0.3

#: A float32 probability below this is 0.
_SMALLEST = float(np.finfo(np.float32).tiny)


def online(
    target: Array,
    shadows: Array,
    inside: NDArray[np.bool_],
    population: Array,
    population_shadows: Array,
    population_inside: NDArray[np.bool_],
    gamma: float = GAMMA,
) -> Array:
    """Score with p(x) = (mean p_in + mean p_out) / 2 over shadows with and without each example.

    Args:
        target: the target's probabilities, [n].
        shadows: the same of each shadow, [shadows, n].
        inside: [shadows, n], True where the example was in that shadow's training set.
        population: the target's probabilities of the population, [m].
        population_shadows: [shadows, m].
        population_inside: [shadows, m].
        gamma: at least 1; how clearly an example must dominate.

    Returns:
        [n], in [0, 1] in steps of 1 / m. At a false alarm rate a, m must be well above 1 / a.

    Raises:
        ValueError: shapes differ, or an example is in all shadows or in none.
    """
    own = (_mean(shadows, inside) + _mean(shadows, ~inside)) / 2
    others = _mean(population_shadows, population_inside)
    others = (others + _mean(population_shadows, ~population_inside)) / 2
    return _dominated(_ratio(target, own), _ratio(population, others), gamma)


def offline(
    target: Array,
    shadows: Array,
    inside: NDArray[np.bool_],
    population: Array,
    population_shadows: Array,
    population_inside: NDArray[np.bool_],
    gamma: float = GAMMA,
    a: float = OFFLINE_A,
) -> Array:
    """Score with p(x) = ((1 + a) mean p_out + 1 - a) / 2: no shadow holds the example.

    Follows from p_in = a p_out + 1 - a. Args, returns and raises as ``online``, but an example may
    be in no shadow; ``a`` is in [0, 1].
    """
    own = ((1 + a) * _mean(shadows, ~inside) + 1 - a) / 2
    others = ((1 + a) * _mean(population_shadows, ~population_inside) + 1 - a) / 2
    return _dominated(_ratio(target, own), _ratio(population, others), gamma)


def _mean(shadows: Array, chosen: NDArray[np.bool_]) -> Array:
    if shadows.shape != chosen.shape or shadows.ndim != 2:
        raise ValueError(
            f"shadows {shadows.shape} and inside {chosen.shape} must both be [shadows, n]"
        )
    count = chosen.sum(0)
    if not count.all():
        where = int(np.flatnonzero(count == 0)[0])
        raise ValueError(f"example {where} has no shadow on one side; train more shadows")
    return np.asarray(np.where(chosen, shadows, 0).sum(0) / count, dtype=np.float64)


def _ratio(target: Array, average: Array) -> Array:
    """r(x) = p(x | target) / p(x)."""
    if target.shape != average.shape:
        raise ValueError(f"the target has {target.shape} examples, the shadows {average.shape}")
    return np.asarray(target / np.maximum(average, _SMALLEST), dtype=np.float64)


def _dominated(own: Array, others: Array, gamma: float) -> Array:
    """P_z[ r(z) <= r(x) / gamma ]."""
    below = np.searchsorted(np.sort(others), own / gamma, side="right")
    return np.asarray(below / len(others), dtype=np.float64)
