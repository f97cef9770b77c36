"""Do candidates lie nearer to training pictures than to others, and how many of them are had?

Members and others are scored by their likeness to the nearest candidate, with the same candidates:
a candidate that looks like any digit raises both. Both functions take one score a picture, higher
for more alike, in two arrays of any length.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Extracted(NamedTuple):
    """The members called extracted: their number, the threshold, and the others above it."""

    called: int
    threshold: float
    false: int


def extracted(members: Array, others: Array, rate: float) -> Extracted:
    """Count the members above the lowest threshold with a share of false discoveries <= ``rate``.

    The others above a threshold estimate how many members would be above it without a leak, scaled
    to their number. With as many others as members and fewer than 1 / rate members called, that
    means above every other picture. Without a leak the count is 1 in the mean, and k or more with
    probability of about 2^-k: see ``reach``.
    """
    scores = np.unique(members)[::-1]
    called = members.size - np.searchsorted(np.sort(members), scores, side="left")
    false = others.size - np.searchsorted(np.sort(others), scores, side="left")
    allowed = false * (members.size / others.size) <= rate * called
    if not allowed.any():
        return Extracted(0, float("inf"), 0)
    last = int(np.flatnonzero(allowed)[-1])
    return Extracted(int(called[last]), float(scores[last]), int(false[last]))


def shuffled_counts(
    members: Array, others: Array, rate: float, shuffles: int, seed: int
) -> NDArray[np.int64]:
    """Counts of ``extracted`` where membership is dealt at random: the exact null, [shuffles]."""
    rng = np.random.default_rng(seed)
    both = np.concatenate([members, others])
    counts = np.empty(shuffles, dtype=np.int64)
    for place in range(shuffles):
        dealt = rng.permutation(both)
        counts[place] = extracted(dealt[: members.size], dealt[members.size :], rate).called
    return counts


def above(scores: Array, bar: float) -> float:
    """Share of pictures at or above a bar: the literature's rule is SSIM 0.4 after matching."""
    return float((scores >= bar).mean())
