"""Look at every picture once and keep what the comparisons need: a hash and a small gray copy."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from safelight.data.inspection.collection import Collection, Pixels
from safelight.errors import DataError

#: Longest side, in pixels, at which pictures are compared as they are; larger ones are resampled
#: to this square. Below, a shift by one pixel of a 100-pixel photograph can no longer be undone.
SIDE = 64

#: Pictures decoded together.
_CHUNK = 1024


@dataclass(frozen=True)
class Survey:
    """What is known of every readable picture of one or several collections, in order.

    ``names``, ``classes``, ``origins`` (position of its collection) and ``rows`` (row in it): [n].
    ``hashes``: sha256 of the decoded 8-bit pixels, gray and gray-valued color alike. ``areas``:
    pixels of the original. ``gray``: [n, height, width] bytes, all of one size. ``chroma``:
    [n, 2], the mean blue and red difference, in [-0.5, 0.5]. ``resampled``: whether ``gray`` is
    smaller or larger than the original. ``unreadable``: (name, reason) of what was left out.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    origins: NDArray[np.int64]
    rows: NDArray[np.int64]
    hashes: tuple[str, ...]
    areas: NDArray[np.int64]
    gray: Tensor
    chroma: Tensor
    resampled: bool
    unreadable: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class _Glance:
    content: str
    size: tuple[int, int]
    gray: Pixels
    chroma: tuple[float, float]


def survey(collections: list[Collection]) -> Survey:
    """Decode everything once.

    Raises:
        DataError: no picture of some collection can be read.
    """
    glances: list[_Glance] = []
    places: list[tuple[int, int]] = []
    unreadable: list[tuple[str, str]] = []
    for origin, one in enumerate(collections):
        before = len(glances)
        for start in range(0, len(one), _CHUNK):
            rows = range(start, min(start + _CHUNK, len(one)))
            for row, picture in zip(rows, one.read(rows), strict=True):
                if isinstance(picture, str):
                    unreadable.append((one.names[row], picture))
                else:
                    glances.append(_glance(picture))
                    places.append((origin, row))
        if len(glances) == before:
            raise DataError(
                f"no picture of {one.source} can be read"
                + (f" ({unreadable[-1][0]}: {unreadable[-1][1]})" if unreadable else "")
                + "; repair the files or give other data"
            )
    gray, resampled = _alike(glances)
    return Survey(
        names=tuple(collections[origin].names[row] for origin, row in places),
        classes=tuple(collections[origin].classes[row] for origin, row in places),
        origins=np.array([origin for origin, _ in places]),
        rows=np.array([row for _, row in places]),
        hashes=tuple(one.content for one in glances),
        areas=np.array([one.size[0] * one.size[1] for one in glances]),
        gray=gray,
        chroma=torch.tensor([one.chroma for one in glances]),
        resampled=resampled,
        unreadable=tuple(unreadable),
    )


def _glance(picture: Pixels) -> _Glance:
    if picture.ndim == 3 and (picture == picture[..., :1]).all():
        picture = np.ascontiguousarray(picture[..., 0])
    content = hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()
    height, width = picture.shape[:2]
    chroma = (0.0, 0.0)
    small = Image.fromarray(picture)
    if picture.ndim == 3:
        red, green, blue = picture.reshape(-1, 3).mean(0) / 255
        light = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601, as PIL's "L"
        chroma = (float(0.564 * (blue - light)), float(0.713 * (red - light)))
        small = small.convert("L")
    if max(height, width) > SIDE:
        small = small.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return _Glance(content, (height, width), np.asarray(small), chroma)


def _alike(glances: list[_Glance]) -> tuple[Tensor, bool]:
    """Bring the small copies to one size, resampling only where their originals differ."""
    sizes = {one.size for one in glances}
    height, width = next(iter(sizes))
    if len(sizes) == 1 and max(height, width) <= SIDE:
        return torch.from_numpy(np.stack([one.gray for one in glances])), False
    side = min(SIDE, max(max(size) for size in sizes))
    arrays = [
        one.gray
        if one.gray.shape == (side, side)
        else np.asarray(Image.fromarray(one.gray).resize((side, side), Image.Resampling.BILINEAR))
        for one in glances
    ]
    return torch.from_numpy(np.stack(arrays)), True
