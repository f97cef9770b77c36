"""Hide parts of pictures: filled with black, pixelated, or blurred.

Only filling leaves nothing of what was there. Networks that are trained on pixelated or blurred
faces still name them (McPherson, Shokri and Shmatikov, "Defeating image obfuscation with deep
learning", arXiv 1609.00408, 2016); ``benchmarks/hidden_faces.py`` measures it here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from safelight.data.inspection.detection import Box

#: How a part is hidden.
Way = Literal["fill", "pixelate", "blur"]

#: Channels of pictures whose last channel is opacity: gray or color, and it.
_WITH_OPACITY = (2, 4)


@dataclass(frozen=True)
class Hiding:
    """How parts are hidden, and how strongly.

    ``blocks``: blocks along the longer side of a pixelated part. ``deviation``: standard deviation
    of the Gaussian blur, as a share of the longer side.
    """

    way: Way = "fill"
    blocks: int = 4
    deviation: float = 0.125

    def apply(self, pixels: NDArray[Any], boxes: Iterable[Box]) -> NDArray[Any]:
        """Return a copy in which what lies in the boxes is hidden; they may reach over the border.

        Nothing outside a box is read to fill it, and what is filled becomes opaque.

        Args:
            pixels: [height, width] or [height, width, channels], of any type.
            boxes: in pixels; those with nothing of the picture in them are left out.
        """
        hidden = pixels.copy()
        height, width = pixels.shape[:2]
        for left, top, right, bottom in boxes:
            down, across = np.clip((top, bottom), 0, height), np.clip((left, right), 0, width)
            part = hidden[slice(*down), slice(*across)]
            if part.size:
                part[...] = self._hidden(part, max(right - left, bottom - top))
                if part.ndim == 3 and part.shape[2] in _WITH_OPACITY:
                    part[..., -1] = 255
        return hidden

    def _hidden(self, part: NDArray[Any], side: int) -> NDArray[Any]:
        """Hide what is seen of a box with this longer side."""
        if self.way == "fill":
            return np.zeros_like(part)
        if self.way == "pixelate":
            return _pixelated(part, -(-side // self.blocks))
        sigma = self.deviation * side
        spread = (sigma, sigma, 0)[: part.ndim]
        return _rounded(gaussian_filter(part.astype(np.float64), spread, mode="nearest"), part)


def _pixelated(part: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the mean of each square block; those at the end may be narrower."""
    blocky = np.empty(part.shape)
    for top in range(0, part.shape[0], side):
        for left in range(0, part.shape[1], side):
            block = (slice(top, top + side), slice(left, left + side))
            blocky[block] = part[block].mean((0, 1))
    return _rounded(blocky, part)


def _rounded(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """Return values in the type of the pixels."""
    return (np.rint(values) if like.dtype.kind in "iu" else values).astype(like.dtype)
