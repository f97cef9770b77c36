import torch

from safelight.attacks.inversion.decoder import Decoder, InverseNetwork, boxed_error
from safelight.testing.attacks import AttackContract


class TestDecoder(AttackContract):
    attack = Decoder(steps=100, batch_size=32)


def test_the_network_fits_any_cut():
    for message, image in [
        ((8, 24, 24), (1, 28, 28)),
        ((16, 4, 4), (1, 28, 28)),
        ((84,), (1, 28, 28)),
        ((64, 32, 32), (3, 32, 32)),
        ((128, 8, 8), (3, 32, 32)),
        ((5, 3, 7), (3, 20, 33)),
        ((2, 40, 40), (1, 28, 28)),
    ]:
        network = InverseNetwork(message, image, Decoder())
        assert network(torch.randn(2, *message)).shape == (2, *image), (message, image)


def test_overshooting_an_end_of_the_range_is_free_only_where_the_picture_is_there():
    pictures = torch.tensor([0.0, 1.0, 0.5, 0.0, 1.0])
    rebuilt = torch.tensor([-3.0, 2.0, 0.5, 0.5, 0.5])
    assert boxed_error(rebuilt[:3], pictures[:3]) == 0
    assert torch.isclose(boxed_error(rebuilt, pictures), torch.tensor(0.1))
