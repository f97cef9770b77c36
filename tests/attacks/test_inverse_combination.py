import typing

import pytest
import torch
from torch import nn

from safelight.attacks.inversion.gradient import Asked, Gradient, Imitation, asked_shadows
from safelight.attacks.inversion.inverse_combination import Inputs, InverseCombination, explained
from safelight.cache import Cache
from safelight.stats.seeds import Seeds
from safelight.testing import answers
from safelight.testing.answers import AnswersContract

SEARCH = Gradient(imitation=Imitation(steps=30), steps=10)


class TestInverseCombination(AnswersContract):
    attack = InverseCombination(search=SEARCH, steps=200, width=16, learning_rate=5e-3)


def test_every_combination_of_inputs_runs(tmp_path):
    seen, secret = answers.watch("lenet", Cache(tmp_path), victims=20)
    seen = seen.restricted(InverseCombination.needs)
    assert len(typing.get_args(Inputs)) == 7
    claims = []
    for inputs in typing.get_args(Inputs):
        attack = InverseCombination(
            inputs=inputs, search=SEARCH, searched=64, steps=3, width=4, batch_size=8
        )
        claims.append(attack.run(seen, Seeds(0)).images)
        assert claims[-1].shape == secret.victims.images.shape
    assert all(not torch.equal(claims[0], one) for one in claims[1:])


def shadow():
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        edge = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 5))
    pictures = torch.rand(40, 1, 8, 8, generator=draw)
    z = edge(pictures).detach()
    return Asked(edge.requires_grad_(False), z, z.argmax(1), pictures), draw


@pytest.mark.parametrize("start", ["class mean", "random"])
def test_activations_explain_the_answer(start):
    asked, draw = shadow()
    wanted = torch.randn(7, 5, generator=draw)
    a = explained(asked, wanted, wanted.argmax(1), start, draw, False)
    assert torch.allclose(asked.edge[-1](a), wanted, atol=1e-4)


def test_activations_are_known_up_to_what_the_last_layer_ignores():
    """From class means they are nearer to the truth than from noise, as published."""
    asked, draw = shadow()
    truth = asked.edge[:-1](asked.pictures)
    errors = [
        float(
            (explained(asked, asked.answers, asked.said, start, draw, False) - truth)
            .square()
            .mean()
        )
        for start in ("class mean", "random")
    ]
    assert errors[0] < 0.3 * errors[1]


@pytest.mark.parametrize("planted", ["everything", "lenet"])
def test_activations_of_a_model_without_a_last_linear_layer_are_its_answers(planted, tmp_path):
    """A planted leak must be found from activations too, or their silence proves nothing."""
    seen, _ = answers.watch(planted, Cache(tmp_path), victims=20)
    seen = seen.restricted(InverseCombination.needs)
    (asked,) = asked_shadows(SEARCH.imitation, 1, seen, Seeds(0))
    a = explained(asked, asked.answers, asked.said, "class mean", torch.Generator(), False)
    assert (a.shape == asked.answers.shape and torch.equal(a, asked.answers)) == (
        planted == "everything"
    )


def test_activations_explain_probabilities_up_to_a_constant_whoever_else_is_asked_about():
    asked, draw = shadow()
    logs = torch.randn(7, 5, generator=draw)
    said = logs.argmax(1)
    one, other = (
        explained(asked, logs + shift, said, "class mean", draw, True) for shift in (0, 3)
    )
    assert torch.allclose(one, other, atol=1e-4)
    off = asked.edge[-1](one) - logs
    assert torch.allclose(off, off.mean(1, keepdim=True).expand_as(off), atol=1e-4)


def test_searches_for_other_answers_are_other_searches(tmp_path):
    """Answers that are logarithms of probabilities all sum to zero."""
    seen, _ = answers.watch("lenet", Cache(tmp_path), victims=20)
    attack = InverseCombination(inputs="x", search=SEARCH)
    seen = seen.restricted(attack.needs)
    (asked,) = asked_shadows(SEARCH.imitation, 1, seen, Seeds(0))
    wanted, said = asked.answers[:8].round(), asked.said[:8]
    one, other, again = (
        attack._given(seen, asked, given, classes, Seeds(0))
        for given, classes in ((wanted, said), (wanted.flip(1), said), (wanted, said))
    )
    assert not torch.equal(one, other)
    assert torch.equal(one, again)
    begun_elsewhere = attack._given(seen, asked, wanted, (said + 1) % 10, Seeds(0))
    assert not torch.equal(one, begun_elsewhere)
