"""Candidates against pictures: who is like whom, one to one or each to its nearest.

Likeness is [pictures, candidates], higher for more alike. Higher means a leak throughout, and
nothing here knows which pictures were trained on.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from safelight.metrics.image import ssim


class Matches(NamedTuple):
    """For each picture the candidate it was given, -1 where there was none, and their likeness."""

    candidate: NDArray[np.int64]
    likeness: NDArray[np.float64]


def correlation(pictures: Tensor, candidates: Tensor, center: Tensor) -> Tensor:
    """Normalized correlation of deviations from a picture that everybody knows, in [-1, 1].

    Without the center all pictures with the same background would be alike, and blank ones more
    than any. A picture that does not deviate is like none: 0.

    Args:
        pictures: [n, c, h, w].
        candidates: [m, c, h, w].
        center: [c, h, w], the mean of public pictures.
    """
    sides = [(one - center).flatten(1) for one in (pictures, candidates)]
    left, right = (one / one.norm(dim=1, keepdim=True).clamp_min(1e-12) for one in sides)
    return torch.as_tensor(left @ right.T)


def closeness(pictures: Tensor, candidates: Tensor) -> Tensor:
    """Negative root mean squared difference of pixels, [n, m], in [-1, 0] for pixels in [0, 1]."""
    left, right = pictures.flatten(1), candidates.flatten(1)
    # The fast way would round equal pictures to a distance.
    apart = torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.as_tensor(-apart / left.shape[1] ** 0.5)


def structural(pictures: Tensor, candidates: Tensor) -> Tensor:
    """SSIM of every pair, [n, m]; slow, for tables that the literature is compared with."""
    rows = [ssim(one.expand_as(candidates), candidates) for one in pictures.split(1)]
    return torch.stack(rows)


def nearest(likeness: NDArray[np.float64]) -> Matches:
    """Give each picture the candidate that is most like it; several may share one."""
    best = likeness.argmax(1)
    return Matches(best.astype(np.int64), likeness[np.arange(len(likeness)), best])


def one_to_one(likeness: NDArray[np.float64]) -> Matches:
    """Give each picture a candidate of its own such that the sum of likeness is largest.

    The Hungarian assignment (Kuhn 1955). With fewer candidates than pictures, pictures that get
    none have candidate -1 and the likeness -inf.
    """
    rows, columns = linear_sum_assignment(likeness, maximize=True)
    candidate = np.full(len(likeness), -1, dtype=np.int64)
    value = np.full(len(likeness), -np.inf)
    candidate[rows], value[rows] = columns, likeness[rows, columns]
    return Matches(candidate, value)


def coverage(likeness: NDArray[np.float64]) -> float:
    """Share of pictures that are the nearest one to some candidate, in [0, 1].

    It is low where all candidates look like the same few pictures.
    """
    return len(np.unique(likeness.argmax(0))) / len(likeness)


def best_of(likeness: NDArray[np.float64], budget: int, seed: int = 0) -> NDArray[np.float64]:
    """Likeness to the nearest among ``budget`` candidates drawn at random, for each picture.

    More candidates are more chances, for pictures of the training set and all others alike.
    """
    drawn = np.random.default_rng(seed).permutation(likeness.shape[1])[:budget]
    return np.asarray(likeness[:, drawn].max(1), dtype=np.float64)
