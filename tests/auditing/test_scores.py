import hashlib

import numpy as np
import pytest

from safelight.auditing.score_files import ScoreSet
from safelight.auditing.scores import assess
from safelight.record.membership import ERROR, RATES, TESTS, ScoreFile, ScoresRecord
from safelight.record.membership_finding import correct


def as_set(scores, name="members.npz"):
    sha256 = hashlib.sha256(scores.tobytes()).hexdigest()
    return ScoreSet(
        scores, (), ScoreFile(file=name, column="loss", count=scores.size, sha256=sha256)
    )


def record(members, nonmembers, **options):
    return assess(as_set(members), as_set(nonmembers), "loss", 0.01, **options)


def test_a_world_without_a_leak_is_hardly_ever_called_one():
    rng = np.random.default_rng(0)
    outcomes = [
        record(rng.normal(size=250), rng.normal(size=250), seed=seed).verdict.outcome
        for seed in range(80)
    ]
    assert outcomes.count("LEAK") <= 3  # at most 1 % are expected; P[Bin(80, 0.01) > 3] = 1 %
    assert outcomes.count("NO EVIDENCE") >= 74
    assert outcomes.count("INCONCLUSIVE") <= 3  # upside down, as rarely


@pytest.mark.parametrize("kind", ["few stand out", "all a little"])
def test_a_planted_leak_is_found_with_the_power_that_is_claimed(kind):
    rng = np.random.default_rng(1)
    found = 0
    for seed in range(16):
        members, nonmembers = rng.normal(size=400), rng.normal(size=400)
        if kind == "few stand out":
            members[:24] += 6  # 6 %: the AUC rises to 0.53 only
        else:
            members += 0.4  # AUC 0.61: six deviations of its estimate
        found += record(members, nonmembers, seed=seed).verdict.outcome == "LEAK"
    assert found >= 15


def test_the_record_says_what_was_measured():
    rng = np.random.default_rng(2)
    members, nonmembers = rng.normal(0.5, 1, 1000), rng.normal(size=500)
    one = record(members, nonmembers)
    assert one.auc.measurement.value == pytest.approx(0.638, abs=0.03)
    assert one.auc.measurement.n == 500
    assert [rate.fpr for rate in one.rates] == list(RATES)
    assert [rate.false_alarms for rate in one.rates] == [0, 5, 50]
    assert all(rate.compared.measurement.n == 1000 for rate in one.rates)
    for rate in one.rates:
        caught, alarms = (members >= rate.threshold).mean(), (nonmembers >= rate.threshold).sum()
        assert rate.compared.measurement.value == caught
        assert alarms <= rate.false_alarms
        assert rate.precision == pytest.approx(
            0.01 * caught / (0.01 * caught + 0.99 * rate.fpr), abs=1e-12
        )
    assert one.advantage.low < 2 * 0.5987 - 1 < one.advantage.high  # Phi(0.25) = 0.5987
    assert ScoresRecord.model_validate_json(one.model_dump_json()) == one


def test_the_kept_corners_lie_on_the_curve_and_hold_its_ends():
    rng = np.random.default_rng(3)
    members, nonmembers = rng.normal(1, 1, 3000), rng.normal(size=3000)
    corners = np.array(record(members, nonmembers).roc)
    assert len(corners) <= 402
    assert tuple(corners[0]) == (0, 0)
    assert tuple(corners[-1]) == (1, 1)
    assert (np.diff(corners, axis=0) >= 0).all()
    every = np.sort(nonmembers)[::-1]
    for fpr, tpr in corners[1:-1]:
        alarms = round(fpr * 3000)
        high = every[alarms - 1] if alarms else np.inf
        low = every[alarms] if alarms < 3000 else -np.inf
        assert (members >= high).mean() <= tpr <= (members > low).mean()


def test_no_score_high_enough_is_no_threshold():
    one = record(np.zeros(400) - np.arange(400), np.arange(400.0))
    assert one.rates[0].threshold is None
    assert one.rates[0].compared.measurement.value == 0
    assert one.verdict.outcome == "INCONCLUSIVE"
    assert "members stand out by low scores" in one.verdict.reason


def test_upside_down_is_seen_among_many_tests():
    rng = np.random.default_rng(6)
    members, nonmembers = rng.normal(size=500), rng.normal(20, 1, size=500)
    one = correct(record(members, nonmembers, tests=9), 9)
    assert one.reversed_p <= ERROR / TESTS
    assert one.verdict.outcome == "INCONCLUSIVE"
    assert "members stand out by low scores" in one.verdict.reason


def test_the_planted_leak_is_held_to_the_bar_of_the_verdict():
    """Eleven members above all others: chance does so once in 2^11, less than a bar of 0.0025."""
    rng = np.random.default_rng(7)
    members, nonmembers = rng.normal(size=220), rng.normal(size=220)
    assert record(members, nonmembers).verdict.outcome == "NO EVIDENCE"
    one = correct(record(members, nonmembers, tests=20), 20)
    assert one.verdict.outcome == "INCONCLUSIVE"
    assert "too few scores" in one.verdict.reason
    members[:11] = 30 + np.arange(11)
    leaks = [correct(record(members, nonmembers, tests=n), n).verdict.outcome for n in (1, 20)]
    assert leaks == ["LEAK", "INCONCLUSIVE"]


def test_reach_and_the_corrected_p_say_the_same():
    rng = np.random.default_rng(8)
    for shift in (0.0, 0.2, 0.3, 0.4):
        one = correct(record(rng.normal(shift, 1, 200), rng.normal(size=200), tests=5), 5)
        assert one.shuffles == 10_000
        for each in (one.auc, *(rate.compared for rate in one.rates)):
            assert (each.measurement.value > each.reach) == (each.p <= ERROR / TESTS)


def test_too_few_scores_cannot_clear():
    rng = np.random.default_rng(4)
    found = record(rng.normal(size=40), rng.normal(size=40)).verdict
    assert found.outcome == "INCONCLUSIVE"
    assert "too few scores" in found.reason


def test_equal_scores_of_everybody_say_nothing():
    found = record(np.ones(500), np.ones(500))
    assert found.auc.measurement.value == 0.5
    assert found.verdict.outcome == "NO EVIDENCE"
    assert all(rate.compared.measurement.value == 0 for rate in found.rates)


def test_order_changes_no_number_and_the_seed_repeats():
    rng = np.random.default_rng(5)
    members, nonmembers = rng.normal(0.3, 1, 300), rng.normal(size=300)
    one, two = record(members, nonmembers), record(members[::-1].copy(), nonmembers)
    assert one.rates == two.rates
    assert one.auc == two.auc
    assert record(members, nonmembers).rates == one.rates
    other = record(members, nonmembers, seed=9)
    assert other.auc.measurement == one.auc.measurement
    assert other.auc.reach != one.auc.reach
