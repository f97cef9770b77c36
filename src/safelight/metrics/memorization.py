"""How near pictures lie to each other, and how near that is for such pictures.

Distances are root mean squared differences of pixels, in [0, 1] for pixels in [0, 1]; smaller means
more alike. Nothing here knows which pictures were trained on.
"""

import torch
from torch import Tensor

#: The pictures nearest to a claim that set the scale of its distances, and the share of that scale
#: within which a picture is called the same (Carlini et al. 2023, section 5.1: n = 50, alpha 0.5).
SCALE_OF, SAME = 50, 0.5

#: Pictures compared with all others at once.
ROWS = 500


def distances(left: Tensor, right: Tensor) -> Tensor:
    """Return root mean squared differences, [n, m], of pictures [n, c, h, w] and [m, c, h, w].

    By the scalar product: two pictures that are equal may be 1e-4 apart.
    """
    apart: Tensor = torch.cdist(left.flatten(1), right.flatten(1)) / left[0].numel() ** 0.5
    return apart


def nearest(pictures: Tensor, among: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """Return distances to the ``k`` nearest, [n, k] from the nearest on, and which these are."""
    k = min(k, len(among))
    found = [distances(part, among).topk(k, largest=False) for part in pictures.split(ROWS)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


def scale(claims: Tensor, reference: Tensor) -> Tensor:
    """Return the mean distance of each claim to its 50 nearest reference pictures, [m]."""
    return nearest(claims, reference, SCALE_OF)[0].mean(1)


def likeness_to_claims(pictures: Tensor, claims: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much nearer than chance the nearest claim lies to each picture, and which it is.

    It is max_j -d(x, c_j) / scale_j, in (-inf, 0], higher for more alike. Carlini et al. (2023)
    call x extracted where d(x, c) / (0.5 scale) is below 1. The scale is taken from pictures that
    nobody trained on, where the paper takes the training set.

    Args:
        pictures: x, [n, c, h, w].
        claims: c, [m, c, h, w].
        scales: [m], of ``scale``.
    """
    found = [(-distances(part, claims) / scales).max(1) for part in pictures.split(ROWS)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])
