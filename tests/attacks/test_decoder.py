import torch

from safelight.attacks.inversion.decoder import Decoder, InverseNetwork, boxed_error
from safelight.cache import Cache
from safelight.stats.seeds import Seeds
from safelight.testing import worlds
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


class TestDecoderOnAugmentedPictures(AttackContract):
    attack = Decoder(steps=100, batch_size=32, shift=1, likeness=0.1)


def test_a_moved_picture_is_a_query_each_time_and_a_kept_one_only_once(tmp_path):
    public = 900  # the last tenth of 1,000 is kept out
    for attack, queries in [
        (Decoder(steps=5, batch_size=16), public),
        (Decoder(steps=5, batch_size=16, flip=True), 2 * public),
        (Decoder(steps=5, batch_size=16, shift=1), public + 5 * 16),
    ]:
        seen, _ = worlds.watch("lenet", Cache(tmp_path))
        seen = seen.restricted(attack.needs)
        attack.run(seen, Seeds(0))
        assert seen.queries == queries, attack
