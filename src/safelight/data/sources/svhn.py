"""Street View House Numbers as published: train_32x32.mat and test_32x32.mat in one folder."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight.data.sources.matlab import read_arrays
from safelight.data.sources.pixels import as_pixels
from safelight.data.sources.source import Split
from safelight.errors import DataError

#: What a split's file is called behind the split's name.
ENDING = "_32x32.mat"

_REMEDY = "download it again from ufldl.stanford.edu/housenumbers (cropped digits)"


def splits_in(folder: Path) -> list[str]:
    """Return the splits whose files are in a folder: none where it is of another layout."""
    return sorted(one.name.removesuffix(ENDING) for one in folder.glob(f"*{ENDING}"))


def open_split(folder: Path, split: str, size: int | None, channels: int | None) -> Split:
    """Open one split of the cropped digits: ``train``, ``test`` or ``extra``, sliced or not.

    A file holds X, uint8 [32, 32, 3, n], and y, [n, 1], with 10 for the digit 0 (Netzer et al.
    2011, "Reading Digits in Natural Images with Unsupervised Feature Learning"). Nothing else is
    read from it, and nothing in it is executed.

    Raises:
        DataError: there is no such split, or its file is damaged or holds something else.
    """
    name, there = split.partition("[")[0], splits_in(folder)
    if name not in there:
        raise DataError(
            f"{folder} has no split {name!r}, which would be {name}{ENDING}; take "
            f"{' or '.join(there)}, or put that file there"
        )
    file = folder / f"{name}{ENDING}"
    pixels, labels = _read(file)
    try:
        (part,) = datasets.ReadInstruction.from_spec(split).to_absolute({name: len(labels)})
    except (ValueError, AssertionError) as error:
        first = str(error).strip().split("\n")[0].rstrip(".")
        raise DataError(
            f"cannot read split {split!r} of {folder}: {first}; slice it as in {name}[:1000]"
        ) from None
    chosen = slice(part.from_, part.to)
    pixels, labels = pixels[..., chosen], labels[chosen]

    def pictures(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        shown = (Image.fromarray(np.ascontiguousarray(pixels[..., row])) for row in rows)
        return np.stack([as_pixels(one, size, channels) for one in shown])

    return Split(
        labels=labels,
        classes=tuple(str(digit) for digit in range(10)),
        pictures=pictures,
        source=folder.name,
    )


def _read(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return pixels [32, 32, 3, n] and digits [n] of a file."""
    try:
        found = read_arrays(file.read_bytes(), ("X", "y"))
    except (OSError, ValueError, MemoryError) as error:
        raise DataError(f"cannot read {file}: {error}; {_REMEDY}") from None
    for name in ("X", "y"):
        if name not in found:
            raise DataError(f"{file} has no array {name}; {_REMEDY}")
    pixels, digits = found["X"], found["y"]
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3):
        raise DataError(
            f"{file}: X is {pixels.dtype} {list(pixels.shape)}, not uint8 [32, 32, 3, n]; {_REMEDY}"
        )
    n = pixels.shape[3]
    if digits.shape != (n, 1) or not n:
        raise DataError(
            f"{file}: y is {list(digits.shape)} for {n} pictures, not [n, 1] for one or more; "
            f"{_REMEDY}"
        )
    return pixels, _digits(file, digits[:, 0])


def _digits(file: Path, values: NDArray[Any]) -> NDArray[np.int64]:
    wrong = ~np.isin(values, range(1, 11))  # NaN and fractions too
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{file}: y is {values[row]} for picture {row}, not 1 to 10 (10 is the digit 0); "
            f"{_REMEDY}"
        )
    return np.asarray(values.astype(np.int64) % 10)
