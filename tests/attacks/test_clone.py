from safelight.attacks.inversion.clone import Clone
from safelight.attacks.inversion.decoder import Decoder
from safelight.attacks.inversion.likelihood import Likelihood
from safelight.cache import Cache
from safelight.stats.seeds import Seeds
from safelight.testing import worlds
from safelight.testing.attacks import AttackContract


class TestClone(AttackContract):
    attack = Clone(steps=150, likelihood=Likelihood(steps=30, decoder=Decoder(steps=100)))


def test_only_real_queries_are_counted(tmp_path):
    """What is sent to the copy costs nothing."""
    seen, _ = worlds.watch("lenet", Cache(tmp_path))
    view = seen.restricted(Clone.needs)
    few = Clone(steps=5, likelihood=Likelihood(steps=2, decoder=Decoder(steps=2)))
    few.run(view, Seeds(0))
    assert view.queries == len(worlds.digits().public)
