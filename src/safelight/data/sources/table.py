"""Turn a Hugging Face dataset, from the hub or from a folder, into a split."""

import io
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from safelight.data.sources.pixels import as_pixels
from safelight.data.sources.source import Split
from safelight.errors import DataError


def as_split(rows: datasets.Dataset, source: str, size: int | None, channels: int | None) -> Split:
    """Read the image and the label column of a dataset.

    Raises:
        DataError: there is no image or no label column, or (on reading) a picture is broken.
    """
    image = _column(rows, source, "image", lambda feature: isinstance(feature, datasets.Image))
    label = _column(rows, source, "label", _is_label)
    feature = rows.features[label]
    if any(one is None for one in rows[label][:]):
        raise DataError(f"{source}: some rows have no {label}; remove them or label them")
    values = np.asarray(rows[label][:])
    if isinstance(feature, datasets.ClassLabel):
        classes, labels = tuple(feature.names), values.astype(np.int64)
    else:
        found, labels = np.unique(values, return_inverse=True)
        classes = tuple(str(one) for one in found)
    encoded = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))

    def pictures(index: NDArray[np.int64]) -> NDArray[np.float32]:
        cells = [cell or {} for cell in encoded[index][image]]
        names = [cell.get("path") or f"row {row}" for cell, row in zip(cells, index, strict=True)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # PIL decodes outside the interpreter lock
            arrays = list(
                pool.map(lambda cell, name: _decode(cell, name, size, channels), cells, names)
            )
        return _stack(arrays, names, source)

    return Split(labels=labels, classes=classes, pictures=pictures, source=source)


def _is_label(feature: Any) -> bool:
    return isinstance(feature, datasets.ClassLabel) or (
        isinstance(feature, datasets.Value)
        and feature.dtype.startswith(("int", "uint", "bool", "string"))
    )


def _column(rows: datasets.Dataset, source: str, wanted: str, accept: Any) -> str:
    fitting = [name for name, feature in rows.features.items() if accept(feature)]
    for name in (wanted, *fitting):
        if name in fitting:
            return str(name)
    raise DataError(
        f"{source} has no {wanted} column among {', '.join(rows.features)}; "
        "give one folder of pictures per class (two at least), or a table with an image and a label"
    )


def _decode(
    cell: Mapping[str, Any], name: str, size: int | None, channels: int | None
) -> NDArray[np.float32]:
    if not cell.get("bytes") and not cell.get("path"):
        raise DataError(f"there is no picture in {name}; remove that row")
    try:
        with Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] else cell["path"]) as file:
            picture = ImageOps.exif_transpose(file) or file.copy()
            picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the picture {name}: {error}; remove or repair it") from None
    return as_pixels(picture, size, channels)


def _stack(arrays: list[NDArray[np.float32]], names: list[str], source: str) -> NDArray[np.float32]:
    for array, name in zip(arrays, names, strict=True):
        if array.shape != arrays[0].shape:
            raise DataError(
                f"{source}: {name} has shape {list(array.shape)}, {names[0]} has "
                f"{list(arrays[0].shape)}; set data.size and data.channels to make them alike"
            )
    return np.stack(arrays)
