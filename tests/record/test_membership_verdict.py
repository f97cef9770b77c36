import pytest

from safelight.record.membership import (
    ERROR,
    TESTS,
    Compared,
    Rate,
    judge,
    leaking,
    planted_control,
)
from safelight.record.record import Measurement

SURE, CHANCE = ERROR / TESTS, 0.4


def compared(value, low, p, chance=0.5):
    measurement = Measurement(
        value=value,
        low=low,
        high=1.0,
        level=0.95,
        n=1000,
        seeds=1,
        chance=chance,
        worse="higher",
        unit="share",
    )
    return Compared(measurement=measurement, reach=0.02, p=p)


def rate(fpr, value=0.01, low=0.0, p=CHANCE, false_alarms=100):
    return Rate(
        fpr=fpr,
        false_alarms=false_alarms,
        threshold=1.0,
        compared=compared(value, low, p, fpr),
        curve_low=0.0,
        curve_high=1.0,
        precision=0.5,
    )


CONTROL = planted_control(100, 0.96)


def verdict(auc=CHANCE, rates=(), controls=(CONTROL,), reversed_p=0.6):
    kept = {0.001: rate(0.001), 0.01: rate(0.01), 0.1: rate(0.1)} | {one.fpr: one for one in rates}
    return judge(compared(0.6, 0.55, auc), list(kept.values()), controls, reversed_p)


def test_chance_is_no_evidence_where_the_planted_leak_is_found():
    found = verdict()
    assert (found.outcome, found.severity, found.confidence) == ("NO EVIDENCE", "none", "high")
    assert "safe" not in found.reason
    assert "AUC 0.600, at most 1.000; chance 0.5" in found.reason


def test_few_false_alarms_lower_the_confidence():
    assert verdict(rates=[rate(0.001, false_alarms=9)]).confidence == "medium"
    assert verdict(rates=[rate(0.01, 0.2, 0.15, SURE, 9)]).confidence == "medium"


@pytest.mark.parametrize("where", ["auc", 0.001, 0.01, 0.1])
def test_any_test_alone_makes_a_leak_and_just_above_its_level_none(where):
    for p, outcome in ((SURE, "LEAK"), (SURE + 1e-4, "NO EVIDENCE")):
        found = verdict(auc=p) if where == "auc" else verdict(rates=[rate(where, 0.3, 0.2, p)])
        assert found.outcome == outcome


@pytest.mark.parametrize(
    ("low", "severity"), [(0.05, "low"), (0.1, "low"), (0.11, "medium"), (0.51, "high")]
)
def test_severity_follows_what_is_caught_at_few_false_alarms(low, severity):
    assert verdict(rates=[rate(0.01, 0.9, low, SURE)]).severity == severity
    assert verdict(rates=[rate(0.1, 0.9, low, SURE)]).severity == "low"  # many others pay as well


def test_a_leak_is_told_where_it_stands_furthest_above_chance():
    reason = verdict(rates=[rate(0.001, 0.012, 0.0, SURE), rate(0.1, 0.9, 0.8, SURE)]).reason
    assert reason.startswith("1.2% of the members are caught at a false alarm rate of 0.1%")
    assert "shuffled labels reach 2%" in reason
    assert "in 60% of pairs" in verdict(auc=SURE).reason


def test_a_leak_outweighs_a_failed_control():
    failed = [planted_control(40, 0.3)]
    assert verdict(controls=failed).outcome == "INCONCLUSIVE"
    found = verdict(auc=SURE, controls=failed)
    assert (found.outcome, found.confidence) == ("LEAK", "medium")


def test_silence_without_a_found_planted_leak_is_inconclusive():
    assert "found in 40 of 100" in verdict(controls=[planted_control(40, 0.3)]).reason
    assert not planted_control(85, 0.8).passed
    assert "no leak was planted" in verdict(controls=[]).reason


def test_non_members_that_score_higher_are_never_a_clean_result():
    found = verdict(reversed_p=SURE)
    assert (found.outcome, found.confidence) == ("INCONCLUSIVE", "low")
    assert "swapped" in found.reason


def test_leaking_is_the_level_of_one_test():
    assert leaking(compared(0.6, 0.5, SURE))
    assert not leaking(compared(0.6, 0.5, 0.003))
