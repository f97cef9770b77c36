"""Contact sheets: all pictures of one kind in one PNG, in the order of the victims."""

import io
import math

import numpy as np
from PIL import Image
from torch import Tensor

#: Pictures a row.
COLUMNS = 25


def sheet(images: Tensor) -> bytes:
    """Tile pictures [n, channels, height, width] in [0, 1] into one 8-bit PNG, row by row."""
    n, channels, height, width = images.shape
    rows = math.ceil(n / COLUMNS)
    canvas = np.zeros((rows * COLUMNS, channels, height, width), dtype=np.uint8)
    canvas[:n] = (images.cpu().numpy() * 255).round().astype(np.uint8)
    tiled = canvas.reshape(rows, COLUMNS, channels, height, width).transpose(0, 3, 1, 4, 2)
    pixels = tiled.reshape(rows * height, COLUMNS * width, channels)
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels).save(stream, "PNG")
    return stream.getvalue()
