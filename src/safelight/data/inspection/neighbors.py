"""Who is nearest to whom, exactly: all pairs, a block of rows at a time, one product a block."""

import torch
from torch import Tensor

#: Rows compared with all others at once: 1,024 x 60,000 products take 245 MB.
_BLOCK = 1024


def nearest(points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the squared distances to, and the rows of, the k nearest other points of each.

    Args:
        points: [n, d] floats, n >= 2.
        k: neighbors wanted; at most n - 1 are returned.

    Returns:
        (distances [n, k], ascending and never negative; rows [n, k]).
    """
    k = min(k, len(points) - 1)
    lengths = points.square().sum(1)
    distances, rows = [], []
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        # |a - b|^2 less |a|^2, which is the same for a whole row
        apart = torch.addmm(lengths[None], block, points.T, alpha=-2)
        own = torch.arange(len(block))
        apart[own, start + own] = torch.inf
        least = apart.topk(k, dim=1, largest=False)
        distances.append((least.values + block.square().sum(1, keepdim=True)).clamp_min(0))
        rows.append(least.indices)
    return torch.cat(distances), torch.cat(rows)
