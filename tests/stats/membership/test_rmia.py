import numpy as np
import pytest
from gaussian_world import caught, world

from safelight.metrics.membership import auc, tpr_at_fpr
from safelight.stats.membership import rmia

SHIFT, NOISE = 0.6, 0.3


def probabilities(log_probabilities):
    return np.minimum(np.exp(log_probabilities), 1)


def setting(n, shadows, seed, shift=SHIFT):
    """Half of the examples are members; of a population nobody is. All p lie far below 1."""
    one = world(2 * n, shadows, seed, shift, NOISE, level=-9.0)
    side = np.append(np.arange(n // 2), np.arange(n, n + n // 2))  # members, then non-members
    others = np.arange(n + n // 2, 2 * n)
    p, models = probabilities(one.target), probabilities(one.shadows)
    member = one.member[side]
    return (
        member,
        [p[side], models[:, side], one.inside[:, side]],
        [
            p[others],
            models[:, others],
            one.inside[:, others],
        ],
    )


def brute_force(own, others, mean, gamma):
    target, shadows, inside = own
    z, z_shadows, z_inside = others
    scores = []
    for i in range(len(target)):
        ratio = target[i] / mean(shadows[:, i], inside[:, i])
        wins = [
            ratio / (z[j] / mean(z_shadows[:, j], z_inside[:, j])) >= gamma for j in range(len(z))
        ]
        scores.append(np.mean(wins))
    return np.array(scores)


def test_both_scores_are_the_papers_by_brute_force():
    rng = np.random.default_rng(0)

    def draw(count):
        inside = rng.permuted(np.arange(6)[:, None] % 2 == np.zeros(count), axis=0)
        return [rng.random(count), rng.random((6, count)), inside]

    own, others = draw(20), draw(31)
    found = rmia.online(*own, *others, gamma=1.3)
    assert np.array_equal(
        found, brute_force(own, others, lambda p, i: (p[i].mean() + p[~i].mean()) / 2, 1.3)
    )
    found = rmia.offline(*own, *others, gamma=1.3, a=0.4)
    assert np.array_equal(
        found, brute_force(own, others, lambda p, i: (1.4 * p[~i].mean() + 0.6) / 2, 1.3)
    )
    assert len(set(found)) > 5


def test_an_example_that_dominates_by_just_gamma_counts():
    shadows, inside = np.full((2, 3), 0.25), np.array([[True] * 3, [False] * 3])
    target = np.array([0.25, 0.5, 0.125])  # ratios 1, 2 and 1/2, exactly
    found = rmia.online(target, shadows, inside, target, shadows, inside, gamma=2.0)
    assert found.tolist() == [1 / 3, 2 / 3, 0]


@pytest.mark.parametrize("fpr", [0.01, 0.1])
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_reaches_the_optimum_where_the_ratio_is_all_there_is(mode, fpr):
    member, own, others = setting(20_000, 128, seed=1)
    options = {"a": 1.0} if mode == "offline" else {}  # a = 1: p(x) is the mean of p_out
    scores = getattr(rmia, mode)(*own, *others, **options)
    found = tpr_at_fpr(scores[member], scores[~member], fpr, level=0.999)
    best = caught(SHIFT / NOISE, fpr)
    near = caught(SHIFT / NOISE / np.sqrt(1 + 2 / 64), fpr)  # what 64 shadows a side leave of it
    assert found.curve.low <= best
    assert found.curve.high >= near
    assert found.tpr.value > 0.9 * best
    plain = own[0]
    assert tpr_at_fpr(plain[member], plain[~member], fpr).tpr.high < found.tpr.low / 2


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_at_chance_where_nothing_leaks(mode):
    member, own, others = setting(4000, 8, seed=2, shift=0)
    scores = getattr(rmia, mode)(*own, *others)
    area = auc(scores[member], scores[~member], level=0.999)
    assert area.low < 0.5 < area.high


def test_the_population_cancels_what_lifts_every_example_of_the_target():
    """A target twice as confident of everything looks like a leak only to those without it."""
    _, own, others = setting(2000, 16, seed=3)
    scores = rmia.online(*own, *others)
    own[0], others[0] = 2 * own[0], 2 * others[0]
    assert np.allclose(rmia.online(*own, *others), scores)


def test_each_example_is_scored_by_itself_in_any_order():
    _, own, others = setting(400, 8, seed=4)
    order = np.random.default_rng(0).permutation(len(own[0]))
    turned = [own[0][order], own[1][:, order], own[2][:, order]]
    z = np.random.default_rng(1).permutation(len(others[0]))
    mixed = [others[0][z], others[1][:, z], others[2][:, z]]
    for attack in (rmia.online, rmia.offline):
        assert np.array_equal(attack(*turned, *mixed), attack(*own, *others)[order])


def test_a_larger_gamma_only_takes_away():
    _, own, others = setting(400, 8, seed=5)
    low, high = (rmia.online(*own, *others, gamma=gamma) for gamma in (1.0, 4.0))
    assert (high <= low).all()
    assert (high < low).any()


def test_probabilities_of_zero_give_finite_scores():
    zero = [np.zeros(2), np.zeros((2, 2)), np.array([[True, False], [False, True]])]
    for attack in (rmia.online, rmia.offline):
        assert np.isfinite(attack(*zero, *zero)).all()


def test_shadows_that_cannot_tell_are_refused():
    good = [np.ones(2), np.ones((2, 2)), np.array([[True, False], [False, True]])]
    inside = np.array([[True, True], [True, False]])
    with pytest.raises(ValueError, match="example 0 has no shadow on one side"):
        rmia.offline(good[0], good[1], inside, *good)
    with pytest.raises(ValueError, match=r"must both be \[shadows, n\]"):
        rmia.online(good[0], good[1][:1], good[2], *good)
    with pytest.raises(ValueError, match="the target has"):
        rmia.online(np.ones(3), *good[1:], *good)
