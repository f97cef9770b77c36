import dataclasses

import pytest
import torch

from safelight.attacks.inversion.decoder import Decoder
from safelight.attacks.inversion.likelihood import Likelihood
from safelight.cache import Cache
from safelight.metrics.image import psnr
from safelight.stats.seeds import Seeds
from safelight.testing import worlds
from safelight.testing.attacks import AttackContract

SMALL = Decoder(steps=80, batch_size=32)


class TestLikelihood(AttackContract):
    attack = Likelihood(steps=60, decoder=SMALL)


class TestLikelihoodFromGray(AttackContract):
    attack = Likelihood(steps=80, start="gray")


def _rebuilt(attack, cache, victims=40):
    seen, secret = worlds.watch("lenet", cache, victims)
    images = attack.run(seen.restricted(attack.needs), Seeds(0)).images
    return images, secret.victims.images


def test_results_do_not_depend_on_the_batch_size(tmp_path):
    attack = Likelihood(steps=40, decoder=SMALL)
    whole, truth = _rebuilt(attack, Cache(tmp_path))
    parts, _ = _rebuilt(dataclasses.replace(attack, batch_size=7), Cache(tmp_path))
    assert (psnr(whole, truth) - psnr(parts, truth)).abs().max() < 0.1


def test_more_knowledge_never_does_worse(tmp_path):
    """The white-box attack starts from everything that the black-box attack has."""
    black, truth = _rebuilt(SMALL, Cache(tmp_path))
    white, _ = _rebuilt(Likelihood(steps=120, decoder=SMALL), Cache(tmp_path))
    gain = psnr(white, truth) - psnr(black, truth)
    assert gain.mean() > 3
    assert (gain > -0.5).float().mean() > 0.95


def test_restarts_keep_the_lower_objective(tmp_path):
    one, truth = _rebuilt(Likelihood(steps=40, start="gray"), Cache(tmp_path))
    three, _ = _rebuilt(Likelihood(steps=40, start="gray", restarts=3), Cache(tmp_path))
    assert not torch.equal(one, three)
    assert psnr(three, truth).mean() > psnr(one, truth).mean() - 0.5


def test_a_linear_cut_is_inverted_to_the_precision_of_float32(tmp_path):
    from safelight.threats.split_inference import SplitInference

    threat = SplitInference(cut="conv1")
    seen, secret = threat.meet(
        worlds.lenet(), worlds.digits(), torch.device("cpu"), Cache(tmp_path)
    )
    claim = Likelihood(start="gray").run(seen, Seeds(0)).images
    assert psnr(claim, secret.victims.images).mean() > 80


@pytest.mark.parametrize("field", ["steps", "restarts", "batch_size"])
def test_counts_must_be_positive(field):
    from safelight import catalog
    from safelight.errors import PlanError

    with pytest.raises(PlanError, match=field):
        catalog.build("attack", "inversion/likelihood", {field: 0})
