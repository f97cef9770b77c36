import torch

from safelight.data.noise import noise_pictures
from safelight.testing import worlds


def test_random_fields_are_pictures_of_every_smoothness_and_none_of_the_model_pictures():
    like = worlds.digits().public
    drawn = noise_pictures(like, 400, seed=0)
    assert drawn.shape == like.shape
    assert len(drawn) == 400
    assert 0 <= drawn.images.min() <= drawn.images.max() <= 1
    steps = (drawn.images[..., 1:] - drawn.images[..., :-1]).square().mean((1, 2, 3))
    roughness = steps / drawn.images.var((1, 2, 3)).clamp_min(1e-6)
    assert roughness.min() < 0.3
    assert roughness.max() > 1.5


def test_one_seed_draws_the_same_and_another_does_not():
    like = worlds.digits().public
    first, again, other = (noise_pictures(like, 5, seed).images for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
