import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from safelight.attacks.extraction.row_space import RowSpace, _Program, reach
from safelight.data.images import ImageSet
from safelight.metrics.extraction_losses.row_space import (
    Span,
    excess,
    first_dense,
    rank_of,
    span_of,
)
from safelight.stats.seeds import Seeds
from safelight.targets.classifiers.mlp import MLP
from safelight.targets.classifiers.plain_cnn import PlainCNN
from safelight.targets.descent import descend
from safelight.targets.target import Normalized
from safelight.testing import worlds
from safelight.testing.extraction import ExtractionContract, assess, leaking, watch
from safelight.threats.released_model import ReleasedModel


def read_span(model, shape, most, initial=None):
    return span_of(model.network, (model.mean, model.std), shape, most, initial)


class TestRowSpace(ExtractionContract):
    attack = RowSpace(directions=60)


def test_most_training_pictures_come_out_to_the_last_pixel():
    world, attack = leaking(), RowSpace(directions=60, batch=20)
    seen = watch(world).restricted(attack.needs, attack.welcomes)
    claim = attack.run(seen, Seeds(0))
    apart = torch.cdist(world.secret.members.images.flatten(1), claim.images.flatten(1))
    exact = (apart.min(1).values < 0.5).sum()  # a thousandth of a pixel's range, in the mean
    assert exact >= 20
    auc, extracted = assess(world, claim)
    assert extracted.measurement.value >= 2 / 3
    assert auc.measurement.value >= 0.85
    # Exact corners have the most pixels at the ends of the range: the attacker knows which are.
    best = claim.images[claim.confidence.argsort(descending=True)[:10]]
    found = torch.cdist(best.flatten(1), world.secret.members.images.flatten(1)).min(1).values
    assert (found < 0.5).sum() >= 7


def span_error(span, images, model):
    """Distance of pictures from the affine span, relative to their own length."""
    z = ((images - model.mean) / model.std).flatten(1).double().numpy()
    rows = np.concatenate([z, np.ones((len(z), 1))], 1)
    std = model.std.flatten()[0].item()
    axes = np.concatenate([span.basis / std, span.affine[None]])
    return np.linalg.norm(rows - rows @ axes @ axes.T, axis=1) / np.linalg.norm(rows, axis=1)


def trained(decay, steps, **options):
    digits = worlds.digits().public
    members, others = digits.rows(torch.arange(20)), digits.rows(torch.arange(20, 40))
    torch.manual_seed(0)
    network = MLP(10, hidden=(128,), **options)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    model = Normalized(network, MLP.mean, MLP.std)
    descend(model, members, steps=steps, learning_rate=0.1, weight_decay=decay)
    return model, start, members, others


@pytest.mark.parametrize("options", [{}, {"dropout": 0.4}])
def test_a_known_start_leaves_the_span_of_the_training_pictures(options):
    """Whatever stands behind the first layer, and whatever weight decay left of the start."""
    model, start, members, others = trained(1e-3, 150, **options)
    span = read_span(model, (1, 28, 28), 20, (start["1.weight"], start["1.bias"]))
    assert span.rank == 20
    assert span_error(span, members.images, model).max() < 0.01
    assert span_error(span, others.images, model).min() > 0.1


def test_batch_normalization_leaves_differences_of_pictures_only():
    model, start, members, others = trained(1e-3, 150, batch_norm=True)
    span = read_span(model, (1, 28, 28), 20, (start["1.weight"], start["1.bias"]))
    assert span.rank == 19
    axes = np.linalg.qr(span.basis)[0]
    for side, lies in ((members, True), (others, False)):
        apart = (side.images[1:] - side.images[:1]).flatten(1).double().numpy()
        away = np.linalg.norm(apart - apart @ axes @ axes.T, axis=1)
        assert (away / np.linalg.norm(apart, axis=1) < 0.02).all() == lies
    assert span_error(span, members.images, model).min() > 0.02


def test_an_unknown_start_hides_the_span_until_weight_decay_forgets_it():
    fresh, _, members, others = trained(0.0, 150)
    span = read_span(fresh, (1, 28, 28), 20)
    errors = [span_error(span, one.images, fresh) for one in (members, others)]
    assert errors[0].mean() > 0.3
    decayed, _, members, others = trained(5e-3, 1500)
    span = read_span(decayed, (1, 28, 28), 20)
    assert span.rank == 20
    assert span.gap > 10
    assert span_error(span, members.images, decayed).max() < 0.05
    assert span_error(span, others.images, decayed).min() > 0.1


def test_the_linear_program_agrees_with_another_solver():
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(30, 6))
    inside = rng.random(30)
    span = Span(inside - basis @ np.full(6, 0.1), basis, None, 1.0)
    program, objective = _Program(span, 1e-3), rng.normal(size=30)
    ours = program.highest(objective)
    theirs = linprog(
        -(objective @ basis),
        A_ub=np.concatenate([basis, -basis]),
        b_ub=np.concatenate([1.001 - span.offset, span.offset + 0.001]),
        bounds=(None, None),
    )
    assert objective @ ours == pytest.approx(objective @ span.offset - theirs.fun, abs=1e-6)
    assert ours.min() > -0.0011
    assert ours.max() < 1.0011


def test_a_search_never_goes_up():
    world, attack = leaking(), RowSpace()
    seen = watch(world).restricted(attack.needs, attack.welcomes)
    program = _Program(read_span(seen.model, (1, 28, 28), 30), 1e-3)
    start, heights = world.public.images[0].flatten().double().numpy(), []
    for steps in range(1, 5):
        inside = reach(program, start, (0.2,) * steps).clip(0, 1)
        heights.append((np.log(inside + 0.2) + np.log(1.2 - inside)).sum())
    assert all(b <= a + 1e-3 * abs(a) for a, b in itertools.pairwise(heights))


def test_the_rank_ends_where_the_singular_values_fall_most():
    values = torch.tensor([9.0, 5.0, 4.0, 0.01, 0.009, 0.008])
    assert rank_of(values, 5)[0] == 3
    assert rank_of(values, 2)[0] == 1  # no more than there are pictures
    assert rank_of(values, 5)[1] == pytest.approx(400)


def test_a_corner_has_no_excess_and_a_picture_with_a_background_has():
    span = Span(np.full(20, 0.5), np.eye(20)[:, :4] + 0.01, None, 1.0)
    corner = np.concatenate([np.zeros(4), np.full(16, 0.5)])
    assert excess(span, corner[None], 1e-3)[0] == 0
    wide = Span(np.full(20, 0.5), np.random.default_rng(0).normal(size=(20, 4)), None, 1.0)
    assert excess(wide, np.zeros((1, 20)), 1e-3)[0] == 16


def test_a_network_that_begins_with_a_convolution_has_no_row_space():
    assert first_dense(PlainCNN()) is None
    assert first_dense(nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(4, 2))) is None
    assert first_dense(MLP())[0] == "1"


def test_it_uses_the_number_of_pictures_only_where_it_is_known():
    attack = RowSpace(directions=1)
    for count, most in (("known", 30), ("unknown", 256)):
        seen = watch(leaking(), ReleasedModel(count=count))
        seen = seen.restricted(attack.needs, attack.welcomes)
        assert attack.run(seen, Seeds(0)).provenance["rank"] <= most
    assert isinstance(leaking().public, ImageSet)
