"""Which epsilon is recommended, and that the sentence tells why."""

import pytest

from safelight.errors import RecordError
from safelight.record.privacy_sweep import Leakage, Point, load_sweep, recommend
from safelight.record.record import Measurement, Verdict


def share(value, margin, chance):
    return Measurement(
        value=value,
        low=value - margin,
        high=value + margin,
        level=0.95,
        n=1000,
        seeds=1,
        chance=chance,
        worse="higher",
        unit="share",
    )


def point(epsilon, right, outcome, caught=0.01):
    verdict = Verdict(outcome=outcome, severity="none", confidence="low", reason="so it is")
    tpr = Leakage(attack="lira", measurement=share(caught, 0.005, 0.01), leak=outcome == "LEAK")
    return Point(
        epsilon=epsilon,
        run="here",
        verdict=verdict,
        utility=share(right, 0.03, 0.1),
        train_accuracy=share(right, 0.03, 0.1),
        tpr=tpr,
        auc=tpr,
        attacks=2,
        promise=None,
    )


LEAKY = point(None, 0.8, "LEAK", 0.3)


def test_the_strongest_promise_that_loses_no_measurable_accuracy():
    """0.66 and 0.70 are equal within their intervals, 0.4 is not; 8 leaks."""
    swept = [
        point(0.5, 0.4, "NO EVIDENCE"),
        point(1, 0.66, "NO EVIDENCE"),
        point(3, 0.7, "NO EVIDENCE"),
        point(8, 0.78, "LEAK"),
        LEAKY,
    ]
    advice = recommend(swept)
    assert (advice.helps, advice.epsilon) == ("yes", 1)
    assert "66.0%" in advice.reason
    assert "70.0%" in advice.reason
    assert "without privacy 30.0% of the members" in advice.reason
    assert recommend(swept[::-1]) == advice


def test_a_leak_is_never_recommended_nor_what_is_open():
    for outcome, helps in (("LEAK", "no"), ("INCONCLUSIVE", "unknown")):
        advice = recommend([point(1, 0.7, outcome), point(8, 0.7, outcome), LEAKY])
        assert (advice.helps, advice.epsilon) == (helps, None)
        assert "1, 8" in advice.reason


def test_a_model_that_guesses_is_no_help():
    advice = recommend([point(1, 0.12, "NO EVIDENCE"), point(8, 0.5, "LEAK"), LEAKY])
    assert advice.helps == "no"
    assert "not surely better than guessing" in advice.reason
    assert "epsilon 8" in advice.reason


def test_nothing_is_recommended_where_nothing_leaks_without_privacy():
    advice = recommend([point(3, 0.7, "NO EVIDENCE"), point(None, 0.8, "NO EVIDENCE")])
    assert (advice.helps, advice.epsilon) == ("unneeded", None)


@pytest.mark.parametrize("beside", [[], [point(None, 0.8, "INCONCLUSIVE")]])
def test_that_it_helps_is_said_only_beside_a_leak(beside):
    advice = recommend([point(3, 0.7, "NO EVIDENCE"), *beside])
    assert (advice.helps, advice.epsilon) == ("unknown", 3)
    assert recommend([LEAKY]).epsilon is None


@pytest.mark.parametrize("content", [None, "{", "[]", '{"schema_version": 9}'])
def test_what_is_no_sweep_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "privacy.json").write_text(content)
    with pytest.raises(RecordError, match=r"privacy\.json"):
        load_sweep(tmp_path)
