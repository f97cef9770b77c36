"""What every source returns: labels at once, pictures only for the rows that are drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """One split of a source.

    ``labels``: [n] indices into ``classes``. ``pictures(rows)``: the pictures at those rows,
    float32 [len(rows), channels, height, width] in [0, 1]; decoding happens there, so that only
    what is drawn is decoded.
    """

    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    pictures: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    source: str
