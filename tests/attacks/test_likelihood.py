import dataclasses

import pytest
import torch

from safelight.attacks.inversion.decoder import Decoder
from safelight.attacks.inversion.likelihood import Likelihood, _Correlation, _Problem
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


def test_the_correlation_of_errors_is_measured_as_it_is():
    """Errors made as C u come back as C: blurred ones keep their bands, colors their axes."""
    draw = torch.Generator().manual_seed(0)
    bands = torch.linspace(3, 0.1, 3 * 8 * 9).reshape(3, 8, 9)
    colors, _ = torch.linalg.qr(torch.randn(3, 3, generator=draw))
    one = _Correlation.of(torch.randn(2, 3, 8, 9, generator=draw))
    made = dataclasses.replace(one, colors=colors, bands=bands)
    errors = made(torch.randn(4000, 3, 8, 9, generator=draw))
    measured = _Correlation.of(errors)
    assert torch.allclose(measured.bands.square().sum(), bands.square().sum(), rtol=0.02)
    again = measured(torch.randn(4000, 3, 8, 9, generator=draw))
    theirs, ours = (torch.cov(value.flatten(1).T) for value in (errors, again))
    assert (theirs - ours).norm() < 0.25 * theirs.norm()


def test_a_prior_that_knows_the_correlation_fills_in_what_the_message_leaves_open():
    """A message of few numbers: blurred errors are undone far beyond the pixels it is about."""
    draw = torch.Generator().manual_seed(0)
    spectrum = 1 / (1 + torch.arange(16)[:, None] + torch.arange(16)).square()
    white = _Correlation.of(torch.randn(50, 1, 16, 16, generator=draw))
    smooth = dataclasses.replace(white, colors=torch.ones(1, 1), bands=16 * spectrum[None])
    truth = (0.5 + 0.1 * smooth(torch.randn(20, 1, 16, 16, generator=draw))).clamp(0, 1)
    edge = torch.nn.AvgPool2d(1, stride=2)  # every fourth pixel
    origin = torch.full_like(truth, 0.5)
    left = []
    for correlation in (None, smooth):
        problem = _Problem(
            edge, edge(truth), torch.ones(1), origin, origin / 5, torch.tensor(1e-4), 0.01,
            correlation, False,
        )  # fmt: skip
        u = problem.descend(torch.zeros_like(truth), 300, 0.1)
        left.append(float((problem.picture(u) - truth).square().mean()))
    assert left[1] < 0.5 * left[0]
