import dataclasses

import pytest
import torch

from safelight.data.images import ImageSet
from safelight.errors import DataError


def noise(n=6, shape=(1, 8, 8), seed=0):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def image_set(images=None, labels=None, classes=("a", "b")):
    images = noise() if images is None else images
    labels = torch.arange(len(images)) % 2 if labels is None else labels
    return ImageSet(images, labels, classes, "noise")


def with_pixel(value):
    images = noise()
    images[2, 0, 3, 3] = value
    return images


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        (noise(shape=(2, 8, 8)), "give .n, channels, height, width. with 1 or 3 channels"),
        (noise(shape=(4, 8, 8)), "1 or 3 channels"),
        (noise(shape=(8, 8)), "1 or 3 channels"),
        (noise()[0], "1 or 3 channels"),
        (with_pixel(float("nan")), "picture 2 holds NaN.*remove or repair it"),
        (with_pixel(float("inf")), "picture 2 holds NaN or infinity"),
        (with_pixel(1.5), r"pixels span .*1.5.*scale them to \[0, 1\]"),
        (with_pixel(-0.25), r"pixels span \[-0.25.*scale them to \[0, 1\]"),
        (noise() * 255, "divide bytes by 255"),
        ((noise() * 255).to(torch.uint8), "divide bytes by 255|float32"),
    ],
)
def test_pictures_that_break_the_contract_are_refused_on_one_line_with_the_remedy(images, remedy):
    with pytest.raises(DataError, match=remedy) as told:
        image_set(images, torch.zeros(len(images), dtype=torch.int64))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        (torch.zeros(5).long(), "6 pictures but 5 labels; give one each"),
        (torch.tensor([0, 1, 2, 0, 1, 2]), "labels reach 2 but there are 2 class names"),
        (torch.tensor([0, 1, -1, 0, 1, 0]), "label"),
    ],
)
def test_labels_that_do_not_fit_are_refused_on_one_line_with_the_remedy(labels, remedy):
    with pytest.raises(DataError, match=remedy) as told:
        image_set(labels=labels)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64, torch.float16])
def test_pixels_that_are_not_float32_are_refused(dtype):
    with pytest.raises(DataError, match="float32"):
        image_set((noise() > 0.5).to(dtype))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32])
def test_labels_that_are_not_int64_are_refused(dtype):
    with pytest.raises(DataError, match="int64"):
        image_set(labels=torch.tensor([0, 1, 0, 1, 0, 1], dtype=dtype))


def test_an_empty_set_is_a_set():
    nobody = image_set().rows(torch.zeros(6, dtype=torch.bool))
    assert len(nobody) == 0
    assert nobody.class_counts() == {"a": 0, "b": 0}


def test_rows_are_taken_by_index_and_by_mask():
    some = image_set()
    by_index, by_mask = some.rows(torch.tensor([1, 3])), some.rows(some.labels == 1)
    assert torch.equal(by_index.images, some.images[[1, 3]])
    assert by_mask.labels.tolist() == [1, 1, 1]
    assert by_mask.classes == ("a", "b")


def test_classes_are_counted_in_their_order_even_without_pictures():
    counts = image_set(
        labels=torch.tensor([2, 2, 0, 0, 0, 2]), classes=("z", "y", "x")
    ).class_counts()
    assert list(counts.items()) == [("z", 3), ("y", 0), ("x", 3)]


def test_the_shape_is_that_of_one_picture():
    assert image_set(noise(shape=(3, 9, 12))).shape == (3, 9, 12)


def test_equal_pictures_have_equal_hashes_and_others_do_not():
    images = noise()
    images[4] = images[1]
    hashes = image_set(images).content_hashes()
    assert hashes[4] == hashes[1]
    assert len(set(hashes)) == 5


def test_the_hash_of_a_picture_does_not_depend_on_how_it_lies_in_memory():
    images = noise(shape=(3, 8, 8))
    strided = images.to(memory_format=torch.channels_last)
    assert image_set(strided).content_hashes() == image_set(images).content_hashes()


def test_the_hash_of_a_set_ignores_order_and_notices_a_pixel():
    some = image_set()
    shuffled = some.rows(torch.tensor([3, 1, 5, 0, 2, 4]))
    changed = some.images.clone()
    changed[0, 0, 0, 0] = 0.123
    assert shuffled.sha256() == some.sha256()
    assert image_set(changed).sha256() != some.sha256()
    assert some.rows(torch.arange(5)).sha256() != some.sha256()


def test_a_set_cannot_be_changed_in_place():
    with pytest.raises(AttributeError):
        image_set().source = "elsewhere"


def test_moving_a_set_to_its_own_device_keeps_it():
    some = image_set()
    moved = some.to(torch.device("cpu"))
    assert torch.equal(moved.images, some.images)
    assert moved.classes == some.classes


def test_the_labeled_hash_of_a_set_ignores_order_and_notices_a_label():
    some = image_set()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    other = some.labels.clone()
    other[0] = (other[0] + 1) % len(some.classes)
    relabeled = dataclasses.replace(some, labels=other)
    assert some.rows(order).labeled_sha256() == some.labeled_sha256()
    assert relabeled.sha256() == some.sha256()
    assert relabeled.labeled_sha256() != some.labeled_sha256()
    assert some.rows(torch.arange(5)).labeled_sha256() != some.labeled_sha256()
