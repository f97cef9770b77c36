"""A cleaned copy: the pictures that are kept, and of them nothing but their pixels."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, JpegImagePlugin

from safelight.data.inspection.collection import Collection
from safelight.errors import DataError

#: How a format that was read is written; any other becomes PNG, which loses nothing. MPO is what
#: telephones write as JPEG.
_FORMS = {
    "JPEG": "JPEG",
    "MPO": "JPEG",
    "PNG": "PNG",
    "WEBP": "WEBP",
    "BMP": "BMP",
    "TIFF": "TIFF",
}

#: Returns the pixels of the picture at a row of its collection as they shall be written.
Change = Callable[[int, NDArray[Any]], NDArray[Any]]


def check_free(folder: Path, collection: Collection) -> None:
    """Raise unless a cleaned copy may be written to a folder.

    Raises:
        DataError: the folder exists, or lies among the originals.
    """
    if folder.exists() or folder.is_symlink():
        raise DataError(f"{folder} exists already; give --write a folder that does not")
    if not folder.parent.is_dir():
        raise DataError(f"{folder.parent} is not a folder; make it, or give --write another place")
    place = folder.resolve()
    roots = {parent for file in collection.files for parent in file.resolve().parents}
    if place.parent in roots and _inside(place, collection):
        raise DataError(f"{folder} lies among the originals; give --write a place outside of them")


def write_cleaned(
    folder: Path, collection: Collection, rows: Sequence[int], change: Change | None = None
) -> int:
    """Write the pictures at some rows, private to the user, under their own names.

    Pixels are turned as their orientation tag says; EXIF, GPS, XMP, comments, color profiles and
    further frames are left out; then ``change``, if given, has its turn. JPEG is written again with
    its own quantization tables. The folder appears whole or not at all.

    Returns:
        How many files were written.

    Raises:
        DataError: a picture cannot be read or the folder cannot be written.
    """
    check_free(folder, collection)
    passing = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))  # mode 0700
    try:
        taken: set[str] = set()
        for row in rows:
            _write_one(passing, collection, row, taken, change)
        passing.rename(folder)
    except BaseException as error:
        shutil.rmtree(passing, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        raise DataError(
            f"cannot write {folder}: {error.strerror or error}; free some space or check the folder"
        ) from None
    return len(rows)


def _inside(place: Path, collection: Collection) -> bool:
    """Whether a place lies under the folder that all originals share."""
    inner = Path(collection.names[0]).parts
    root = collection.files[0].parents[len(inner) - 1].resolve()
    return place.is_relative_to(root)


def _write_one(
    root: Path, collection: Collection, row: int, taken: set[str], change: Change | None
) -> None:
    name = Path(collection.names[row])
    if collection.files:
        with Image.open(collection.files[row]) as opened:
            form = _FORMS.get(opened.format or "", "PNG")
            options = _like(opened) if form == "JPEG" else {}
            picture = _bare(ImageOps.exif_transpose(opened) or opened)
        if form == "PNG":
            name = name.with_suffix(".png")
    else:
        pixels = collection.read([row])[0]
        if isinstance(pixels, str):
            raise DataError(f"cannot read {name}: {pixels}; inspect the data again")
        form, options, picture = "PNG", {}, Image.fromarray(pixels)
    if change is not None:
        picture = Image.fromarray(change(row, np.asarray(picture)))
    while str(name) in taken:  # a.gif and a.png both become a.png
        name = name.with_name(f"{name.stem}-again{name.suffix}")
    taken.add(str(name))
    file = root / name
    for parent in reversed(file.relative_to(root).parents):
        (root / parent).mkdir(mode=0o700, exist_ok=True)
    if form == "WEBP":
        options = {"lossless": True}
    picture.save(file, form, **options)
    file.chmod(0o600)


def _like(opened: Image.Image) -> dict[str, object]:
    """Return the options that write a JPEG as finely as it was."""
    if not isinstance(opened, JpegImagePlugin.JpegImageFile) or opened.mode not in ("L", "RGB"):
        return {"quality": 95}
    sampling = JpegImagePlugin.get_sampling(opened)
    return {
        "qtables": opened.quantization,
        **({"subsampling": sampling} if sampling >= 0 else {}),
    }


def _bare(picture: Image.Image) -> Image.Image:
    """Return a new picture with the same pixels and nothing else."""
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    elif picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        picture = picture.convert("RGB")
    # From an array, so that nothing that PIL attaches to a picture can come along.
    return Image.fromarray(np.asarray(picture))
