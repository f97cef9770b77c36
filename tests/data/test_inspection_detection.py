"""Where faces and license plates are: boxes that cover them, at any size, and nowhere else.

These run where OpenCV is installed: the extra [faces].
"""

import importlib.util

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from safelight.data.inspection.detection import LIMITS, face_detector, plate_detector
from safelight.data.inspection.hiding import Hiding

PLATE = (200, 300, 410, 346)


def astronaut():
    from skimage import data

    return data.astronaut()


def with_plate(words="A123BC 77"):
    """A photograph with a license plate in it."""
    from skimage import data

    photo = Image.fromarray(data.coffee())
    pen = ImageDraw.Draw(photo)
    pen.rounded_rectangle((PLATE[0], PLATE[1], PLATE[2] - 1, PLATE[3] - 1), 5, "white", "black", 2)
    pen.text((210, 302), words, "black", ImageFont.load_default(38))
    return np.asarray(photo)


def covers(box, part):
    return box[0] <= part[0] and box[1] <= part[1] and box[2] >= part[2] and box[3] >= part[3]


def test_every_detector_tells_its_limits():
    assert set(LIMITS) == {"faces", "license plates", "text"}
    assert all(text.endswith(".") for text in LIMITS.values())


if importlib.util.find_spec("cv2"):

    def test_the_box_holds_the_face():
        face = (185, 85, 262, 190)  # from brows to chin, by eye
        assert any(covers(box, face) for box in face_detector()(astronaut()))

    def test_boxes_are_in_pixels_of_large_pictures_too():
        small = face_detector()(astronaut())
        large = face_detector()(np.asarray(Image.fromarray(astronaut()).resize((2560, 2560))))
        best = max(small, key=lambda one: one[2] - one[0])
        assert any(np.allclose(np.divide(one, 5), best, atol=25) for one in large)

    def test_a_face_at_the_border_is_found():
        cut = astronaut()[70:210, 165:285]
        assert face_detector()(cut)

    def test_what_is_filled_is_found_no_more():
        for detect, photo in ((face_detector(), astronaut()), (plate_detector(), with_plate())):
            boxes = detect(photo)
            assert boxes
            assert not detect(Hiding("fill").apply(photo, boxes))

    def test_the_box_holds_the_plate():
        inner = (PLATE[0] + 6, PLATE[1] + 6, PLATE[2] - 6, PLATE[3] - 6)
        assert any(covers(box, inner) for box in plate_detector()(with_plate()))

    def test_no_plate_is_claimed_where_there_is_none():
        from skimage import data

        for photo in (data.coffee(), data.chelsea(), astronaut(), np.zeros((64, 64), np.uint8)):
            assert not plate_detector()(photo)
