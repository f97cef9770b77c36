"""How many different pictures a set is worth: the Vendi score.

Friedman and Dieng, "The Vendi score: a diversity evaluation metric for machine learning", TMLR
2023 (arXiv 2210.02410): the exponential of the entropy of the eigenvalues of the similarity
matrix over n. The similarity is the cosine of centered embeddings, so the matrix and the small
d x d one of second moments have the same eigenvalues, and no n x n matrix is needed.
"""

import torch
from torch import Tensor


def vendi(points: Tensor) -> float:
    """Return the effective number of different points: 1 if all are alike, at most min(n, d).

    Args:
        points: [n, d]; they are centered here. What lies in the very center has no direction and
            is left out.
    """
    points = points - points.mean(0)
    lengths = points.norm(dim=1)
    directions = (points[lengths > 1e-6] / lengths[lengths > 1e-6, None]).double()
    if not len(directions):
        return 1.0
    values = torch.linalg.eigvalsh(directions.T @ directions / len(directions))
    values = values[values > 1e-12]
    return float(torch.exp(-(values * values.log()).sum()))
