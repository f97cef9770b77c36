from safelight.attacks.inversion.clone import Clone
from safelight.attacks.inversion.decoder import Decoder
from safelight.attacks.inversion.likelihood import Likelihood
from safelight.cache import Cache
from safelight.metrics.image import psnr
from safelight.stats.seeds import Seeds
from safelight.testing import worlds
from safelight.testing.attacks import AttackContract


class TestClone(AttackContract):
    attack = Clone(steps=60, likelihood=Likelihood(steps=10, decoder=Decoder(steps=50)))


def test_a_copy_that_misleads_is_not_followed(tmp_path):
    """After one step the copy knows nothing; what the inverse network rebuilt is claimed."""
    seen, secret = worlds.watch("lenet", Cache(tmp_path))
    decoder = Decoder(steps=60)
    poor = Clone(steps=1, likelihood=Likelihood(steps=30, decoder=decoder))
    claim = poor.run(seen.restricted(Clone.needs), Seeds(0)).images
    start = decoder.run(seen.restricted(Decoder.needs), Seeds(0)).images
    truth = secret.victims.images
    assert psnr(claim, truth).mean() > psnr(start, truth).mean() - 0.3


def test_queries_for_the_copy_and_for_the_inverse_network_are_counted(tmp_path):
    seen, _ = worlds.watch("lenet", Cache(tmp_path))
    view = seen.restricted(Clone.needs)
    few = Clone(steps=5, likelihood=Likelihood(steps=2, decoder=Decoder(steps=2)))
    few.run(view, Seeds(0))
    assert view.queries > len(worlds.digits().public)
