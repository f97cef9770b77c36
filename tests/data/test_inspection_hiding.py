"""What is hidden: nothing outside a box changes, and of what is filled nothing is left."""

import numpy as np
import pytest
from skimage.measure import block_reduce

from safelight.data.inspection.hiding import Hiding
from safelight.data.sources.embedded import open_split

BOX = (3, 5, 19, 13)  # 16 wide, 8 high
INSIDE = (slice(5, 13), slice(3, 19))
WAYS = ["fill", "pixelate", "blur"]


def noise(shape, kind=np.uint8, seed=0):
    draw = np.random.default_rng(seed)
    most = np.iinfo(kind).max if np.issubdtype(kind, np.integer) else 1
    return (draw.random(shape) * most).astype(kind)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [(), (2,), (3,), (4,)])
def test_nothing_outside_changes_and_the_original_stays(way, kind, channels):
    before = noise((24, 32, *channels), kind)
    kept = before.copy()
    after = Hiding(way).apply(before, [BOX])
    assert np.array_equal(before, kept)
    assert after.dtype == kind
    changed = (after != before).reshape(24, 32, -1).any(-1)
    assert changed[INSIDE].mean() > 0.9
    changed[INSIDE] = False
    assert not changed.any()


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_of_what_is_filled_nothing_is_left(channels):
    one, other = noise((24, 32, *channels)), noise((24, 32, *channels))
    other[INSIDE] = noise((8, 16, *channels), seed=1)
    assert not np.array_equal(one, other)
    assert np.array_equal(*(Hiding("fill").apply(each, [BOX]) for each in (one, other)))


def test_pixelating_leaves_the_mean_of_each_block():
    before = noise((24, 32, 3), np.float32)
    after = Hiding("pixelate", blocks=4).apply(before, [BOX])[INSIDE]
    means = block_reduce(before[INSIDE], (4, 4, 1), np.mean)  # 16 pixels, 4 blocks
    assert np.allclose(after, means.repeat(4, 0).repeat(4, 1), atol=1e-6)


def test_narrow_blocks_at_the_end_are_means_too():
    before = noise((10, 10), np.float32)
    after = Hiding("pixelate", blocks=3).apply(before, [(0, 0, 10, 10)])
    assert np.allclose(after[8:, 8:], before[8:, 8:].mean(), atol=1e-6)
    assert len(np.unique(after)) == 9


def test_blurring_is_a_gaussian_of_the_box_alone():
    before = noise((24, 32), np.float32)
    after = Hiding("blur", deviation=0.125).apply(before, [BOX])[INSIDE]
    at = np.arange(-8, 9)  # four standard deviations of 0.125 * 16
    kernel = np.exp(-(at**2) / 8.0)
    kernel /= kernel.sum()
    whole = np.pad(before[INSIDE], 8, mode="edge")
    for axis in (0, 1):
        whole = np.apply_along_axis(np.convolve, axis, whole, kernel, "valid")
    assert np.allclose(after, whole, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_hidden_is_opaque(way):
    before = noise((24, 32, 4))
    before[..., 3] = 7
    after = Hiding(way).apply(before, [BOX])
    assert (after[INSIDE][..., 3] == 255).all()


@pytest.mark.parametrize("way", WAYS)
def test_boxes_may_reach_over_the_border_or_miss_the_picture(way):
    before = noise((24, 32))
    after = Hiding(way).apply(before, [(-5, -5, 4, 4), (40, 2, 50, 9), (5, -9, 9, -2)])
    assert np.array_equal(after[4:], before[4:])
    assert np.array_equal(after[:, 4:], before[:, 4:])
    assert not np.array_equal(after[:4, :4], before[:4, :4])


@pytest.mark.parametrize(
    ("hiding", "low", "high"),
    [
        (Hiding("pixelate", blocks=4), 0.5, 1.0),
        (Hiding("blur", deviation=0.125), 0.5, 1.0),
        (Hiding("fill"), 0.0, 0.2),
    ],
    ids=WAYS[1:] + WAYS[:1],
)
def test_who_trains_on_hidden_pictures_names_all_but_filled_ones(hiding, low, high):
    split = open_split("train")
    rows = np.random.default_rng(0).permutation(len(split.labels))[:1000]
    digits = np.rint(255 * split.pictures(rows)[:, 0]).astype(np.uint8)
    hidden = np.stack([hiding.apply(one, [(0, 0, 28, 28)]) for one in digits]).reshape(1000, -1)
    labels = split.labels[rows]
    known, asked = hidden[:700].astype(float), hidden[700:].astype(float)
    apart = (known**2).sum(1) - 2 * asked @ known.T
    right = (labels[:700][apart.argmin(1)] == labels[700:]).mean()
    assert low <= right <= high
