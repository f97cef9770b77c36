"""Faces and written text in pictures, by detectors that come with an extra.

Faces: the frontal cascade of Viola and Jones that OpenCV ships (``safelight[faces]``); of 320 ORL
portraits it finds 318, and it claims a face in 8 of 500 CIFAR-10 pictures enlarged to 128 pixels.
It misses profiles, covered and small faces. Text: RapidOCR (``safelight[text]``).
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from safelight.data.inspection.collection import Pixels
from safelight.errors import PlanError

#: Says whether a picture shows what is looked for.
Detector = Callable[[Pixels], bool]

#: Longest side, in pixels, at which pictures are searched; larger ones are reduced to it.
_SIDE = 1024

#: Least side of a picture that is searched: a face fills at least 20 pixels of the cascade.
SMALLEST = 40

#: Border added on each side, as a share of the picture: portraits are cut close to the face.
_BORDER = 0.2

#: Confidence and letters from which what was read counts as text, not as a pattern like it.
_CONFIDENCE = 0.8
_LETTERS = 3


def face_detector() -> Detector:
    """Return what finds frontal faces.

    Raises:
        PlanError: OpenCV 4 is not installed.
    """
    cv2 = _import("cv2", "faces")
    if int(cv2.__version__.split(".")[0]) >= 5:
        raise PlanError(
            f"OpenCV {cv2.__version__} has no face cascade; run: pip install 'safelight[faces]'"
        )
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")

    def detect(pixels: Pixels) -> bool:
        gray = np.asarray(_reduced(pixels).convert("L"))
        border = [(round(_BORDER * side),) * 2 for side in gray.shape]
        return len(cascade.detectMultiScale(np.pad(gray, border, mode="edge"), 1.1, 3)) > 0

    return detect


def text_detector() -> Detector:
    """Return what finds written text; what it reads is not kept.

    Raises:
        PlanError: RapidOCR is not installed.
    """
    _import("onnxruntime", "text")
    read = _import("rapidocr", "text").RapidOCR(params={"Global.log_level": "critical"})

    def detect(pixels: Pixels) -> bool:
        found = read(np.asarray(_reduced(pixels).convert("RGB")))
        lines = zip(found.txts or (), found.scores or (), strict=True)
        return any(
            score >= _CONFIDENCE and sum(map(str.isalnum, line)) >= _LETTERS
            for line, score in lines
        )

    return detect


def _import(package: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise PlanError(
            f"--{extra} needs {package} ({error}); run: pip install 'safelight[{extra}]'"
        ) from None


def _reduced(pixels: Pixels) -> Image.Image:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    return picture
