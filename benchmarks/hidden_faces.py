"""Who is named where a face is hidden, and how many license plates are found at all?

    SAFELIGHT_DATA=DATA python benchmarks/hidden_faces.py [faces] [plates] [claims]

Prints the tables of docs/defenses/prepared-data.md. ``faces``: the ORL faces, each hidden where the
detector finds it, and named by an attacker who trains on pictures hidden in the same way; seeds 1
to 3, each with its own division into five folds. ``plates``: license plates drawn into photographs;
seed 1, while the detector's settings were compared on seed 0. ``claims``: what the detectors claim
in pictures without a plate. Needs the extra [faces] and scikit-image; where [text] is installed
too, ``plates`` also tries the text detector.
"""

import importlib.util
import io
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from safelight.data.inspection.collection import Pixels, open_collection
from safelight.data.inspection.detection import (
    Box,
    Detector,
    face_detector,
    plate_detector,
    text_detector,
)
from safelight.data.inspection.hiding import Hiding
from safelight.stats.intervals import bootstrap_mean, clopper_pearson

PEOPLE, FOLDS, SEEDS = 40, 5, (1, 2, 3)

#: Sides of what the attacker compares: the hidden part alone, and the whole picture.
PART, WHOLE = (32, 32), (46, 56)

#: The ridge, as a share of the mean eigenvalue; not tuned.
PENALTY = 0.1

WAYS: dict[str, Hiding | None] = {
    "not hidden": None,
    **{f"pixelate, {n} x {n} blocks": Hiding("pixelate", blocks=n) for n in (16, 8, 4, 2)},
    **{f"blur, 1/{n} of the side": Hiding("blur", deviation=1 / n) for n in (32, 16, 8, 4)},
    "fill": Hiding("fill"),
}

Values = NDArray[np.float64]
Labels = NDArray[np.int64]


def people() -> tuple[list[Pixels], Labels, list[Box]]:
    """Return the faces that are found, who each is, and where."""
    detect = face_detector()
    found = []
    for split in ("train", "test"):
        some = open_collection("orl_faces", split)
        for name, pixels in zip(some.classes, some.read(range(len(some))), strict=True):
            assert not isinstance(pixels, str)  # noqa: S101 - every picture of ORL can be read
            boxes = detect(pixels)
            if boxes:
                box = max(boxes, key=lambda one: one[2] - one[0])
                found.append((name, pixels, box))
    names = sorted({name for name, _, _ in found})
    labels = np.array([names.index(name) for name, _, _ in found])
    return [pixels for _, pixels, _ in found], labels, [box for _, _, box in found]


def seen(pictures: list[Pixels], boxes: list[Box], how: Hiding | None, whole: bool) -> Values:
    """Return what an attacker compares, [n, d]: whole pictures, or the hidden part alone."""
    rows = []
    for pixels, box in zip(pictures, boxes, strict=True):
        shown = pixels if how is None else how.apply(pixels, [box])
        if not whole:
            left, top, right, bottom = box
            shown = shown[max(0, top) : bottom, max(0, left) : right]
        small = Image.fromarray(shown).resize(WHOLE if whole else PART, Image.Resampling.BILINEAR)
        rows.append(np.asarray(small, np.float64).ravel() / 255)
    return np.stack(rows)


def nearest(known: Values, who: Labels, asked: Values) -> Labels:
    """Name each picture after the nearest known one."""
    apart = (asked**2).sum(1)[:, None] - 2 * asked @ known.T + (known**2).sum(1)
    return np.asarray(who[apart.argmin(1)])


def linear(known: Values, who: Labels, asked: Values) -> Labels:
    """Name each picture by ridge regression on who it is: z Z' (Z Z' + penalty)^-1 Y."""
    center = known.mean(0)
    known, asked = known - center, asked - center
    kernel = known @ known.T
    ridge = PENALTY * np.trace(kernel) / len(kernel) + 1e-9
    weights = np.linalg.solve(kernel + ridge * np.eye(len(kernel)), np.eye(PEOPLE)[who])
    return np.asarray((asked @ known.T @ weights).argmax(1))


def folds(labels: Labels, seed: int) -> list[NDArray[np.int64]]:
    """Divide everybody's pictures evenly."""
    draw = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in range(FOLDS)]
    for person in range(PEOPLE):
        for at, row in enumerate(draw.permutation(np.flatnonzero(labels == person))):
            parts[at % FOLDS].append(int(row))
    return [np.array(part) for part in parts]


def named(
    learned: Values, shown: Values, labels: Labels, who: Labels, attacker: Callable[..., Labels]
) -> Values:
    """Return how often each person's pictures are named rightly, [40], over folds and seeds.

    ``learned``: as the attacker's pictures are hidden; ``shown``: as those he is asked about are;
    ``who``: the names that he learns.
    """
    right = np.zeros((len(SEEDS), len(labels)))
    for at, seed in enumerate(SEEDS):
        for asked in folds(labels, seed):
            known = np.setdiff1d(np.arange(len(labels)), asked)
            right[at, asked] = attacker(learned[known], who[known], shown[asked]) == labels[asked]
    each = right.mean(0)
    return np.array([each[labels == person].mean() for person in range(PEOPLE)])


def told(people_right: Values) -> str:
    """Return a share with its interval over persons."""
    low, high = bootstrap_mean(people_right)
    return f"{people_right.mean():.1%} ({low:.1%} to {high:.1%})"


def faces() -> None:
    """Print who is named in spite of what was done to the faces."""
    pictures, labels, boxes = people()
    print(f"{len(labels)} faces found, of {PEOPLE} persons; chance {1 / PEOPLE:.1%}\n")
    print("| hidden | part: nearest | part: linear | whole: linear | part: not adaptive |")
    print("|---|---|---|---|---|")
    clear = seen(pictures, boxes, None, whole=False)
    for name, how in WAYS.items():
        part = seen(pictures, boxes, how, whole=False)
        whole = seen(pictures, boxes, how, whole=True)
        cells = [
            named(part, part, labels, labels, nearest),
            named(part, part, labels, labels, linear),
            named(whole, whole, labels, labels, linear),
            named(clear, part, labels, labels, nearest),
        ]
        print(f"| {name} | " + " | ".join(told(cell) for cell in cells) + " |", flush=True)
    shuffled = [np.random.default_rng(seed).permutation(labels) for seed in range(5)]
    cells = [
        np.mean([named(clear, clear, labels, wrong, one) for wrong in shuffled], 0)
        for one in (nearest, linear)
    ]
    print("| control: not hidden, names shuffled | " + " | ".join(map(told, cells)) + " | | |")


def _words(plate: Image.Image, box: Box, words: str, ink: str | tuple[int, int, int]) -> None:
    """Draw words, squeezed into a box of a plate."""
    file = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf")
    font = ImageFont.truetype(str(file), 160)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(words))
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).text((-left, -top), words, 255, font)
    mask = mask.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BILINEAR)
    plate.paste(ink, box[:2], mask)


def _some(draw: random.Random, alphabet: str, count: int) -> str:
    return "".join(draw.choice(alphabet) for _ in range(count))


_LETTERS, _DIGITS, _CYRILLIC = "ABCDEFGHJKLMNPRSTUVWXYZ", "0123456789", "ABEKMHOPCTYX"


def european(draw: random.Random) -> Image.Image:
    """Return a white plate with a blue band, 520 x 110 mm."""
    plate = Image.new("RGB", (520, 110), "black")
    pen = ImageDraw.Draw(plate)
    pen.rounded_rectangle((4, 4, 515, 105), 8, "white")
    pen.rectangle((4, 4, 48, 105), (0, 51, 153))
    _words(plate, (15, 66, 38, 94), draw.choice("DFIEB"), "white")
    text = f"{_some(draw, _LETTERS, 2)} {_some(draw, _LETTERS, 1)}{_some(draw, _DIGITS, 4)}"
    _words(plate, (66, 20, 500, 91), text, "black")
    return plate


def russian(draw: random.Random) -> Image.Image:
    """Return a white plate with a region in a box of its own, 520 x 112 mm."""
    plate = Image.new("RGB", (520, 112), "black")
    pen = ImageDraw.Draw(plate)
    pen.rounded_rectangle((4, 4, 515, 107), 8, "white")
    pen.line((396, 4, 396, 107), "black", 4)
    text = _some(draw, _CYRILLIC, 1) + _some(draw, _DIGITS, 3) + _some(draw, _CYRILLIC, 2)
    _words(plate, (24, 20, 380, 92), text, "black")
    _words(plate, (410, 14, 500, 66), _some(draw, _DIGITS, 2), "black")
    _words(plate, (410, 78, 470, 98), "RUS", "black")
    return plate


def british(draw: random.Random) -> Image.Image:
    """Return a yellow plate, 520 x 111 mm."""
    plate = Image.new("RGB", (520, 111), (250, 205, 20))
    text = f"{_some(draw, _LETTERS, 2)}{_some(draw, _DIGITS, 2)} {_some(draw, _LETTERS, 3)}"
    _words(plate, (24, 18, 496, 93), text, "black")
    return plate


def american(draw: random.Random) -> Image.Image:
    """Return a colored plate with its state above, 305 x 152 mm."""
    ground, ink, state = draw.choice(
        [
            ((235, 240, 250), (25, 35, 110), "CALIFORNIA"),
            ((240, 235, 200), (130, 30, 30), "ARIZONA"),
            ((245, 245, 245), (20, 20, 20), "TEXAS"),
            ((200, 225, 200), (20, 80, 40), "VERMONT"),
        ]
    )
    plate = Image.new("RGB", (305, 152), ground)
    ImageDraw.Draw(plate).rounded_rectangle((3, 3, 301, 148), 10, outline=ink, width=3)
    _words(plate, (80, 10, 225, 30), state, ink)
    text = _some(draw, _DIGITS, 1) + _some(draw, _LETTERS, 3) + _some(draw, _DIGITS, 3)
    _words(plate, (22, 42, 283, 128), text, ink)
    return plate


STYLES = {
    "European, white with a blue band": european,
    "Russian": russian,
    "British, yellow": british,
    "American": american,
}


def photographs() -> list[Image.Image]:
    """Return photographs without a plate."""
    from skimage import data

    names = ("astronaut", "chelsea", "coffee", "rocket", "camera")
    shots = [getattr(data, name)() for name in names]
    return [Image.fromarray(shot).convert("RGB") for shot in shots]


def scene(draw: random.Random, photos: list[Image.Image]) -> Image.Image:
    """Return a part of a photograph, 640 x 480."""
    photo, share = draw.choice(photos), draw.uniform(0.6, 1.0)
    width = int(min(photo.width, photo.height * 4 / 3) * share)
    height = width * 3 // 4
    left, top = draw.randint(0, photo.width - width), draw.randint(0, photo.height - height)
    part = photo.crop((left, top, left + width, top + height))
    return part.resize((640, 480), Image.Resampling.BICUBIC)


def _perspective(source: Values, goal: Values) -> Values:
    """Return the eight numbers by which PIL maps the goal's corners to the source's."""
    rows, known = [], []
    for (x, y), (u, v) in zip(goal, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        known += [u, v]
    return np.linalg.solve(np.array(rows), np.array(known))


def pictured(
    draw: random.Random, photos: list[Image.Image], plate: Image.Image
) -> tuple[Pixels, Box]:
    """Return a photograph with a plate in it, and where.

    The plate is 60 to 200 pixels wide, turned by up to 10 degrees in the picture and 30 out of it,
    darkened, blurred by up to 1.5 pixels, and all is saved as JPEG.
    """
    plate = ImageEnhance.Brightness(plate).enhance(draw.uniform(0.6, 1.0))
    photo, width = scene(draw, photos), draw.uniform(60, 200)
    turn, yaw = (np.radians(draw.uniform(-one, one)) for one in (10, 30))
    plate = plate.resize(
        (round(width), round(width * plate.height / plate.width)), Image.Resampling.LANCZOS
    )
    half = width * np.cos(yaw) / 2
    left, right = (plate.height / 2 * (1 + side * np.sin(yaw) / 4) for side in (1, -1))
    corners = np.array([[-half, -left], [half, -right], [half, right], [-half, left]])
    cos, sin = np.cos(turn), np.sin(turn)
    corners = corners @ np.array([[cos, sin], [-sin, cos]])
    room = np.array(photo.size) - np.ptp(corners, axis=0) - 8
    corners += 4 - corners.min(0) + room * [draw.random(), draw.random()]
    whole = np.array([[0, 0], [plate.width, 0], plate.size, [0, plate.height]], float)
    how = (photo.size, Image.Transform.PERSPECTIVE, _perspective(whole, corners).tolist())
    mask = Image.new("L", plate.size, 255).transform(*how, Image.Resampling.BILINEAR)
    photo.paste(plate.transform(*how, Image.Resampling.BICUBIC), (0, 0), mask)
    photo = photo.filter(ImageFilter.GaussianBlur(draw.uniform(0, 1.5)))
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=80)
    low, high = corners.min(0).astype(int), np.ceil(corners.max(0)).astype(int)
    box = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    return np.asarray(Image.open(stream).convert("RGB")), box


def covered(boxes: list[Box], plate: Box) -> float:
    """Return the largest share of a plate's box that lies in one of those found."""
    shares = [0.0]
    for box in boxes:
        width = min(box[2], plate[2]) - max(box[0], plate[0])
        height = min(box[3], plate[3]) - max(box[1], plate[1])
        area = (plate[2] - plate[0]) * (plate[3] - plate[1])
        shares.append(max(0, width) * max(0, height) / area)
    return max(shares)


def detectors() -> dict[str, Detector]:
    """Return what may find plates."""
    made = {"--plates": plate_detector()}
    if importlib.util.find_spec("rapidocr"):
        made["--text"] = text_detector()
    return made


def plates(each: int = 50) -> None:
    """Print how many plates are found, that is, at least 70 % of their box is covered."""
    draw, photos = random.Random(1), photographs()  # noqa: S311
    shots = {
        style: [pictured(draw, photos, make(draw)) for _ in range(each)]
        for style, make in STYLES.items()
    }
    print(f"\n| detector | plates, {each} each | found (95 %) | ms a picture |\n|---|---|---|---|")
    for option, detect in detectors().items():
        total, began = 0, time.monotonic()
        for style, some in shots.items():
            found = sum(covered(detect(pixels), box) >= 0.7 for pixels, box in some)
            total += found
            low, high = clopper_pearson(found, each)
            print(f"| {option} | {style} | {found / each:.0%} ({low:.0%} to {high:.0%}) | |")
        n = each * len(shots)
        low, high = clopper_pearson(total, n)
        spent = 1000 * (time.monotonic() - began) / n
        share = f"{total / n:.0%} ({low:.0%} to {high:.0%})"
        print(f"| {option} | all | {share} | {spent:.0f} |", flush=True)


def claims() -> None:
    """Print in how many pictures without a plate (or a face) one is claimed."""
    cifar = open_collection("cifar10", "test[:500]").read(range(500))
    large = [np.asarray(Image.fromarray(one).resize((128, 128))) for one in map(np.asarray, cifar)]
    portraits = open_collection("orl_faces", "train")
    draw, photos = random.Random(2), photographs()  # noqa: S311
    sets = {
        "CIFAR-10, enlarged to 128 pixels": large,
        "ORL faces": [np.asarray(one) for one in portraits.read(range(len(portraits)))],
        "parts of five photographs": [np.asarray(scene(draw, photos)) for _ in range(100)],
    }
    print("\n| pictures | a plate is claimed | a face is claimed |\n|---|---|---|")
    for name, some in sets.items():
        counts = [
            sum(bool(one(pixels)) for pixels in some) for one in (plate_detector(), face_detector())
        ]
        print(f"| {name} | " + " | ".join(f"{count} of {len(some)}" for count in counts) + " |")


if __name__ == "__main__":
    parts = {"faces": faces, "plates": plates, "claims": claims}
    for part in sys.argv[1:] or parts:
        parts[part]()
