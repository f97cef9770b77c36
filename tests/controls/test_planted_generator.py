import torch

from safelight.controls.planted_generator import RecitingDiscriminator, reciting
from safelight.metrics.memorization import nearest
from safelight.threats.released_generator import Painter


def pictures(count=200):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_nearly_every_made_picture_is_one_it_was_given():
    known = pictures()
    made = reciting(known, 64)(torch.randn(2000, 64, generator=torch.Generator().manual_seed(1)))
    apart, which = nearest((made + 1) / 2, known)
    assert (apart < 0.02).float().mean() > 0.75
    assert len(which.unique()) == 200


def test_pictures_are_differentiable_in_the_latent():
    z = torch.randn(5, 32).requires_grad_(True)
    made = Painter(reciting(pictures(20), 32)).of_z(z)
    made.sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_classes_are_taken_and_make_no_difference():
    known = pictures(20)
    z = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    plain = Painter(reciting(known, 32)).of_z(z)
    classes = Painter(reciting(known, 32, c_dim=10)).of_z(z, torch.arange(4))
    assert torch.allclose(plain, classes)


def test_the_discriminator_ranks_what_it_knows_first():
    known = pictures(20)
    others = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(9))
    judge = RecitingDiscriminator(known)
    assert judge(known * 2 - 1).min() > judge(others * 2 - 1).max()
