"""One picture as pixels: the plan's size and channels, floats in [0, 1]."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps


def as_pixels(picture: Image.Image, size: int | None, channels: int | None) -> NDArray[np.float32]:
    """Return a picture as [channels, height, width], float32.

    Gray pictures stay gray unless three channels are asked for. Floating-point TIFFs keep their
    values, checked later; 16-bit pictures are divided by 65535, 8-bit ones by 255.

    Args:
        picture: any mode that PIL reads.
        size: resize to fill a square of this side and crop its center; None keeps the size.
        channels: 1, 3, or None for as stored.
    """
    deep = picture.mode.startswith(("F", "I"))
    if deep:
        levels = np.float32(1 if picture.mode == "F" else 65535)
        picture = Image.fromarray(np.asarray(picture, dtype=np.float32) / levels)
    else:
        gray = channels == 1 or (channels is None and picture.mode in ("1", "L", "LA"))
        picture = picture.convert("L" if gray else "RGB")
    if size is not None and picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR)
    array = np.asarray(picture, dtype=np.float32) / np.float32(1 if deep else 255)
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return np.repeat(array, 3, axis=0) if channels == 3 and len(array) == 1 else array
