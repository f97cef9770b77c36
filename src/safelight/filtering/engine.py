"""The filter as a library: pictures in, decisions out. It keeps nothing and answers nobody."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.errors import DataError
from safelight.filtering import distances
from safelight.filtering.index import Index
from safelight.filtering.policy import Decision, Policy, Rule

#: Maps fitted pictures to the probability, [n], that each shows a protected class.
Classifier = Callable[[Tensor], Tensor]

#: The distance that a classifier adds: 1 - the probability of the protected classes.
CLASSIFIER = "classifier"


@dataclass(frozen=True)
class Judged:
    """What a filter says of one output.

    ``distances`` and ``rows`` are in the order of the policy's rules; a row is the protected
    picture at that distance, -1 for a classifier, which compares with none. ``nearness``: the
    least ratio of a distance to its review threshold; below 1 is held. ``rule``: which distance
    that is.
    """

    decision: Decision
    distances: tuple[float, ...]
    rows: tuple[int, ...]
    nearness: float
    rule: int

    @property
    def row(self) -> int:
        """The protected picture to show beside it: the nearest by what decided."""
        return self.rows[self.rule] if self.rows[self.rule] >= 0 else self.rows[0]


@dataclass(frozen=True)
class Measured:
    """Distances of n outputs, [n, d], and the protected pictures at them, [n, d]."""

    distances: NDArray[np.float64]
    rows: NDArray[np.int64]


class Filter:
    """Protected pictures with the thresholds that were calibrated for them.

    Raises:
        DataError: on construction, if they do not belong together.
    """

    def __init__(self, index: Index, policy: Policy, classifier: Classifier | None = None) -> None:
        wanted = (*distances.NAMES, *((CLASSIFIER,) if policy.classifier else ()))
        if tuple(rule.name for rule in policy.rules) != wanted or index.shape != policy.shape:
            raise DataError("the thresholds are for other distances; calibrate the filter again")
        if (classifier is None) != (policy.classifier is None):
            raise DataError("the thresholds were made with a classifier; calibrate without it")
        self.index = index
        self.policy = policy
        self.classifier = classifier

    def check(self, images: Tensor) -> list[Judged]:
        """Decide about outputs, [n, channels, height, width], float pixels in [0, 1].

        Raises:
            DataError: they are no such pictures. Whoever catches it must not let them out.
        """
        found = measure(self.index, checked(images), self.policy.mirrored, self.classifier)
        return [
            judge(self.policy.rules, apart, rows)
            for apart, rows in zip(found.distances, found.rows, strict=True)
        ]


def checked(images: Tensor) -> Tensor:
    """Return pictures, or raise if they are none.

    Raises:
        DataError: shape, type or values are not those of pictures.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype != torch.float32:
        raise DataError(
            f"outputs have shape {list(images.shape)} and type {images.dtype}; give "
            "[n, channels, height, width] with 1 or 3 channels, float32"
        )
    if not (torch.isfinite(images).all() and (images >= 0).all() and (images <= 1).all()):
        raise DataError("outputs hold NaN or leave [0, 1]; scale pixels to [0, 1]")
    if min(images.shape[2:]) < 1:
        raise DataError("outputs have no pixels; give pictures")
    return images


def measure(
    index: Index, images: Tensor, mirrored: bool, classifier: Classifier | None
) -> Measured:
    """Return every distance of outputs, checked and in [0, 1], of any size.

    ``mirrored`` also compares the outputs' mirror images: generators are often trained on both.
    """
    fitted = index.fit(images)
    nearest = index.nearest(fitted)
    apart, rows = nearest.distances, nearest.rows
    if mirrored:
        turned = index.nearest(fitted.flip(-1))
        rows = torch.where(turned.distances < apart, turned.rows, rows)
        apart = torch.minimum(apart, turned.distances)
    if classifier is not None:
        with torch.no_grad():
            own = 1 - classifier(fitted).reshape(-1, 1)
        apart = torch.cat([apart, own], dim=1)
        rows = torch.cat([rows, torch.full_like(rows[:, :1], -1)], dim=1)
    if not torch.isfinite(apart).all():
        raise DataError("a distance is not a number; check the classifier")
    return Measured(apart.double().numpy(), rows.numpy())


def judge(rules: tuple[Rule, ...], apart: NDArray[np.float64], rows: NDArray[np.int64]) -> Judged:
    """Decide about one output by its distances, [d]."""
    ratios = [
        float(one) / rule.review if rule.review > 0 else np.inf
        for one, rule in zip(apart, rules, strict=True)
    ]
    decision: Decision = "allow"
    if any(one < rule.block for one, rule in zip(apart, rules, strict=True)):
        decision = "block"
    elif any(one < rule.review for one, rule in zip(apart, rules, strict=True)):
        decision = "review"
    rule = int(np.argmin(ratios))
    return Judged(
        decision,
        tuple(float(one) for one in apart),
        tuple(int(one) for one in rows),
        float(ratios[rule]),
        rule,
    )
