"""Training pictures that are known, taken out of the span: what is left belongs to the others."""

import numpy as np
from numpy.typing import NDArray

from safelight.metrics.extraction_losses.row_space import Span

Array = NDArray[np.float64]

#: A unit is off at a picture below this share of its signals' spread: units at the edge may have
#: been on while the weights were written.
EDGE = 0.01

#: How many more units must be off than there are unknowns, for zeros to be more than a fit.
SPARE = 1.7

#: Root mean squares of a picture's coefficients that a unit which is off may show, in the median.
TOLERANCE = 0.02

#: Of the reweighting, which forgets units that were on for a while.
ITERATIONS = 20


def coordinates(span: Span, pictures: Array) -> Array:
    """Return pictures [n, pixels] in the coordinates of the span, [n, rank]."""
    return np.asarray((pictures - span.offset) @ np.linalg.pinv(span.basis).T)


def duals(span: Span, known: Array, signals: Array) -> tuple[Array, Array]:
    """Return functionals that are 1 at one known training picture and 0 at all others.

    The rows of the layer are R = C X, with X the training pictures in the span's coordinates and C
    what each unit learned from each picture, which is zero where a rectifier is off. The dual of
    picture i, X b = e_i, gives R b = C e_i: it is found from X_known b = e_i and (R b)_j = 0 for
    the units j that are off at the picture, without knowing the other pictures.

    Args:
        span: with ``rows``.
        known: training pictures [k, pixels].
        signals: of the layer's units at these pictures, before the rectifier, [k, units].

    Returns:
        The duals [k, rank], and how far each is to be doubted, [k]: what its units that are off
        learned, relative to all; infinite where too few units are off to tell. Those above
        ``TOLERANCE`` are not to be trusted: the picture is none of the training set, another one
        among the known is not, or there is no rectifier.
    """
    if span.rows is None or not len(known):
        return np.zeros((len(known), span.rank)), np.full(len(known), np.inf)
    own = coordinates(span, known)
    free = np.linalg.svd(own)[2][len(own) :].T
    fixed = np.asarray(np.linalg.pinv(own), dtype=np.float64)
    found = [
        _dual(span.rows, signal, fixed[:, place], free) for place, signal in enumerate(signals)
    ]
    return np.array([one for one, _ in found]), np.array([doubt for _, doubt in found])


def without(span: Span, functionals: Array) -> Span:
    """Return the part of a span where functionals [k, rank] vanish."""
    left = np.linalg.svd(functionals)[2][len(functionals) :].T
    affine = None if span.affine is None else span.affine @ left
    rows = None if span.rows is None else span.rows @ left
    return Span(span.offset, span.basis @ left, affine, span.gap, rows)


def _dual(rows: Array, signal: Array, fixed: Array, free: Array) -> tuple[Array, float]:
    off = rows[signal < -EDGE * signal.std()]
    if not free.shape[1] or len(off) < SPARE * free.shape[1]:
        return fixed, np.inf
    left, right = off @ free, -off @ fixed
    weight = np.ones(len(off))
    for _ in range(ITERATIONS):  # least squares with Cauchy weights
        best = np.linalg.lstsq(left * weight[:, None], right * weight, rcond=1e-12)[0]
        error = np.abs(left @ best - right)
        weight = 1 / np.sqrt(1 + (error / (2 * np.median(error) + 1e-12)) ** 2)
    dual = np.asarray(fixed + free @ best)
    whole = np.sqrt(np.square(rows @ dual).mean())
    return dual, float(np.median(np.abs(off @ dual)) / max(whole, 1e-30))
