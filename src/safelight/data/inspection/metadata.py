"""What image files tell beside their pixels: where, when, with what and by whom.

Only kinds of metadata are reported, never their values: a report must not spread what it warns of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, PngImagePlugin

from safelight.data.inspection.collection import UNREADABLE

#: EXIF tags by what they tell. See the EXIF 2.32 specification, CIPA DC-008.
_TELLING = {
    "place": {ExifTags.Base.GPSInfo},
    "time": {
        ExifTags.Base.DateTime,
        ExifTags.Base.DateTimeOriginal,
        ExifTags.Base.DateTimeDigitized,
    },
    "camera": {ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.LensModel},
    "serial number": {
        ExifTags.Base.BodySerialNumber,
        ExifTags.Base.LensSerialNumber,
        ExifTags.Base.CameraSerialNumber,
        ExifTags.Base.ImageUniqueID,
    },
    "person": {
        ExifTags.Base.Artist,
        ExifTags.Base.Copyright,
        ExifTags.Base.CameraOwnerName,
        ExifTags.Base.XPAuthor,
    },
    "words": {
        ExifTags.Base.ImageDescription,
        ExifTags.Base.UserComment,
        ExifTags.Base.XPComment,
        ExifTags.Base.XPTitle,
        ExifTags.Base.XPKeywords,
        ExifTags.Base.XPSubject,
    },
    "maker note": {ExifTags.Base.MakerNote},
}

#: What formats keep beside EXIF, by its name in PIL.
_BESIDE = {
    "xmp": "XMP",
    "photoshop": "IPTC or Photoshop",
    "comment": "words",
}

#: Every kind, the most telling first.
KINDS = (
    "place",
    "person",
    "serial number",
    "words",
    "time",
    "camera",
    "maker note",
    "thumbnail",
    "XMP",
    "IPTC or Photoshop",
    "other EXIF",
)


@dataclass(frozen=True)
class Metadata:
    """``kinds[i]``: what file i tells, in the order of ``KINDS``; empty if nothing was found."""

    kinds: tuple[tuple[str, ...], ...]

    def count(self, kind: str) -> int:
        """Return how many files tell this."""
        return sum(kind in one for one in self.kinds)

    def telling(self) -> list[int]:
        """Return the positions of the files that tell anything, the most telling first."""
        rank = {kind: place for place, kind in enumerate(KINDS)}
        told = [at for at, kinds in enumerate(self.kinds) if kinds]
        return sorted(told, key=lambda at: [rank[kind] for kind in self.kinds[at]])


def read_metadata(files: Sequence[Path]) -> Metadata:
    """Look into the headers of image files; a file that cannot be read tells nothing."""
    return Metadata(tuple(_kinds(file) for file in files))


def _kinds(file: Path) -> tuple[str, ...]:
    try:
        with Image.open(file) as opened:
            opened.load()  # PNG keeps text behind the pixels
            found = _of_exif(opened.getexif()) | {
                kind for key, kind in _BESIDE.items() if opened.info.get(key)
            }
            if isinstance(opened, PngImagePlugin.PngImageFile) and opened.text:
                found.add("words")
            if opened.format == "TIFF":  # there, the layout of the pixels is EXIF too
                found.discard("other EXIF")
    except UNREADABLE:
        return ()
    return tuple(kind for kind in KINDS if kind in found)


def _of_exif(exif: Image.Exif) -> set[str]:
    tags = set(exif) | set(exif.get_ifd(ExifTags.IFD.Exif))
    found = {kind for kind, telling in _TELLING.items() if tags & telling}
    if exif.get_ifd(ExifTags.IFD.GPSInfo):
        found.add("place")
    if exif.get_ifd(ExifTags.IFD.IFD1):
        found.add("thumbnail")
    harmless = {ExifTags.Base.Orientation, ExifTags.Base.ExifOffset}
    if tags - harmless and not found:
        found.add("other EXIF")
    return found
