import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.controls.planted import PlantedCloud, PlantedLeak, Silence
from safelight.data.sources import embedded
from safelight.metrics.identity import rank
from safelight.testing import worlds

GRAY = [(8, 24, 24), (16, 8, 8), (128, 8, 8), (120,), (10,)]
COLOR = [(64, 32, 32), (128, 8, 8), (8, 24, 24), (3, 16, 16), (512,)]
ROOMY = [((8, 24, 24), 1), ((16, 8, 8), 1), ((128, 8, 8), 1), ((64, 32, 32), 3), ((128, 8, 8), 3)]
ODD = [
    ((1, 5, 7), 3),
    ((2, 4, 4), 3),
    ((1,), 1),
    ((2,), 3),
    ((7,), 3),
    ((50, 64), 3),
    ((5, 1, 1), 1),
]


def digits(n):
    """Digits of one class: [n, 1, 28, 28]."""
    split = embedded.open_split("train")
    return torch.from_numpy(split.pictures(np.flatnonzero(split.labels == 5)[:n]))


def photographs(n, size=32):
    """Smooth color pictures that all differ: [n, 3, size, size]."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, 8, 8, generator=rng)
    return F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def unfold(leak, message, image_shape):
    """Undo a planted leak by hand, from its documentation: [n, *image_shape]."""
    channels, height, width = image_shape
    if message.ndim == 4:
        small = F.pixel_shuffle(message[:, : channels * leak.fold**2], leak.fold)
    else:
        flat = message.flatten(1)
        side = int((flat.shape[1] // channels) ** 0.5)
        small = flat[:, : channels * side**2].reshape(-1, channels, side, side)
    return F.interpolate(small, (height, width), mode="bilinear", align_corners=False)


def named(pictures, message_shape):
    """Share of pictures named among all of them from what a planted leak shows."""
    leak = PlantedLeak(message_shape, pictures.shape[1])
    claim = unfold(leak, leak(pictures), pictures.shape[1:])
    hits = 0
    for row in range(len(pictures)):
        others = torch.cat([pictures[:row], pictures[row + 1 :]]).flatten(1)[None]
        one = slice(row, row + 1)
        hits += int(rank(claim[one], pictures[one], torch.tensor([0]), others) == 1)
    return hits / len(pictures)


@pytest.mark.parametrize(
    ("shape", "channels"), [(s, 1) for s in GRAY] + [(s, 3) for s in COLOR] + ODD
)
def test_a_planted_leak_has_the_shape_of_the_real_message(shape, channels):
    pictures = torch.rand(3, channels, 28, 28, generator=torch.Generator().manual_seed(0))
    message = PlantedLeak(shape, channels)(pictures)
    assert message.shape == (3, *shape)
    assert torch.isfinite(message).all()


@pytest.mark.parametrize(("shape", "channels"), ROOMY)
def test_where_the_message_has_room_every_victim_is_named_from_it(shape, channels):
    pictures = digits(100) if channels == 1 else photographs(100)
    assert named(pictures, shape) == 1


@pytest.mark.parametrize(("shape", "channels"), ROOMY)
def test_where_the_message_has_room_the_picture_comes_back(shape, channels):
    pictures = digits(20) if channels == 1 else photographs(20)
    leak = PlantedLeak(shape, channels)
    back = unfold(leak, leak(pictures), pictures.shape[1:])
    assert (back - pictures).square().mean() < 0.01


def test_a_message_of_120_numbers_still_names_most_victims():
    assert named(digits(100), (120,)) > 0.8


def test_a_message_of_the_size_of_the_picture_is_the_picture():
    pictures = digits(5)
    assert torch.equal(PlantedLeak((1, 28, 28), 1)(pictures), pictures)
    assert torch.allclose(PlantedLeak((784,), 1)(pictures), pictures.flatten(1))
    folded = PlantedLeak((4, 14, 14), 1)(pictures)
    assert torch.equal(F.pixel_shuffle(folded, 2), pictures)


@pytest.mark.parametrize("shape", GRAY)
def test_the_picture_can_be_reached_through_gradients(shape):
    pictures = digits(2).requires_grad_()
    PlantedLeak(shape, 1)(pictures).square().sum().backward()
    assert pictures.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", GRAY)
def test_a_victims_message_does_not_depend_on_its_batch(shape):
    pictures, leak = digits(4), PlantedLeak(shape, 1)
    alone = torch.cat([leak(one[None]) for one in pictures])
    assert torch.allclose(leak(pictures), alone, atol=1e-6)


@pytest.mark.parametrize("shape", GRAY)
def test_silence_sends_the_same_message_for_any_picture(shape):
    message = Silence(shape)(digits(5))
    assert message.shape == (5, *shape)
    assert torch.equal(message, message[:1].expand_as(message))
    assert torch.equal(message[0], Silence(shape)(torch.ones(1, 1, 28, 28))[0])


@pytest.mark.parametrize("shape", GRAY)
def test_silence_has_gradients_and_they_are_zero(shape):
    pictures = digits(3).requires_grad_()
    Silence(shape)(pictures).square().sum().backward()
    assert pictures.grad.abs().max() == 0


def test_silence_repeats_for_a_seed_and_differs_for_another():
    pictures = digits(1)
    assert torch.equal(Silence((10,), seed=1)(pictures), Silence((10,), seed=1)(pictures))
    assert not torch.equal(Silence((10,), seed=1)(pictures), Silence((10,), seed=2)(pictures))


def test_neither_touches_the_global_generator():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    Silence((8, 24, 24))(digits(1))
    PlantedLeak((8, 24, 24), 1)(digits(1))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("message", [(16, 8, 8), (8, 24, 24), (784,)])
def test_edge_and_cloud_of_a_planted_leak_classify_as_the_model_does(message):
    leak, target = PlantedLeak(message, 1), worlds.lenet()
    cloud = PlantedCloud(leak, target.model, (1, 28, 28))
    pictures = worlds.digits().victims.images
    agree = cloud(leak(pictures)).argmax(1) == target.model(pictures).argmax(1)
    assert agree.float().mean() > 0.8
