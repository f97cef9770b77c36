import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.data.images import ImageSet
from safelight.data.sources import embedded
from safelight.errors import PlanError
from safelight.plan.plan import FitPlan
from safelight.targets.classifiers.lenet import LeNet
from safelight.targets.fit import fit
from safelight.targets.target import Normalized

RECIPE = FitPlan(epochs=4, batch_size=20, learning_rate=5e-3, seed=0)


def digits(n=200):
    split = embedded.open_split("train")
    rows = np.arange(0, 5000, 5000 // n)
    return ImageSet(
        torch.from_numpy(split.pictures(rows)),
        torch.from_numpy(split.labels[rows]),
        split.classes,
        "digits",
    )


def model(*extra):
    torch.manual_seed(0)
    return Normalized(nn.Sequential(LeNet(), *extra), (0.5,), (0.5,))


def trained(recipe=RECIPE, *extra, data=None):
    made = model(*extra)
    facts = fit(made, data or digits(), recipe)
    return made, facts


def loss(made, data):
    with torch.no_grad():
        return float(F.cross_entropy(made(data.images), data.labels))


def weights(made):
    return torch.cat([value.flatten() for value in made.network.parameters()])


def test_training_learns_200_digits():
    data, fresh = digits(), model().eval()
    made, _ = trained(FitPlan(epochs=8, batch_size=20, learning_rate=5e-3))
    right = (made(data.images).argmax(1) == data.labels).float().mean()
    assert loss(made, data) < 0.5 * loss(fresh, data)
    assert right > 0.8


def test_training_repeats_for_a_seed_and_differs_for_another():
    (one, _), (same, _) = trained(), trained()
    other, _ = trained(RECIPE.model_copy(update={"seed": 1}))
    assert torch.equal(weights(one), weights(same))
    assert not torch.equal(weights(one), weights(other))


def test_training_repeats_for_a_network_with_dropout_whatever_was_drawn_before():
    """Only the recipe's seed may matter: same plan and seed, same target."""
    recipe = FitPlan(epochs=1, batch_size=50)
    results = []
    for seed in (1, 2):
        made = model(nn.Dropout(0.5))
        torch.manual_seed(seed)
        fit(made, digits(), recipe)
        results.append(weights(made))
    assert torch.equal(*results)


@pytest.mark.parametrize("extra", [(), (nn.Dropout(0.5),)])
def test_training_leaves_the_global_generator_alone(extra):
    made = model(*extra)
    before = torch.random.get_rng_state()
    fit(made, digits(), FitPlan(epochs=1, batch_size=50))
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_facts_say_what_was_trained_on_what():
    made, facts = trained(FitPlan(epochs=1))
    assert facts["n"] == 200
    assert facts["recipe"]["epochs"] == 1
    assert facts["training_set_sha256"] == digits().sha256()
    assert not made.training


@pytest.mark.parametrize(("n", "batch_size"), [(5, 128), (200, 200), (200, 199), (200, 1)])
def test_any_batch_size_trains(n, batch_size):
    data = digits().rows(torch.arange(n))
    made, _ = trained(FitPlan(epochs=1, batch_size=batch_size), data=data)
    assert torch.isfinite(weights(made)).all()
    assert not torch.equal(weights(made), weights(model()))


def test_one_picture_trains_for_one_epoch():
    data = digits().rows(torch.tensor([0]))
    made, _ = trained(FitPlan(epochs=1), data=data)
    assert torch.isfinite(weights(made)).all()


def test_another_objective_takes_the_place_of_cross_entropy():
    """Twice the loss has the same first step, by Adam; the loss of other labels has not."""

    def doubled(made, pictures, labels):
        return 2 * F.cross_entropy(made(pictures), labels)

    def turned(made, pictures, labels):
        return F.cross_entropy(made(pictures), 9 - labels)

    plain, twice, other = (model() for _ in range(3))
    recipe = FitPlan(epochs=1, batch_size=200, learning_rate=1e-2)
    fit(plain, digits(), recipe)
    fit(twice, digits(), recipe, doubled)
    fit(other, digits(), recipe, turned)
    same, moved = ((weights(plain) - weights(one)).detach().abs().mean() for one in (twice, other))
    assert same < 0.01 * moved


def test_gradient_descent_takes_no_objective():
    recipe = FitPlan(epochs=1, optimizer="gradient descent")
    with pytest.raises(PlanError, match="adamw"):
        fit(model(), digits(), recipe, lambda made, pictures, _: made(pictures).sum())
