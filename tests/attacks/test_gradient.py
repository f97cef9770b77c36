import dataclasses

import pytest
import torch

from safelight.attacks.inversion.gradient import (
    TUNED_ON,
    VARIATIONS,
    Gradient,
    Imitation,
    asked_shadows,
    heard,
    read,
)
from safelight.cache import Cache
from safelight.defenses.dropout import Dropout
from safelight.defenses.gaussian_noise import GaussianNoise
from safelight.defenses.rounding import Rounding
from safelight.defenses.temperature import Temperature
from safelight.metrics.image import ssim
from safelight.stats.seeds import Seeds
from safelight.testing import answers, worlds
from safelight.testing.answers import AnswersContract
from safelight.threats.prediction_api import PredictionApi

SHADOW = Imitation(steps=30)


class TestGradient(AnswersContract):
    attack = Gradient(imitation=SHADOW, steps=60, learning_rate=0.05)


def watched(tmp_path):
    seen, secret = answers.watch("lenet", Cache(tmp_path), victims=20)
    return seen.restricted(Gradient.needs), secret


def test_a_picture_is_searched_for_by_itself(tmp_path):
    """The published objective couples a batch's pictures; here batches change nothing."""
    seen, _ = watched(tmp_path)
    claims = [
        Gradient(imitation=SHADOW, steps=8, variation=1e-3, batch_size=size, precision="float32")
        .run(seen, Seeds(0))
        .images
        for size in (3, 20)
    ]
    # Adam divides by the gradient's size: where that is next to nothing, rounding decides.
    assert (claims[0] - claims[1]).abs().mean() < 1e-3


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_the_search_explains_the_answers_better_than_its_start(tmp_path, loss):
    seen, _ = watched(tmp_path)
    attack = Gradient(imitation=SHADOW, steps=40, loss=loss, variation=0, energy=0, align=False)
    (shadow,) = asked_shadows(SHADOW, 1, seen, Seeds(0))
    wanted, said = shadow.answers[:20], shadow.said[:20]
    found = attack.search(seen, shadow.edge, wanted, said, Seeds(0))
    begun = attack._begun(seen, said, Seeds(0))

    def off(pictures):
        return float((read(shadow.edge(pictures), False) - wanted).square().mean())

    assert off(found) < 0.5 * off(begun)


def test_regularizers_smooth_and_darken(tmp_path):
    seen, _ = watched(tmp_path)
    (shadow,) = asked_shadows(SHADOW, 1, seen, Seeds(0))
    wanted, said = shadow.answers[:20], shadow.said[:20]

    def found(**weights):
        options = {"variation": 0.0, "energy": 0.0, "start": "random", "steps": 40, **weights}
        attack = Gradient(imitation=SHADOW, **options)
        return attack.search(seen, shadow.edge, wanted, said, Seeds(0))

    def rough(x):
        return float((x[..., 1:] - x[..., :-1]).abs().mean())

    assert rough(found(variation=1.0)) < 0.7 * rough(found())
    assert found(energy=1.0).mean() < 0.7 * found().mean()


def test_the_variation_is_the_best_of_those_up_to_the_first_that_serves_worse(tmp_path):
    seen, _ = watched(tmp_path)
    (shadow,) = asked_shadows(SHADOW, 1, seen, Seeds(0))
    attack = Gradient(imitation=SHADOW, steps=8, learning_rate=0.1)
    answers, said = shadow.answers[:TUNED_ON], shadow.said[:TUNED_ON]

    def score(weight):
        one = dataclasses.replace(attack, variation=weight)
        claim = one.search(seen, shadow.edge, answers, said, Seeds(0))
        return float(ssim(claim, shadow.pictures[:TUNED_ON]).mean())

    chosen = attack.chosen(seen, shadow, Seeds(0)).variation
    scores = [score(weight) for weight in VARIATIONS]
    at = VARIATIONS.index(chosen)
    assert scores[: at + 1] == sorted(scores[: at + 1])
    assert at + 1 == len(scores) or scores[at + 1] < scores[at]


def test_starts_differ(tmp_path):
    seen, _ = watched(tmp_path)
    said = torch.tensor([3, 3, 5])
    begun = {
        start: Gradient(start=start)._begun(seen, said, Seeds(0))
        for start in ("class mean", "instance", "random")
    }
    assert torch.equal(begun["class mean"][0], begun["class mean"][1])
    assert not torch.equal(begun["instance"][0], begun["instance"][1])
    own = seen.public.images[seen.labels == 3]
    assert (own == begun["instance"][0]).flatten(1).all(1).any()


def test_probabilities_are_read_as_logarithms_and_what_is_hidden_shares_the_rest():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.5, 0.0], [0.9, 0.0, 0.0]])
    logs = read(p, True)
    assert torch.allclose(logs[0].softmax(0), p[0], atol=1e-6)
    assert torch.allclose(logs[2].softmax(0), torch.tensor([0.9, 0.05, 0.05]), atol=1e-4)
    assert torch.isfinite(logs).all()
    logits = torch.tensor([[3.0, -2.0, 1.0]])
    assert torch.equal(read(logits, False), logits)


def test_probabilities_say_what_logits_say_but_for_a_constant():
    logits = 3 * torch.randn(20, 10, generator=torch.Generator().manual_seed(0))
    logs = read(logits.softmax(1), True)
    assert torch.allclose(logs, logits - logits.mean(1, keepdim=True), atol=1e-4)


def served(release, tmp_path):
    """Watch probabilities that leave through a defense."""
    threat, roles = PredictionApi(knows="nothing"), worlds.digits(victims=20)
    edge, cloud = threat.parts(worlds.lenet(), roles.victims.shape)
    seen, _ = threat.expose(edge, cloud, roles, torch.device("cpu"), Cache(tmp_path), release)
    return seen.restricted(Gradient.needs)


def test_no_picture_changes_how_another_is_read():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.4, 0.0], [0.8, 0.3, -0.1]])
    assert all(torch.equal(read(p, True)[row], read(p[row, None], True)[0]) for row in range(3))
    assert all(torch.equal(read(p, False)[row], read(p[row, None], False)[0]) for row in range(3))


def test_what_did_not_come_is_no_likelier_than_what_did():
    p = torch.tensor([[0.9, 1e-9, 0.0, 0.0], [1.2, 1e-9, -0.3, 0.1], [-0.1, -0.2, 0.0, -0.1]])
    logs = read(p, True)
    assert torch.isfinite(logs).all()
    assert torch.equal(logs[0, 1:], logs[0, 1:2].expand(3))
    assert logs[1, 2] == logs[1, 1] < logs[1, 3] < logs[1, 0]
    assert not logs[2].any()


@pytest.mark.parametrize(
    ("release", "logs"),
    [
        (None, True),
        (Rounding(decimals=1), True),
        (Dropout(rate=0.5), True),
        (GaussianNoise(deviation=0.1), False),
    ],
)
def test_victims_are_read_as_the_pictures_that_were_learned_from(tmp_path, release, logs):
    seen = served(release, tmp_path)
    (shadow,) = asked_shadows(SHADOW, 1, seen, Seeds(0))
    victims, _ = heard(seen, shadow, align=False)
    for told in (victims, shadow.answers):
        assert bool(told.mean(1).abs().max() < 1e-5) == logs  # centered
        assert bool(told.max() > 1.5) == logs


def test_the_search_undoes_a_temperature(tmp_path):
    attack = Gradient(imitation=SHADOW, steps=10, variation=1e-2, precision="float32")
    plain, flat = (
        attack.run(served(release, tmp_path), Seeds(0)).images
        for release in (None, Temperature(temperature=5.0))
    )
    assert ssim(plain, flat).mean() > 0.99
