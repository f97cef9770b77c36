import torch

from safelight.data.augment import augmented


def test_augmented_pictures_are_moved_and_mirrored_but_not_made_up():
    images = torch.rand(200, 3, 8, 9)
    order = torch.Generator().manual_seed(0)
    moved = augmented(images, flip=True, shift=0, order=order)
    same = (moved == images).flatten(1).all(1)
    mirrored = (moved == images.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 0.3 < same.float().mean() < 0.7
    shifted = augmented(images, flip=False, shift=2, order=order)
    inside = shifted[:, :, 2:-2, 2:-2]
    offsets = [
        (inside == images[:, :, 2 + down : 6 + down, 2 + right : 7 + right]).flatten(1).all(1)
        for down in range(-2, 3)
        for right in range(-2, 3)
    ]
    assert torch.stack(offsets).any(0).all()
    assert torch.equal(augmented(images, flip=False, shift=0, order=order), images)
