import pytest
import torch

from safelight.defenses.attacker_aware import AttackerAware
from safelight.defenses.fit_at_cut import Passing, Room
from safelight.metrics.image import ssim
from safelight.testing import worlds
from safelight.testing.defenses import TrainingDefenseContract

ROOM = Room((1, 28, 28), (4, 7, 7), torch.device("cpu"), 0)


def passing(message, pictures, labels=None):
    return Passing(pictures, labels, message, message, torch.zeros(()))


def batch(n=32):
    pictures = worlds.digits().public.images[:n]
    return torch.nn.functional.pixel_unshuffle(pictures, 4)[:, ::4].contiguous(), pictures


@pytest.mark.parametrize(
    ("shape", "message"), [((1, 28, 28), (4, 7, 7)), ((3, 30, 33), (2, 8, 9)), ((1, 28, 28), (6,))]
)
def test_the_decoder_draws_pictures_of_any_message(shape, message):
    price = AttackerAware(cut="relu2", width=4).penalty(Room(shape, message, ROOM.device, 0))
    given = passing(torch.rand(5, *message), torch.rand(5, *shape))
    assert torch.isfinite(price(given))


def test_the_rival_learns_what_the_message_tells():
    """On a batch that says a lot the price rises; on one that says nothing it stays low."""
    message, pictures = batch()
    rising = AttackerAware(cut="relu2").penalty(ROOM)
    silent = AttackerAware(cut="relu2").penalty(ROOM)
    told = [float(rising(passing(message, pictures)).detach()) for _ in range(150)]
    nothing = [
        float(silent(passing(torch.ones_like(message), pictures)).detach()) for _ in range(150)
    ]
    assert told[0] < 0.2
    assert told[-1] > 0.7
    assert nothing[-1] < told[-1] - 0.15


def test_the_price_asks_the_message_to_be_less_telling_and_leaves_the_rival_alone():
    message, pictures = batch()
    price = AttackerAware(cut="relu2", weight=2.0).penalty(ROOM)
    for _ in range(60):
        price(passing(message, pictures))
    message = message.clone().requires_grad_()
    due = price(passing(message, pictures))
    with torch.no_grad():
        drawn = ssim(price.decoder(message), pictures)
    assert float(due.detach()) == pytest.approx(2 * float(drawn.relu().mean()), rel=1e-4)
    due.backward()
    assert message.grad.abs().sum() > 0
    before = [one.clone() for one in price.decoder.parameters()]
    assert all(one.grad is None or not one.requires_grad for one in price.decoder.parameters())
    with torch.no_grad():
        worse = ssim(price.decoder(message - 0.5 * message.grad / message.grad.norm()), pictures)
    assert worse.mean() < drawn.mean()
    assert all(map(torch.equal, before, price.decoder.parameters()))


def test_likeness_below_the_threshold_is_free():
    message, pictures = batch()
    free = AttackerAware(cut="relu2", threshold=0.99).penalty(ROOM)
    message.requires_grad_()
    due = free(passing(message, pictures))
    due.backward()
    assert float(due.detach()) == 0
    assert float(message.grad.abs().sum()) == 0


class TestAttackerAware(TrainingDefenseContract):
    defense = AttackerAware(cut="relu2", width=4)
