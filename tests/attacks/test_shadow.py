import torch

from safelight.attacks.inversion.class_means import deviation_of
from safelight.attacks.inversion.decoder import Decoder
from safelight.attacks.inversion.shadow import Moments, Shadow
from safelight.cache import Cache
from safelight.metrics.image import ssim
from safelight.stats.seeds import Seeds
from safelight.testing import worlds
from safelight.testing.attacks import AttackContract


class TestShadow(AttackContract):
    attack = Shadow(steps=40, tries=2, decoder=Decoder(steps=70))


def test_the_same_distribution_is_at_distance_zero_and_another_is_not():
    draw = torch.Generator().manual_seed(0)
    messages, others = torch.randn(2, 4000, 3, 6, 6, generator=draw)
    labels = torch.randint(4, (4000,), generator=draw)
    moments = Moments(messages, labels, 4)
    assert abs(float(moments(others, labels))) < 0.01
    assert float(moments(1.5 * others, labels)) > 0.3
    assert float(moments(others + 0.5, labels)) > 0.1
    mixed = torch.cat([others[:, :1], others[:, :1], others[:, 2:]], 1)
    assert float(moments(mixed, labels)) > 0.1


def test_a_mirrored_message_is_told_apart():
    """What has the same covariances at one place may differ in how neighbors go together."""
    draw = torch.Generator().manual_seed(0)
    white = torch.randn(2, 2000, 1, 8, 9, generator=draw)
    drifting = torch.cat([white[..., :-1], white[..., 1:]], 2)
    labels = torch.zeros(2000, dtype=torch.int64)
    moments = Moments(drifting[0], labels, 1)
    assert abs(float(moments(drifting[1], labels))) < 0.05
    assert float(moments(drifting[1].flip(3), labels)) > 0.1


def test_messages_without_a_grid_are_compared_too():
    draw = torch.Generator().manual_seed(0)
    messages = torch.randn(2000, 5, 7, generator=draw)
    labels = torch.zeros(2000, dtype=torch.int64)
    assert float(Moments(messages, labels, 1)(2 * messages, labels)) > 0.3


def test_alignment_beats_the_cross_entropy_alone(tmp_path):
    seen, secret = worlds.watch("lenet", Cache(tmp_path))
    truth = secret.victims.images
    reached = {}
    for alignment in ("none", "moments"):
        attack = Shadow(alignment=alignment, steps=100, tries=1, decoder=Decoder(steps=100))
        claim = attack.run(seen.restricted(attack.needs), Seeds(0)).images
        reached[alignment] = float(ssim(claim, truth).mean())
    assert reached["moments"] > reached["none"] + 0.02


def test_class_means_begin_a_shadow_nearer_to_the_edge_than_chance(tmp_path):
    seen, secret = worlds.watch("lenet", Cache(tmp_path), victims=300)
    view, attack = seen.restricted(Shadow.needs), Shadow(batch_size=64)
    shadow = view.untrained_edge(Seeds(1))
    victims, sent = secret.victims.images, seen.messages
    unit = deviation_of(sent)

    def explained():
        with torch.no_grad():
            gap = ((shadow(victims) - sent) / unit).square().mean()
        return float(1 - gap / ((sent - sent.mean(0)) / unit).square().mean())

    before = explained()
    attack._train(shadow, view, attack._expectation(view), Seeds(1), 80)
    assert before < 0.05
    assert explained() > 0.25
