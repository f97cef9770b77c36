import pytest
import torch

from safelight.attacks.inversion.gradient import Gradient, Imitation, asked_shadows, read
from safelight.cache import Cache
from safelight.stats.seeds import Seeds
from safelight.testing import answers
from safelight.testing.answers import AnswersContract

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
        return float((read(shadow.edge(pictures)) - wanted).square().mean())

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
    logs = read(p)
    assert torch.allclose(logs[0].softmax(0), p[0], atol=1e-6)
    assert torch.allclose(logs[2].softmax(0), torch.tensor([0.9, 0.05, 0.05]), atol=1e-4)
    assert torch.isfinite(logs).all()
    logits = torch.tensor([[3.0, -2.0, 1.0]])
    assert torch.equal(read(logits), logits)


def test_probabilities_say_what_logits_say_but_for_a_constant():
    logits = 3 * torch.randn(20, 10, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(read(logits.softmax(1)), logits - logits.mean(1, keepdim=True), atol=1e-4)
