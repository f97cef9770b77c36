"""Membership from hard labels alone: members are labeled right under more augmentations.

Choquette-Choo, Tramer, Carlini and Papernot (2021), "Label-only membership inference attacks". Of
their attacks this is the one that works on answers already collected; the distance to the decision
boundary needs queries chosen one after the other.
"""

import numpy as np
from numpy.typing import NDArray


def agreement(predicted: NDArray[np.integer], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Share of an example's augmented queries that are labeled right, in [0, 1].

    One query, the example itself, gives the gap attack of Yeom et al. (2018): members are those
    labeled right. There are only ``queries + 1`` different scores, so ties are many.

    Args:
        predicted: [..., n, queries], the predicted class of each query.
        labels: [n], the true classes.

    Returns:
        [..., n].
    """
    return np.asarray((predicted == labels[:, None]).mean(-1), dtype=np.float64)
