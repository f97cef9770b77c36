"""Pictures far from all others: those that a model has to remember one by one.

Rare examples are memorized first (Feldman and Zhang, "What neural networks memorize and why",
NeurIPS 2020) and are the easiest to name as members (Carlini et al., "Membership inference
attacks from first principles", S&P 2022). The score is the distance to the k-th nearest neighbor
(Ramaswamy, Rastogi and Shim, "Efficient algorithms for mining outliers", SIGMOD 2000).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from safelight.data.inspection.neighbors import nearest

#: Neighbors that make a picture ordinary: ten, so that a few copies do not hide a rare one.
NEIGHBORS = 10

#: Robust standard deviations of the log distance beyond which a picture is an outlier: at most one
#: in 1,000 of MNIST and of CIFAR-10 lies there, and so do noise and negatives put among digits.
THRESHOLD = 2.5

#: Makes the median absolute deviation of a normal distribution its standard deviation.
_MAD_TO_DEVIATION = 1.4826


@dataclass(frozen=True)
class Outliers:
    """How far each picture is from its like.

    ``exposure``: [n], how many times farther its k-th nearest neighbor is than the median
    picture's. ``rows``: the outliers, most exposed first. ``neighbors``: the k that was used.
    """

    exposure: Tensor
    rows: list[int]
    neighbors: int


def outliers(points: Tensor, threshold: float = THRESHOLD) -> Outliers:
    """Find the points whose k-th nearest neighbor is unusually far.

    Args:
        points: [n, d], from ``embed``; copies should be left out, or they hide outliers. With
            n <= 10 nothing can be said, and ``neighbors`` is 0.
        threshold: robust standard deviations of the log distance.
    """
    if len(points) <= NEIGHBORS:
        return Outliers(torch.ones(len(points)), [], 0)
    squared, _ = nearest(points, NEIGHBORS)
    distance = squared[:, -1].sqrt().clamp_min(1e-9)
    exposure = distance / distance.median()
    log = exposure.log()
    deviation = _MAD_TO_DEVIATION * log.abs().median()
    far = log > threshold * deviation.clamp_min(1e-6)
    order = exposure.argsort(descending=True, stable=True)
    return Outliers(exposure, order[far[order]].tolist(), NEIGHBORS)
