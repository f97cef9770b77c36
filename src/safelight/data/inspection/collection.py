"""Pictures to inspect: files of a folder as they lie there, or one split of a named data set."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from safelight.data.images import ImageSet
from safelight.data.roles import open_split
from safelight.data.sources import hub
from safelight.data.sources.pixels import as_pixels
from safelight.errors import DataError
from safelight.plan.plan import DataPlan, RolePlan

#: One decoded picture: [height, width] gray or [height, width, 3] color, bytes.
Pixels = NDArray[np.uint8]

#: What PIL raises on a damaged, foreign or absurdly large picture.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Collection:
    """Pictures in a fixed order, decoded only when asked for.

    ``source``: as a person would say it. ``names``: one per picture, a path inside the folder or
    its class and row. ``classes``: the class of each, empty where it has none. ``read(rows)``:
    the pictures at those rows, each as ``Pixels`` or, where it cannot be decoded, the reason.
    ``files``: where they lie, empty where they are not files. ``ignored``: other files beside.
    """

    source: str
    names: tuple[str, ...]
    classes: tuple[str, ...]
    read: Callable[[Sequence[int]], list[Pixels | str]]
    files: tuple[Path, ...] = ()
    ignored: int = 0

    def __len__(self) -> int:
        return len(self.names)


def open_collection(source: str, split: str) -> Collection:
    """Open a folder of pictures (class subfolders or flat), or a data set as plans name them.

    Raises:
        DataError: nothing has that name, or there are no pictures in it.
    """
    folder = Path(source)
    if source not in ("embedded", *hub.NAMES) and folder.is_dir():
        pictures, others = _files(folder)
        if pictures:
            return _of_files(folder, pictures, len(others))
        if not any(one.suffix == ".parquet" for one in others):
            raise DataError(
                f"no pictures in {folder}; give a folder that holds images, or parquet files"
            )
    return _of_split(source, split)


def of_images(name: str, images: ImageSet) -> Collection:
    """Return checked pictures, as a role of a plan holds them, as a collection."""
    classes = tuple(images.classes[label] for label in images.labels.tolist())

    def read(rows: Sequence[int]) -> list[Pixels | str]:
        return [_as_bytes(images.images[row].numpy()) for row in rows]

    return Collection(name, _numbered(classes), classes, read)


def decode(file: Path) -> Pixels:
    """Read one file as it is displayed: turned as its EXIF orientation says, 8 bits a channel.

    Raises:
        OSError, SyntaxError, ValueError, DecompressionBombError: it cannot be decoded.
    """
    with Image.open(file) as opened:
        picture = ImageOps.exif_transpose(opened) or opened
        if picture.mode.startswith(("F", "I")):
            levels = np.clip(as_pixels(picture, None, None)[0], 0, 1)
            pixels: Pixels = np.rint(levels * 255).astype(np.uint8)
            return pixels
        gray = picture.mode in ("1", "L", "LA")
        return np.asarray(picture.convert("L" if gray else "RGB"))


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the pictures and the other files of a folder and all below it, each sorted."""
    suffixes = set(Image.registered_extensions())
    pictures: list[Path] = []
    others: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith(".")]
        for name in names:
            file = Path(place, name)
            if not name.startswith("."):
                (pictures if file.suffix.lower() in suffixes else others).append(file)
    return sorted(pictures), sorted(others)


def _reason(error: Exception) -> str:
    """Say why a file cannot be read, without its path."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture in a known format"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return reason.split("\n")[0] or type(error).__name__


def _of_files(folder: Path, files: list[Path], ignored: int) -> Collection:
    def attempt(row: int) -> Pixels | str:
        try:
            return decode(files[row])
        except UNREADABLE as error:
            return _reason(error)

    def read(rows: Sequence[int]) -> list[Pixels | str]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # PIL decodes outside the lock
            return list(pool.map(attempt, rows))

    inside = [file.relative_to(folder) for file in files]
    return Collection(
        source=folder.resolve().name,
        names=tuple(file.as_posix() for file in inside),
        classes=tuple("" if len(file.parts) == 1 else file.parent.as_posix() for file in inside),
        read=read,
        files=tuple(files),
        ignored=ignored,
    )


def _of_split(source: str, split: str) -> Collection:
    anyone = RolePlan(split=split)
    plan = DataPlan(source=source, public=anyone, victims=anyone, holdout=anyone)
    opened = open_split(source, split, plan)
    classes = tuple(opened.classes[label] for label in opened.labels)

    def attempt(row: int) -> Pixels | str:
        try:
            return _as_bytes(opened.pictures(np.array([row]))[0])
        except DataError as error:
            return str(error)

    def read(rows: Sequence[int]) -> list[Pixels | str]:
        try:
            return [_as_bytes(one) for one in opened.pictures(np.asarray(rows, dtype=np.int64))]
        except DataError:  # one of them is damaged, or they differ in size
            return [attempt(row) for row in rows]

    return Collection(
        source=f"{opened.source}, {split}",
        names=_numbered(classes),
        classes=classes,
        read=read,
    )


def _numbered(classes: Sequence[str]) -> tuple[str, ...]:
    """Name pictures that are not files as files of class folders would be named."""
    folders = [name.replace("/", "_").lstrip(".") for name in classes]
    return tuple(f"{name}/{row:06d}.png" for row, name in enumerate(folders))


def _as_bytes(picture: NDArray[np.float32]) -> Pixels:
    """Turn [channels, height, width] in [0, 1] into bytes."""
    levels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0))
