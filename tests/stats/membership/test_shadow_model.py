import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import softmax

from safelight.metrics.membership import at_threshold, auc
from safelight.stats.membership import shadow


def predictions(n, models, seed, leak=1.5, classes=3):
    """Members' logits are raised at their class; model 0 is the target."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    inside = rng.random((models, n)) < 0.5
    logits = rng.normal(size=(models, n, classes))
    logits[:, np.arange(n), labels] += 1 + leak * inside
    return softmax(logits, -1), labels, inside


def test_learns_from_shadows_what_members_of_the_target_look_like():
    probabilities, labels, inside = predictions(600, 4, seed=0)
    model = shadow.fit(probabilities[1:], labels, inside[1:], seed=0)
    scores, member = model.score(probabilities[0], labels), inside[0]
    assert auc(scores[member], scores[~member]).low > 0.7
    # log-odds of the true class are Gaussian and 1.5 apart; nothing classifies better than that.
    calls = at_threshold(scores[member], scores[~member], model.threshold)
    assert calls.accuracy.low > 0.6
    assert calls.accuracy.value < 0.8
    assert calls.recall.low > 0.5
    assert calls.precision.low > 0.5


def test_sees_what_no_threshold_on_the_loss_does():
    """Members' second class is drained, while the true class's probability stays as it was."""
    rng = np.random.default_rng(1)
    labels, inside = np.zeros(800, int), rng.random((3, 800)) < 0.5
    true = rng.uniform(0.4, 0.8, (3, 800))
    share = np.where(inside, rng.uniform(0.4, 0.6, (3, 800)), rng.uniform(0, 1, (3, 800)))
    probabilities = np.stack([true, (1 - true) * share, (1 - true) * (1 - share)], -1)
    model = shadow.fit(probabilities[1:], labels, inside[1:], seed=0)
    scores, member = model.score(probabilities[0], labels), inside[0]
    loss = auc(true[0][member], true[0][~member])
    assert loss.low < 0.5 < loss.high
    assert auc(scores[member], scores[~member]).low > 0.75


def test_at_chance_where_nothing_leaks():
    probabilities, labels, inside = predictions(600, 3, seed=2, leak=0)
    model = shadow.fit(probabilities[1:], labels, inside[1:], seed=0)
    scores, member = model.score(probabilities[0], labels), inside[0]
    area = auc(scores[member], scores[~member], level=0.999)
    assert area.low < 0.5 < area.high


def test_few_members_weigh_as_much_as_many_others():
    """Without a leak the log-odds stay near 0, though only one example in ten is a member."""
    probabilities, labels, _ = predictions(2000, 3, seed=7, leak=0)
    inside = np.random.default_rng(8).random((3, 2000)) < 0.1
    model = shadow.fit(probabilities, labels, inside, seed=0)
    assert np.median(model.score(probabilities[0], labels)) == pytest.approx(0, abs=0.3)


def test_the_same_seed_gives_the_same_model():
    probabilities, labels, inside = predictions(90, 3, seed=3)
    one, two, three = (shadow.fit(probabilities, labels, inside, seed) for seed in (1, 1, 2))
    scores = [model.score(probabilities[0], labels) for model in (one, two, three)]
    assert np.array_equal(scores[0], scores[1])
    assert one.threshold == two.threshold
    assert not np.array_equal(scores[0], scores[2])


def test_the_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(4)
    inputs, member = rng.normal(size=(20, 3)), rng.random(20) < 0.5
    given = (inputs, member, np.full(20, 1 / 20))
    weights = rng.normal(size=shadow.HIDDEN * 4 + shadow.HIDDEN + 1)
    off = check_grad(
        lambda w: shadow._loss(w, *given)[0], lambda w: shadow._loss(w, *given)[1], weights
    )
    assert off < 1e-5


def test_certain_predictions_give_finite_scores():
    probabilities = np.tile([[1.0, 0, 0], [0, 1, 0]], (2, 40, 1))
    labels, inside = np.tile([0, 1], 40), np.random.default_rng(5).random((2, 80)) < 0.5
    model = shadow.fit(probabilities, labels, inside, seed=0)
    assert np.isfinite(model.score(probabilities[0], labels)).all()


def test_classes_that_cannot_be_learned_are_refused():
    probabilities, labels, inside = predictions(60, 2, seed=6)
    with pytest.raises(ValueError, match="class 0 has members only or none"):
        shadow.fit(probabilities, labels, np.ones_like(inside), seed=0)
    model = shadow.fit(probabilities, labels, inside, seed=0)
    with pytest.raises(ValueError, match="no example of class 7"):
        model.score(probabilities[0], labels + 7)
