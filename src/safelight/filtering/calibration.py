"""Thresholds at a stated rate of false positives, and whether copies are caught at them.

The pictures known not to be protected are dealt into three parts. The first ranks each distance;
the second picks how low a rank has to be, for all distances together, so that the stated rate is
kept with 95 % confidence; the third only measures what came of it.
"""

import io
from collections.abc import Callable, Sequence
from math import ceil, floor, log, log1p

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binom
from torch import Tensor

from safelight.errors import DataError
from safelight.filtering.policy import Rule, Share
from safelight.stats.intervals import clopper_pearson
from safelight.stats.seeds import Seeds

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

#: Shares of the reference pictures that rank, choose and measure. Choosing needs the most: its
#: number of pictures limits how small a rate can be promised.
PARTS = (0.3, 0.4, 0.3)

#: Of filters calibrated here, at least this share keeps the rate that it states.
CONFIDENCE = 0.95

#: Smallest distance that is divided by.
_LEAST = 1e-12

#: Protected pictures of which copies are planted.
PLANTED = 200


def deal_parts(count: int, seed: int) -> tuple[Rows, Rows, Rows]:
    """Deal positions of ``count`` pictures at random into the three parts."""
    order = np.random.default_rng(Seeds(seed).child("parts").integer()).permutation(count)
    first, second = floor(PARTS[0] * count), floor((PARTS[0] + PARTS[1]) * count)
    return order[:first], order[first:second], order[second:]


def thresholds(ranking: Array, choosing: Array, rate: float) -> Array:
    """Return one threshold a distance, [d]: strictly below any of them counts.

    Every distance gets the threshold that the same number of ranking pictures lie below. That
    number is the largest for which so few of the n choosing pictures are below a threshold that,
    at a true rate above ``rate``, no more would be so with probability 5 % at most:

        P[Bin(n, rate) <= k] <= 1 - CONFIDENCE

    So the filter at hand, not filters on average, keeps the rate with 95 % confidence, for
    whatever law harmless pictures have (tolerance limits: Wilks 1941, Vovk 2012).

    Args:
        ranking: [m, d] distances to the nearest protected picture.
        choosing: [n, d] of others.
        rate: in (0, 1).

    Raises:
        DataError: there are too few pictures to promise that rate.
    """
    allowed = allowance(len(choosing), rate)
    if allowed < 0:
        needed = ceil(ceil(log(1 - CONFIDENCE) / log1p(-rate)) / PARTS[1]) + 3
        raise DataError(
            f"{len(choosing):,} pictures to choose thresholds on cannot promise a rate of "
            f"{rate:g}; give {needed:,} different reference pictures in all, or a larger rate"
        )
    levels = np.sort(ranking, axis=0)
    # The lowest rank at which each choosing picture falls below some threshold.
    ranks = np.stack(
        [
            np.searchsorted(levels[:, one], choosing[:, one], side="right")
            for one in range(levels.shape[1])
        ]
    ).min(0)
    # At rank m a picture is below a threshold iff its own rank is at most m.
    highest = min(int(np.sort(ranks)[allowed]), len(levels)) - 1
    if highest >= 0:
        return np.asarray(levels[highest])
    # Too many lie below every ranking picture: shrink the smallest distances until few do.
    ratios = np.sort((choosing / np.maximum(levels[0], _LEAST)).min(1))
    return np.asarray(levels[0] * ratios[allowed])


def allowance(count: int, rate: float) -> int:
    """Return how many of ``count`` pictures may be held to promise a rate; -1 if it cannot be."""
    most = int(binom.ppf(1 - CONFIDENCE, count, rate))
    return most if binom.cdf(most, count, rate) <= 1 - CONFIDENCE else most - 1


def rules(names: Sequence[str], block: Array, review: Array) -> tuple[Rule, ...]:
    """Join the thresholds of both rates; blocking never reaches farther than review."""
    return tuple(
        Rule(name=name, block=float(min(low, high)), review=float(high))
        for name, low, high in zip(names, block, review, strict=True)
    )


def share(name: str, hits: NDArray[np.bool_]) -> Share:
    """Count, with the exact interval."""
    low, high = clopper_pearson(int(hits.sum()), hits.size)
    return Share(name=name, count=int(hits.sum()), of=hits.size, low=low, high=high)


def copies(pictures: Tensor, seed: int) -> dict[str, Tensor]:
    """Return what a generator that remembers, or a person who re-saves, would put out.

    Args:
        pictures: [n, channels, height, width], floats in [0, 1].
        seed: of the noise.
    """
    rng = torch.Generator().manual_seed(Seeds(seed).child("copies").integer())
    noise = torch.randn(pictures.shape, generator=rng)
    shifted = torch.cat([pictures[..., :1], pictures[..., :-1]], dim=-1)
    return {
        "the same": pictures,
        "noise, standard deviation 0.05": (pictures + 0.05 * noise).clamp(0, 1),
        "noise, standard deviation 0.15": (pictures + 0.15 * noise).clamp(0, 1),
        "JPEG, quality 50": torch.stack([_recompressed(one) for one in pictures]),
        "contrast 70 %": 0.5 + 0.7 * (pictures - 0.5),
        "brightness + 10 %": (pictures + 0.1).clamp(0, 1),
        "shifted by 1 pixel": shifted,
        "mirrored": pictures.flip(-1),
    }


def planted(
    pictures: Tensor, held: Callable[[Tensor], NDArray[np.bool_]], seed: int
) -> list[Share]:
    """Plant copies of some protected pictures and count those that are held."""
    rng = np.random.default_rng(Seeds(seed).child("planted").integer())
    rows = torch.from_numpy(rng.permutation(len(pictures))[:PLANTED])
    some = pictures[rows].float() / 255
    return [share(name, held(made)) for name, made in copies(some, seed).items()]


def _recompressed(picture: Tensor) -> Tensor:
    levels = (picture * 255).round().byte()
    array = levels[0].numpy() if len(levels) == 1 else levels.permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "JPEG", quality=50)
    again = torch.from_numpy(np.array(Image.open(stream))).float() / 255
    return again[None] if again.ndim == 2 else again.permute(2, 0, 1)
