"""Faces, license plates and written text in pictures, by detectors that come with an extra.

Faces (``safelight[faces]``): the frontal cascade of Viola and Jones that OpenCV ships; of 320 ORL
portraits it finds 317, and it claims a face in 13 of 500 CIFAR-10 pictures enlarged to 128 pixels.
It misses profiles, covered and small faces.

License plates (``safelight[faces]``): the cascade for Russian plates that OpenCV ships. It misses
more than it finds: of plates drawn into photographs, 73 of 200 (Russian 54 %, European 44 %,
British 30 %, American 18 %). It claims one in none of 500 CIFAR-10 pictures and 320 ORL portraits,
and in 3 of 100 parts of photographs. No package was found that carries a better detector, is
maintained and loads nothing when it runs.

Text: RapidOCR (``safelight[text]``). It reads plates, too: 46 of 48 drawn in the same way.
Figures: OpenCV 4.14, RapidOCR 3.10, ``benchmarks/hidden_faces.py``.
"""

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from PIL import Image

from safelight.data.inspection.collection import Pixels
from safelight.errors import PlanError

#: A part of a picture in its pixels: left, top, right, bottom; the last two are not part of it.
#: It has a margin around what was found and may reach over the border.
Box = tuple[int, int, int, int]

#: Says where a picture shows what is looked for; nowhere is an empty list.
Detector = Callable[[Pixels], list[Box]]

#: Longest side, in pixels, at which pictures are searched; larger ones are reduced to it.
_SIDE = 1024

#: Least side of a picture that is searched: a face fills at least 20 pixels of the cascade.
SMALLEST = 40

#: Border added on each side, as a share of the picture: portraits are cut close to the face.
_BORDER = 0.2

#: Margins left and right, above and below, as shares of what was found. The cascade's squares
#: leave out chin and ears, and those of plates their ends.
_FACE_MARGIN = (0.15, 0.3)
_PLATE_MARGIN = (0.15, 0.25)
_LINE_MARGIN = (0.05, 0.2)

#: Confidence and letters from which what was read counts as text, not as a pattern like it.
_CONFIDENCE = 0.8
_LETTERS = 3

#: What a reader must know of each detector.
LIMITS = {
    "faces": "It finds 317 of 320 frontal portraits (ORL), and claims a face in 13 of 500 pictures "
    "of CIFAR-10; profiles, covered and small faces are missed.",
    "license plates": "It finds 73 of 200 plates drawn into photographs: Russian 54 %, European "
    "44 %, British 30 %, American 18 %. Most are missed; reading text (--text) finds nearly all.",
    "text": "It finds 46 of 48 license plates drawn into photographs, too. What was read is not "
    "kept.",
}


def face_detector() -> Detector:
    """Return what finds frontal faces.

    Raises:
        PlanError: OpenCV 4 is not installed.
    """
    return _cascade("haarcascade_frontalface_alt2.xml", "faces", 1.1, _BORDER, _FACE_MARGIN)


def plate_detector() -> Detector:
    """Return what finds some license plates.

    Raises:
        PlanError: OpenCV 4 is not installed.
    """
    return _cascade("haarcascade_russian_plate_number.xml", "plates", 1.05, 0.0, _PLATE_MARGIN)


def text_detector() -> Detector:
    """Return what finds lines of written text; what it reads is not kept.

    Raises:
        PlanError: RapidOCR is not installed.
    """
    _import("onnxruntime", "text", "text")
    read = _import("rapidocr", "text", "text").RapidOCR(params={"Global.log_level": "critical"})

    def detect(pixels: Pixels) -> list[Box]:
        small, scale = _reduced(pixels)
        found = read(np.asarray(small.convert("RGB")))
        if found.boxes is None:
            return []
        lines = zip(found.boxes, found.txts, found.scores, strict=True)
        return [
            _box((*corners.min(0), *corners.max(0)), _LINE_MARGIN, scale)
            for corners, line, score in lines
            if score >= _CONFIDENCE and sum(map(str.isalnum, line)) >= _LETTERS
        ]

    return detect


def _cascade(
    file: str, option: str, step: float, border: float, margin: tuple[float, float]
) -> Detector:
    """Return a cascade of OpenCV's that looks at scales ``step`` apart, beyond the border too."""
    cv2 = _import("cv2", option, "faces")
    if int(cv2.__version__.split(".")[0]) >= 5:
        raise PlanError(
            f"OpenCV {cv2.__version__} has no cascades; run: pip install 'safelight[faces]'"
        )
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + file)

    def detect(pixels: Pixels) -> list[Box]:
        small, scale = _reduced(pixels)
        gray = np.asarray(small.convert("L"))
        above, beside = (round(border * side) for side in gray.shape)
        padded = np.pad(gray, ((above, above), (beside, beside)), mode="edge")
        return [
            _box((x - beside, y - above, x + w - beside, y + h - above), margin, scale)
            for x, y, w, h in cascade.detectMultiScale(padded, step, 3)
        ]

    return detect


def _box(corners: Iterable[float], margin: tuple[float, float], scale: float) -> Box:
    """Return what was found in a reduced picture as a part of the original, with its margin."""
    left, top, right, bottom = (float(corner) for corner in corners)
    beside, above = margin[0] * (right - left), margin[1] * (bottom - top)
    return (
        int(np.floor(scale * (left - beside))),
        int(np.floor(scale * (top - above))),
        int(np.ceil(scale * (right + beside))),
        int(np.ceil(scale * (bottom + above))),
    )


def _import(package: str, option: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise PlanError(
            f"--{option} needs {package} ({error}); run: pip install 'safelight[{extra}]'"
        ) from None


def _reduced(pixels: Pixels) -> tuple[Image.Image, float]:
    """Return a picture no larger than what is searched, and how much larger the original is."""
    picture = Image.fromarray(pixels)
    longest = max(picture.size)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    return picture, longest / max(picture.size)
