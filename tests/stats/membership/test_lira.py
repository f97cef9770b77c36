import numpy as np
import pytest
from gaussian_world import World, caught, world
from scipy.stats import norm

from safelight.metrics.membership import auc, tpr_at_fpr
from safelight.stats.membership import lira


def at(scores, member, fpr):
    return tpr_at_fpr(scores[member], scores[~member], fpr, level=0.999)


def covers(found, true):
    return found.curve.low <= true <= found.curve.high


@pytest.mark.parametrize("fpr", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("shadows", [8, 32])
def test_offline_reaches_its_closed_form(shadows, fpr):
    """With k shadows without the example, mu_out adds its own noise: deviation sqrt(1 + 1/k)."""
    one = world(40_000, shadows, seed=0)
    scores = lira.offline(one.target, one.shadows, one.inside)
    assert covers(at(scores, one.member, fpr), caught(2 / np.sqrt(1 + 2 / shadows), fpr))


@pytest.mark.parametrize("fpr", [0.01, 0.1])
def test_online_comes_as_near_the_optimum_as_its_shadows_allow(fpr):
    one = world(20_000, 256, seed=1)
    scores = lira.online(one.target, one.shadows, one.inside)
    found = at(scores, one.member, fpr)
    assert found.curve.high >= caught(2 / np.sqrt(1 + 1 / 64), fpr)
    assert found.curve.low <= caught(2, fpr)  # nobody beats it
    assert found.tpr.value > 0.93 * caught(2, fpr)


def test_the_loss_alone_does_worse_and_as_badly_as_known():
    """Without m_i its deviation, 2, joins the noise: sqrt(1 + 4)."""
    one = world(40_000, 8, seed=2)
    found = at(one.target, one.member, 0.01)
    assert covers(found, caught(2 / np.sqrt(5), 0.01))
    calibrated = at(lira.offline(one.target, one.shadows, one.inside), one.member, 0.01)
    assert calibrated.tpr.low > 3 * found.tpr.high


@pytest.mark.parametrize("attack", [lira.online, lira.offline])
def test_at_chance_where_nothing_leaks(attack):
    one = world(4000, 16, seed=3, shift=0)
    scores = attack(one.target, one.shadows, one.inside)
    area = auc(scores[one.member], scores[~one.member], level=0.999)
    assert area.low < 0.5 < area.high


def test_the_online_score_is_the_log_likelihood_ratio():
    rng = np.random.default_rng(4)
    shadows = rng.normal(size=(100, 3))
    inside = rng.permuted(np.arange(100)[:, None] % 2 == np.zeros(3), axis=0)
    target = np.array([0.3, -1.0, 2.0])
    expected = []
    for phi, seen, where in zip(target, shadows.T, inside.T, strict=True):
        within, without = seen[where], seen[~where]
        expected.append(
            norm.logpdf(phi, within.mean(), within.std(ddof=1))
            - norm.logpdf(phi, without.mean(), without.std(ddof=1))
        )
    assert np.allclose(lira.online(target, shadows, inside), expected)


def test_few_shadows_share_a_deviation_that_is_not_blurred_by_hard_examples():
    """Examples far apart in m_i: the pooled deviation stays that within examples."""
    one = world(2000, 8, seed=5)
    far = World(one.target + 1e4, one.member, one.shadows + 1e4, one.inside)
    spread = np.arange(2000) * 50.0
    moved = lira.offline(far.target + spread, far.shadows + spread, far.inside)
    assert np.allclose(moved, lira.offline(one.target, one.shadows, one.inside), atol=1e-6)
    without = moved[~one.member]
    assert without.std() == pytest.approx(np.sqrt(1 + 1 / 4), abs=0.05)


def test_one_deviation_each_wins_from_enough_shadows_where_noise_differs():
    rng = np.random.default_rng(6)
    one = world(6000, 128, seed=6)
    noise = rng.choice([0.1, 3.0], 6000)  # of each example, in every model

    def noisy(phi, inside):
        return 2 * inside + noise * (phi - 2 * inside)

    easy = np.zeros(6000)
    target = noisy(rng.normal(easy + 2 * one.member), one.member)
    shadows = noisy(rng.normal(easy + 2 * one.inside), one.inside)
    many = lira.online(target, shadows, one.inside)
    shared = lira.online(target, shadows[:63], one.inside[:63])
    assert at(many, one.member, 0.01).tpr.low > at(shared, one.member, 0.01).tpr.high


def test_queries_are_averaged_and_independent_ones_help():
    one, two = world(8000, 32, seed=7), world(8000, 32, seed=8)
    target = np.stack([one.target, two.target], -1)
    shadows = np.stack([one.shadows, two.shadows], -1)
    inside = one.inside
    again = two.shadows - 2.0 * two.inside + 2.0 * inside  # the same models, another query
    shadows[..., 1] = again
    both = lira.offline(target, shadows, inside)
    first = lira.offline(one.target, one.shadows, inside)
    second = lira.offline(two.target, again, inside)
    assert np.corrcoef(both, first + second)[0, 1] > 0.9999
    assert at(both, one.member, 0.01).tpr.low > at(first, one.member, 0.01).tpr.high


def test_each_example_is_scored_by_itself_in_any_order():
    one = world(200, 128, seed=9)
    order = np.random.default_rng(0).permutation(200)
    for attack in (lira.online, lira.offline):
        scores = attack(one.target, one.shadows, one.inside)
        turned = attack(one.target[order], one.shadows[:, order], one.inside[:, order])
        assert np.allclose(turned, scores[order])
        back = attack(one.target, one.shadows[::-1], one.inside[::-1])
        assert np.allclose(back, scores)


def test_shadows_that_all_agree_give_finite_scores():
    inside = np.array([[True], [False], [True], [False]])
    for attack in (lira.online, lira.offline):
        assert np.isfinite(attack(np.array([1.0]), np.full((4, 1), 1.0), inside)).all()


def test_shadows_that_cannot_tell_are_refused():
    shadows, inside = np.zeros((4, 2)), np.array([[True, True]] * 4)
    with pytest.raises(ValueError, match="example 0 has no shadow on one side"):
        lira.offline(np.zeros(2), shadows, inside)
    with pytest.raises(ValueError, match="two shadows on one side"):
        lira.online(np.zeros(1), np.zeros((2, 1)), np.array([[True], [False]]))
    with pytest.raises(ValueError, match="must be"):
        lira.offline(np.zeros(3), shadows, inside)
