"""Read a collection of pictures into one tensor: every picture, or an error."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.data.inspection.collection import Collection, Pixels
from safelight.errors import DataError
from safelight.metrics.image import SMALLEST

#: Pictures of one size are compared as they are up to this side, others at this side.
SIDE = 64

#: Pictures decoded together.
_CHUNK = 1024


def gather(
    collection: Collection, shape: tuple[int, int, int] | None = None, size: int | None = None
) -> Tensor:
    """Return all pictures as bytes, [n, channels, height, width].

    Nothing is cropped: pictures are stretched to the common size, as outputs will be. Nothing is
    left out either: what cannot be read cannot be protected.

    Args:
        collection: of any sizes.
        shape: (channels, height, width) wanted; found from the pictures if not given.
        size: side of the square that pictures are brought to, if the shape is not given.

    Raises:
        DataError: a picture cannot be read, or there is none.
    """
    if not len(collection):
        raise DataError(f"there is no picture in {collection.source}; give some")
    arrays: list[Pixels] = []
    for start in range(0, len(collection), _CHUNK):
        rows = range(start, min(start + _CHUNK, len(collection)))
        for row, found in zip(rows, collection.read(rows), strict=True):
            if isinstance(found, str):
                raise DataError(
                    f"cannot read {collection.names[row]} of {collection.source}: {found}; repair "
                    "or remove it"
                )
            arrays.append(found if found.ndim == 3 else found[..., None])
    channels, height, width = shape or _shape(arrays, size)
    return torch.cat([_fitted(one, channels, height, width) for one in arrays])


def _shape(arrays: list[Pixels], size: int | None) -> tuple[int, int, int]:
    channels = max(one.shape[2] for one in arrays)
    sizes = {one.shape[:2] for one in arrays}
    height, width = next(iter(sizes))
    if size is not None or len(sizes) > 1 or max(height, width) > SIDE:
        height = width = size or SIDE
    if min(height, width) <= SMALLEST:
        raise DataError(
            f"pictures of {width} x {height} pixels are too small; set --size to 8 or more"
        )
    return channels, height, width


def _fitted(picture: Pixels, channels: int, height: int, width: int) -> Tensor:
    image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]
    if image.shape[1] == channels and image.shape[2:] == (height, width):
        return image
    floats = image.float() / 255
    if image.shape[1] == 1:
        floats = floats.expand(-1, channels, -1, -1)
    elif channels == 1:
        light = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # ITU-R BT.601
        floats = (floats * light).sum(1, keepdim=True)
    if image.shape[2:] != (height, width):
        floats = F.interpolate(
            floats, (height, width), mode="bilinear", antialias=True, align_corners=False
        )
    return (floats.clamp(0, 1) * 255).round().byte()
