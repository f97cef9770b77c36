"""Can the victim be named? Re-identification among look-alikes of the same class."""

import torch
from torch import Tensor

from safelight.data.images import ImageSet
from safelight.errors import DataError


def line_up(holdout: ImageSet, victims: ImageSet, size: int) -> Tensor:
    """Return the look-alikes of every class: [classes, size - 1, pixels].

    The first ``size - 1`` holdout pictures of each class that has victims; zero elsewhere.

    Raises:
        DataError: a class with victims has fewer holdout pictures.
    """
    suspects = torch.zeros(len(holdout.classes), size - 1, holdout.images[0].numel())
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

    Chance: uniform on 1 ... size. Ties count against the attacker. Uses squared pixel distance,
    expanded as |a - b|^2 = |a|^2 - 2ab + |b|^2 so that no [n, size, pixels] tensor is built.
    """
    flat, true = claim.flatten(1), truth.flatten(1)
    own = (flat - true).square().sum(1)
    beaten = torch.zeros(len(flat), dtype=torch.long, device=flat.device)
    for label in labels.unique().tolist():
        rows = labels == label
        others = suspects[label]
        distance = (
            flat[rows].square().sum(1, keepdim=True)
            - 2 * flat[rows] @ others.T
            + others.square().sum(1)
        )
        beaten[rows] = (distance <= own[rows, None]).sum(1)
    return beaten + 1
