import numpy as np
import pytest

from safelight.record.prediction_reproduction import Row, difference, widened
from safelight.record.verdict import LEVEL, measure

PAIRS, VICTIMS = 5, 200


def world(draw, effect=0.0, between=0.05):
    """Scores [pairs, victims]: a mean, victims, pairs of models, and what is left."""
    return (
        effect
        + 0.1 * draw.standard_normal((1, VICTIMS))
        + between * draw.standard_normal((PAIRS, 1))
        + 0.05 * draw.standard_normal((PAIRS, VICTIMS))
    )


def made(scores):
    pooled = measure("gain", scores.tolist(), LEVEL)
    by_pair = scores.mean(1).tolist()
    return Row(
        name="a row",
        defense="none",
        published=None,
        scores={"gain": widened(pooled, by_pair)},
        spread={},
        values={"gain": scores.mean(0).tolist()},
        by_pair={"gain": by_pair},
        template={},
        pairs=len(scores),
        seconds=0.0,
        outcomes=[],
        controls_passed=None,
    )


def test_intervals_hold_for_pairs_that_were_not_tried():
    """Over victims alone they miss the truth most of the time; over both they are rarely wrong."""
    draw = np.random.default_rng(0)
    narrow = wide = 0
    for _ in range(100):
        scores = world(draw)
        bare = measure("gain", scores.tolist(), LEVEL)
        both = widened(bare, scores.mean(1).tolist())
        narrow += bare.low <= 0 <= bare.high
        wide += both.low <= 0 <= both.high
    assert narrow < 60
    assert wide >= 90


def test_a_difference_is_paired_by_victim_and_by_pair():
    scores = world(np.random.default_rng(1))
    one, other = made(scores + 0.01), made(scores)
    gap = difference(one, other, "gain")
    assert gap.value == pytest.approx(0.01)
    assert gap.high - gap.low < 1e-9
    assert one.scores["gain"].high - one.scores["gain"].low > 0.02
    assert difference(one, made(scores[:3]), "gain") is None


def test_one_pair_has_an_interval_over_victims_and_a_share_stays_a_share():
    bare = measure("gain", world(np.random.default_rng(2))[:1].tolist(), LEVEL)
    assert widened(bare, [0.3]) == bare
    named = measure("named", [[0.0] * 19 + [1.0]] * 2, LEVEL)
    assert 0 <= widened(named, [0.0, 0.1]).low < widened(named, [0.0, 0.1]).high <= 1
