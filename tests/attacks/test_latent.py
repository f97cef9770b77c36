import torch

from safelight.attacks.inversion.gradient import Imitation
from safelight.attacks.inversion.latent import Latent
from safelight.cache import Cache
from safelight.stats.seeds import Seeds
from safelight.testing import answers
from safelight.testing.answers import AnswersContract

QUICK = Latent(imitation=Imitation(steps=30), learning=500, bank=2000, chains=2)


class TestLatent(AnswersContract):
    attack = QUICK


def test_the_less_an_answer_says_the_more_its_chains_differ(tmp_path):
    """The same search finds near copies for a thumbnail, and many pictures for ten logits."""
    found = {}
    for kind in ("everything", "lenet"):
        seen, _ = answers.watch(kind, Cache(tmp_path), victims=20)
        attack = Latent(imitation=Imitation(steps=30), learning=200, bank=1000, steps=8)
        found[kind] = attack.run(seen.restricted(attack.needs), Seeds(0)).provenance
    assert found["lenet"]["diversity"] > 1.5 * found["everything"]["diversity"]
    assert all(one["misfit"] > 0 for one in found.values())


def test_a_single_chain_has_no_diversity(tmp_path):
    seen, secret = answers.watch("lenet", Cache(tmp_path), victims=20)
    attack = Latent(imitation=Imitation(steps=2), learning=2, bank=20, steps=1, chains=1)
    claim = attack.run(seen.restricted(attack.needs), Seeds(0))
    assert claim.provenance["diversity"] == 0
    assert claim.images.shape == secret.victims.images.shape
    assert torch.isfinite(claim.images).all()
