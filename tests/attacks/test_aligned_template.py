import pytest
import torch

from safelight.attacks.inversion.aligned_template import AlignedTemplate, AnswerNetwork
from safelight.attacks.inversion.gradient import Imitation, Spread
from safelight.cache import Cache
from safelight.metrics.image import ssim
from safelight.stats.seeds import Seeds
from safelight.testing import answers
from safelight.testing.answers import AnswersContract

QUICK = AlignedTemplate(
    shadows=3, imitation=Imitation(steps=30), steps=160, width=16, learning_rate=4e-3
)


class TestAlignedTemplate(AnswersContract):
    attack = QUICK


def gaussian(n, d, draw):
    mix = torch.eye(d) + 0.3 * torch.randn(d, d, generator=draw)
    return torch.randn(n, d, generator=draw) @ mix + 3 * torch.randn(d, generator=draw)


def test_what_is_carried_has_the_means_and_covariances_it_is_carried_onto():
    draw = torch.Generator().manual_seed(0)
    said = torch.arange(4000) % 2
    ours, theirs = (
        torch.where(said[:, None] == 0, gaussian(4000, 5, draw), gaussian(4000, 5, draw))
        for _ in range(2)
    )
    here, there = Spread.of(ours, said), Spread.of(theirs, said)
    carried = here.carry(ours, said, there)
    for label in range(2):
        own, other = carried[said == label], theirs[said == label]
        assert torch.allclose(own.mean(0), other.mean(0), atol=1e-3)
        gap = torch.linalg.matrix_norm(own.T.cov() - other.T.cov())
        assert gap < 0.2 * torch.linalg.matrix_norm(other.T.cov())


def test_answers_that_are_alike_already_stay_where_they_are():
    draw = torch.Generator().manual_seed(1)
    said = torch.zeros(500, dtype=torch.int64)
    own = gaussian(500, 4, draw)
    spread = Spread.of(own, said)
    assert torch.allclose(spread.carry(own, said, spread), own, atol=1e-3)


def test_a_scaled_and_shifted_model_is_undone_without_pairs():
    """Diagonal maps are what the optimal transport between Gaussians finds exactly."""
    draw = torch.Generator().manual_seed(2)
    said = torch.arange(20000) % 3
    scale = torch.tensor([2.0, 0.5, 1.5])
    true = torch.randn(20000, 3, generator=draw) + 2 * torch.eye(3)[said]
    theirs = true[10000:] * scale + 1
    near = Spread.of(true[:10000], said[:10000])
    moved = Spread.of(theirs, said[10000:], near).carry(theirs, said[10000:], near)
    assert (moved - true[10000:]).abs().mean() < 0.1


def test_a_class_of_one_answer_does_no_harm():
    draw = torch.Generator().manual_seed(3)
    said = torch.arange(300) % 3
    near = Spread.of(torch.randn(300, 4, generator=draw), said)
    few = torch.randn(31, 4, generator=draw)
    classes = torch.tensor([0] * 30 + [1])
    moved = Spread.of(few, classes, near).carry(few, classes, near)
    assert torch.isfinite(moved).all()
    assert moved.abs().max() < 20


def test_without_residual_only_the_class_counts():
    network = AnswerNetwork(10, (1, 28, 28), 10, 8)
    answers_, said = torch.randn(6, 10), torch.tensor([1, 1, 2, 2, 3, 3])
    bare = network(answers_, said, 0.0)
    assert torch.equal(bare[0], bare[1])
    assert not torch.equal(network(answers_, said)[0], network(answers_, said)[1])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 33, 20)])
def test_the_network_fits_any_picture(shape):
    network = AnswerNetwork(7, shape, 4, 8)
    assert network(torch.randn(2, 7), torch.tensor([0, 3])).shape == (2, *shape)


def test_the_class_alone_gives_no_more_than_a_template(tmp_path):
    """Top-1 as a defense: the attack falls back to one picture a class."""
    from safelight.defenses.label_only import LabelOnly
    from safelight.testing import worlds
    from safelight.threats.prediction_api import PredictionApi

    edge, cloud = answers.parts("lenet")
    seen, secret = PredictionApi(returns="logits", knows="nothing").expose(
        edge, cloud, worlds.digits(), torch.device("cpu"), Cache(tmp_path), LabelOnly()
    )
    claim = QUICK.run(seen.restricted(QUICK.needs), Seeds(0)).images
    said = seen.messages.argmax(1)
    for label in said.unique():
        own = claim[said == label]
        assert (own - own[0]).abs().max() < 1e-3
    assert float(ssim(claim, secret.victims.images).mean()) > 0.25
