"""What a model's answer says about one example, before any comparison with other models."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

#: A float32 loss below half its rounding unit at 1 is all rounding: the probability was 1.
SMALLEST_LOSS = 2.0**-24


def cross_entropy(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Loss of each example in nats, -log p_y = log sum_k e^(z_k) - z_y.

    Args:
        logits: [..., classes].
        labels: integers in [0, classes), of a shape that broadcasts to ``logits.shape[:-1]``.

    Returns:
        [...], at least 0.
    """
    values, own = _own(logits, labels)
    return np.asarray(logsumexp(values, axis=-1) - own, dtype=np.float64)


def confidence_of_logits(
    logits: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Log-odds of the true class, log(p_y / (1 - p_y)) = z_y - log sum_{k != y} e^(z_k).

    Nearly Gaussian over models, unlike the loss, and computed without 1 - p_y, which rounds to 0
    (Carlini et al. 2022, section IV-C). Shapes as in ``cross_entropy``; at least two classes.
    """
    values, own = _own(logits, labels)
    others = values.copy()
    np.put_along_axis(others, _index(values, labels), -np.inf, axis=-1)
    return np.asarray(own - logsumexp(others, axis=-1), dtype=np.float64)


def confidence_of_losses(losses: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log-odds of the true class from the loss l = -log p_y: log(p_y / (1 - p_y)) = -log(e^l - 1).

    Losses below ``SMALLEST_LOSS`` are taken as that, which caps the log-odds at 16.6.

    Args:
        losses: [...], cross-entropy in nats, at least 0.
    """
    kept = np.maximum(np.asarray(losses, dtype=np.float64), SMALLEST_LOSS)
    # e^l overflows from 709 on, where e^l - 1 is e^l.
    return np.where(kept < 500, -np.log(np.expm1(np.minimum(kept, 500))), -kept)


def _index(values: NDArray[np.float64], labels: NDArray[np.integer]) -> NDArray[np.integer]:
    return np.broadcast_to(labels, values.shape[:-1])[..., None]


def _own(
    logits: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = np.asarray(logits, dtype=np.float64)
    return values, np.take_along_axis(values, _index(values, labels), axis=-1)[..., 0]
