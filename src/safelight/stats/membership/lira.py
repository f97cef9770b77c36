"""The likelihood-ratio attack: is this confidence one of models with or without the example?

Carlini, Chien, Nasr, Song, Terzis and Tramer (2022), "Membership inference attacks from first
principles", algorithm 1 (online) and equation 4 (offline). Confidences are log-odds, which
``signals`` computes.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: With fewer shadow models, one deviation for all examples does better than one each, which would
#: be estimated from half the models (Carlini et al. 2022, section VI-A).
FEW_SHADOWS = 64

#: Confidences of several models that agree to this are equal but for float32 rounding.
SMALLEST_DEVIATION = 1e-6


def online(target: Array, shadows: Array, inside: NDArray[np.bool_]) -> Array:
    """Score by log N(phi; mu_in, s_in^2) - log N(phi; mu_out, s_out^2), mean over queries.

    Args:
        target: log-odds of the target, [n] or, of augmented queries, [n, queries].
        shadows: the same of each shadow model, [shadows, n] or [shadows, n, queries].
        inside: [shadows, n], True where the example was in that shadow's training set.

    Returns:
        [n], in nats.

    Raises:
        ValueError: shapes differ, or an example is in all shadows or in none.
    """
    phi, shadows = _queries(target, shadows, inside)
    within, without = _gaussian(shadows, inside), _gaussian(shadows, ~inside)
    ratio = _log_density(phi, *within) - _log_density(phi, *without)
    return np.asarray(ratio.mean(-1), dtype=np.float64)


def offline(target: Array, shadows: Array, inside: NDArray[np.bool_]) -> Array:
    """Score by (phi - mu_out) / s_out, mean over queries; shadows with the example are not used.

    Equation 4 gives 1 - P[N(mu_out, s_out^2) > phi] = Phi(z), which orders like z but rounds to 1
    from z = 8.3 on.

    Args, returns and raises as ``online``, but an example may be in no shadow.
    """
    phi, shadows = _queries(target, shadows, inside)
    mean, deviation = _gaussian(shadows, ~inside)
    return np.asarray(((phi - mean) / deviation).mean(-1), dtype=np.float64)


def _queries(target: Array, shadows: Array, inside: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return target [n, queries] and shadows [shadows, n, queries] in float64."""
    phi, models = np.asarray(target, np.float64), np.asarray(shadows, np.float64)
    if models.shape[1:] != phi.shape or inside.shape != models.shape[:2] or phi.ndim > 2:
        raise ValueError(
            f"target {phi.shape}, shadows {models.shape} and inside {inside.shape} must be "
            "[n] or [n, queries], [shadows, *target] and [shadows, n]"
        )
    if phi.ndim == 1:
        return phi[:, None], models[..., None]
    return phi, models


def _gaussian(shadows: Array, chosen: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Mean and deviation over the chosen shadows of each example; both broadcast to [n, queries].

    Few shadows share one deviation, the root of the pooled variance within examples,
    s^2 = sum_i sum_k (phi_ki - mu_i)^2 / sum_i (n_i - 1).
    """
    count = chosen.sum(0)
    if not count.all():
        where = int(np.flatnonzero(count == 0)[0])
        raise ValueError(f"example {where} has no shadow on one side; train more shadows")
    freedom = count - 1
    if not freedom.any():
        raise ValueError("a deviation needs two shadows on one side of some example; train more")
    mean = np.where(chosen[..., None], shadows, 0).sum(0) / count[:, None]
    squares = np.where(chosen[..., None], shadows - mean, 0) ** 2
    if len(shadows) < FEW_SHADOWS or not freedom.all():
        variance = squares.sum((0, 1)) / freedom.sum()
    else:
        variance = squares.sum(0) / freedom[:, None]
    return mean, np.maximum(np.sqrt(variance), SMALLEST_DEVIATION)


def _log_density(phi: Array, mean: Array, deviation: Array) -> Array:
    """Log N(phi; mean, deviation^2), less the constant that every score shares."""
    return np.asarray(-np.log(deviation) - 0.5 * ((phi - mean) / deviation) ** 2, np.float64)
