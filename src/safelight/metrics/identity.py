"""Can the victim be named? Re-identification among look-alikes of the same class."""

import math

import torch
from torch import Tensor

from safelight.data.images import ImageSet
from safelight.errors import DataError

#: Squared distances closer than this are ties: far above float64 rounding, far below one level of
#: one 8-bit pixel (1.5e-5).
TIE = 1e-9


def line_up(holdout: ImageSet, victims: ImageSet, size: int) -> Tensor:
    """Return the look-alikes of every class: [classes, size - 1, pixels].

    The first ``size - 1`` holdout pictures of each class that has victims; zero elsewhere.

    Raises:
        DataError: a class with victims has fewer holdout pictures.
    """
    suspects = torch.zeros(len(holdout.classes), size - 1, math.prod(holdout.shape))
    suspects = suspects.to(holdout.images)
    for label in victims.labels.unique().tolist():
        rows = (holdout.labels == label).nonzero().flatten()[: size - 1]
        if len(rows) < size - 1:
            raise DataError(
                f"class {holdout.classes[label]!r} has {len(rows)} holdout pictures, but naming a "
                f"victim among {size} needs {size - 1}; raise data.holdout.count"
            )
        suspects[label] = holdout.images[rows].flatten(1)
    return suspects


def rank(claim: Tensor, truth: Tensor, labels: Tensor, suspects: Tensor) -> Tensor:
    """Rank of the true victim among its look-alikes by distance to the claim, [n], 1 is named.

    Args:
        claim: [n, c, h, w].
        truth: the victims, [n, c, h, w].
        labels: [n].
        suspects: from ``line_up``.

    Chance: uniform on 1 ... size. Ties, and claims that are no numbers, count against the
    attacker. Uses squared pixel distance less |claim|^2, that is |b|^2 - 2ab, which orders alike
    and needs no [n, size, pixels] tensor; in float64, where equal pictures tie exactly enough.
    """
    flat, true = claim.flatten(1).double(), truth.flatten(1).double()
    own = true.square().sum(1) - 2 * (flat * true).sum(1)
    beaten = torch.zeros(len(flat), dtype=torch.long, device=flat.device)
    for label in labels.unique().tolist():
        rows = labels == label
        others = suspects[label].double()
        distance = others.square().sum(1) - 2 * flat[rows] @ others.T
        beaten[rows] = (~(distance > own[rows, None] + TIE)).sum(1)
    return beaten + 1
