"""Planted duplicates are found, different pictures are not grouped, and order does not matter."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from safelight.data.inspection.alignment import differences
from safelight.data.inspection.collection import Collection, open_collection
from safelight.data.inspection.duplicates import find_copies, groups, overlap, redundant
from safelight.data.inspection.survey import survey

PLANTED = 200


def collect(pictures, name="made"):
    pictures = list(pictures)
    names = tuple(f"{row}.png" for row in range(len(pictures)))
    blank = ("",) * len(pictures)
    return Collection(name, names, blank, lambda rows: [pictures[row] for row in rows])


def grouped(pictures):
    seen = survey([collect(pictures)])
    return groups(find_copies(seen), np.ones(len(seen), bool))


def shifted(picture, down, right):
    padding = [(1, 1), (1, 1), (0, 0)][: picture.ndim]
    height, width = picture.shape[:2]
    return np.pad(picture, padding)[1 - down :, 1 - right :][:height, :width]


def recompressed(picture):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=75)
    return np.asarray(Image.open(stream))


def scaled(picture, gain):
    return np.clip(np.rint(picture * gain), 0, 255).astype(np.uint8)


def brightened(picture, levels):
    return np.clip(picture.astype(np.int64) + levels, 0, 255).astype(np.uint8)


PLANTS = {
    "the same": np.copy,
    "right": lambda one: shifted(one, 0, 1),
    "up": lambda one: shifted(one, -1, 0),
    "down and left": lambda one: shifted(one, 1, -1),
    "JPEG": recompressed,
    "5 % brighter": lambda one: scaled(one, 1.05),
    "5 % darker": lambda one: scaled(one, 0.95),
    "13 levels up": lambda one: brightened(one, 13),
    "13 levels down": lambda one: brightened(one, -13),
}


def kept_here():
    """The embedded digits, and larger sets where SAFELIGHT_DATA has them."""
    root = Path(os.environ.get("SAFELIGHT_DATA", "nowhere"))
    return ["embedded", *(name for name in ("mnist", "cifar10") if (root / name).is_dir())]


@pytest.fixture(scope="module", params=kept_here())
def real(request):
    split = "train" if request.param == "embedded" else "test[:5000]"
    collection = open_collection(request.param, split)
    return collection.read(range(len(collection)))


@pytest.fixture(scope="module")
def digits():
    collection = open_collection("embedded", "train")
    return collection.read(range(0, 5000, 5))


@pytest.fixture(scope="module")
def planted(real):
    """The groups among real pictures, where 200 of them were planted again for each kind."""
    rows = np.random.default_rng(0).permutation(len(real))[: PLANTED * len(PLANTS)]
    originals = dict(zip(PLANTS, rows.reshape(len(PLANTS), PLANTED), strict=True))
    copies = [PLANTS[kind](real[row]) for kind, those in originals.items() for row in those]
    return originals, grouped([*real, *copies])


@pytest.mark.parametrize("kind", PLANTS)
def test_planted_duplicates_are_found(real, planted, kind):
    originals, found = planted
    group_of = {row: at for at, group in enumerate(found) for row in group.rows}
    first = len(real) + list(PLANTS).index(kind) * PLANTED
    hits = sum(
        group_of.get(int(row), -1) == group_of.get(first + at, -2)
        for at, row in enumerate(originals[kind])
    )
    assert hits >= 0.99 * PLANTED


def test_different_pictures_are_not_grouped(real, planted):
    """Few groups hold two different originals; of the digits, which are all different, none."""
    _, found = planted
    mixed = sum(sum(row < len(real) for row in group.rows) > 1 for group in found)
    assert mixed <= (len(real) // 1000 if real[0].ndim == 3 else 0)


def test_only_equal_pixels_are_exact(planted):
    originals, found = planted
    exact = {row for group in found if group.exact for row in group.rows}
    assert len(exact & set(originals["the same"].tolist())) >= 0.99 * PLANTED
    assert not set(originals["right"].tolist()) & exact


def test_order_does_not_matter(digits):
    pictures = [*digits, *(PLANTS["JPEG"](one) for one in digits[:30]), digits[40]]
    order = np.random.default_rng(1).permutation(len(pictures))
    straight = {frozenset(group.rows) for group in grouped(pictures)}
    mixed = {
        frozenset(int(order[row]) for row in group.rows)
        for group in grouped([pictures[row] for row in order])
    }
    assert straight == mixed
    assert len(straight) == 31


def test_the_difference_is_the_same_either_way(digits):
    pictures = torch.from_numpy(np.stack(digits[:64])).float() / 255
    for part_pixels in (False, True):
        there = differences(pictures[:32], pictures[32:], part_pixels)
        back = differences(pictures[32:], pictures[:32], part_pixels)
        assert torch.equal(there, back) or torch.allclose(there, back, atol=1e-5)
        assert differences(pictures, pictures, part_pixels).max() < 1e-2


def photographs(count, height=101, width=90):
    """Smooth random pictures, each a pixel larger than asked on every side."""
    rng = np.random.default_rng(3)
    fields = gaussian_filter(rng.normal(size=(count, height + 2, width + 2)), (0, 2, 2))
    fields -= fields.min((1, 2), keepdims=True)
    return np.rint(255 * fields / fields.max((1, 2), keepdims=True)).astype(np.uint8)


def test_a_shift_by_less_than_a_pixel_of_the_reduced_picture_is_found():
    large = photographs(60)
    pictures = [*large[:, 1:-1, 1:-1], *large[:, :-2, 2:]]
    assert sorted(group.rows for group in grouped(pictures)) == [(at, at + 60) for at in range(60)]


def test_pictures_of_other_sizes_are_compared_too():
    large = photographs(20)
    smaller = [np.asarray(Image.fromarray(one).resize((70, 80))) for one in large]
    assert sorted(group.rows for group in grouped([*large, *smaller])) == [
        (at, at + 20) for at in range(20)
    ]


def test_another_color_makes_another_picture():
    gray = photographs(1)[0].astype(np.float64)
    red = np.stack([gray * 0.5 + 120, gray * 0.5, gray * 0.5], -1)
    blue = np.stack([gray * 0.5, gray * 0.5 + 12, gray * 0.5 + 120], -1)
    pictures = [one.round().clip(0, 255).astype(np.uint8) for one in (red, blue, red * 0.97)]
    assert [group.rows for group in grouped(pictures)] == [(0, 2)]


def test_an_exact_copy_among_near_ones_is_known_as_one(digits):
    lighter = (digits[0] * 0.97).round().astype(np.uint8)
    (group,) = grouped([digits[0], digits[0], lighter, digits[1]])
    assert group.rows == (0, 1, 2)
    assert group.contents == 2
    assert not group.exact


def test_gray_stored_as_color_has_the_same_pixels(digits):
    (group,) = grouped([digits[0], np.stack([digits[0]] * 3, -1), digits[1]])
    assert group.rows == (0, 1)
    assert group.exact


@pytest.mark.parametrize("count", [1, 2, 3])
def test_flat_pictures_are_only_the_same_if_their_pixels_are(count):
    flat = [np.full((20, 20), 10 * level, np.uint8) for level in range(count)]
    assert grouped(flat) == []
    assert [group.rows for group in grouped([*flat, flat[0]])] == [(0, count)]


def test_what_two_sets_share_is_counted_once_for_each_picture(digits):
    first = digits[:50]
    second = [digits[3], digits[3], recompressed(digits[7]), *digits[100:140]]
    seen = survey([collect(first, "first"), collect(second, "second")])
    shared = overlap(find_copies(seen), seen.origins == 0, seen.origins == 1)
    assert (shared.exact, shared.near) == (1, 1)
    assert [pair[:2] for pair in shared.pairs] == [(3, 50), (7, 52)]
    back = overlap(find_copies(seen), seen.origins == 1, seen.origins == 0)
    assert (back.exact, back.near) == (2, 1)


def test_a_picture_of_the_other_set_joins_no_two(digits):
    pictures = [digits[0], shifted(digits[0], 0, 1), shifted(digits[0], 0, -1)]
    seen = survey([collect([pictures[1], pictures[2]]), collect([pictures[0]])])
    copies = find_copies(seen)
    assert len(groups(copies, np.ones(3, bool))) == 1
    assert groups(copies, seen.origins == 0) == []


def test_the_largest_of_each_group_is_kept():
    large = photographs(3)
    pictures = [np.asarray(Image.fromarray(large[0]).resize((70, 80))), *large, large[2]]
    seen = survey([collect(pictures)])
    found = groups(find_copies(seen), np.ones(len(seen), bool))
    assert redundant(found, seen.areas) == [0, 4]
