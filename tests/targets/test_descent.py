import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.targets.classifiers.mlp import MLP
from safelight.targets.descent import descend
from safelight.targets.target import Normalized
from safelight.testing import worlds

DIGITS = worlds.digits().public.rows(torch.arange(20))


def build(seed=0, **options):
    torch.manual_seed(seed)
    return Normalized(MLP(hidden=(32,), **options), MLP.mean, MLP.std)


def test_a_step_is_that_of_the_formula():
    model, twin = build(), build()
    descend(model, DIGITS, steps=2, learning_rate=0.05, weight_decay=0.1)
    speed = [torch.zeros_like(one) for one in twin.parameters()]
    for _ in range(2):
        loss = F.cross_entropy(twin(DIGITS.images), DIGITS.labels)
        found = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for own, velocity, gradient in zip(twin.parameters(), speed, found, strict=True):
                velocity.mul_(0.9).add_(gradient + 0.1 * own)
                own -= 0.05 * velocity
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_it_learns_by_heart_and_says_how():
    model = build()
    facts = descend(model, DIGITS, steps=200, learning_rate=0.1)
    assert facts["loss"] < 0.01
    assert facts["n"] == 20
    assert facts["training_set_sha256"] == DIGITS.sha256()
    assert facts["recipe"]["steps"] == 200
    assert not model.training
    assert all(one.grad is None for one in model.parameters())
    assert (model(DIGITS.images).argmax(1) == DIGITS.labels).all()


def test_one_output_learns_odd_from_even():
    model = build(classes=1)
    descend(model, DIGITS, steps=200, learning_rate=0.1)
    assert ((model(DIGITS.images)[:, 0] > 0) == (DIGITS.labels % 2 == 1)).all()


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_seed(dropout):
    torch.manual_seed(5)
    expected = torch.rand(3)
    models = [build(dropout=dropout) for _ in range(2)]
    torch.manual_seed(5)
    for model in models:
        descend(model, DIGITS, steps=5, learning_rate=0.1, seed=3)
    assert torch.equal(torch.rand(3), expected)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)
