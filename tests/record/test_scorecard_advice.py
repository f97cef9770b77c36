import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import RecordError
from safelight.record.record import Measurement
from safelight.record.scorecard import Row, load_scorecard, on_front, recommend


def measured(value, spread=0.0):
    return Measurement(
        value=value,
        low=value - spread,
        high=value + spread,
        level=0.95,
        n=100,
        seeds=1,
        chance=0.0,
        worse="higher",
        unit="share",
    )


def row(defense="", gain=0.5, right=0.9, loss=None, removed=None, outcome="LEAK", spread=0.005):
    return Row(
        defense=defense,
        where="conv1",
        run=defense or "none",
        finding="f",
        attack="inversion/decoder",
        outcome=outcome,
        reason="because",
        gain=measured(gain),
        named=measured(0.5),
        unaware=None,
        removed=None if removed is None else measured(removed, spread),
        accuracy=measured(right),
        loss=None if loss is None else measured(loss, spread),
        sent_bytes=100.0,
        raw_bytes=400,
        milliseconds=1.0,
        bound="",
    )


PLAIN = row()


def test_what_removes_most_at_little_cost_is_recommended():
    rows = [
        PLAIN,
        row("weak", 0.4, 0.9, loss=0.0, removed=0.2),
        row("good", 0.1, 0.89, loss=0.01, removed=0.8),
        row("dear", 0.0, 0.7, loss=0.2, removed=1.0, outcome="NO EVIDENCE"),
    ]
    advice = recommend(rows)
    assert (advice.helps, advice.row) == ("yes", 2)
    assert "80%" in advice.reason
    assert "1.0 points" in advice.reason


@pytest.mark.parametrize(
    "other",
    [
        row("dear", 0.0, 0.7, loss=0.2, removed=1.0),
        row("unsure of its cost", 0.1, 0.9, loss=0.015, removed=0.8, spread=0.01),
        row("idle", 0.3, 0.9, loss=0.0, removed=0.4),
        row("unsure of its gain", 0.2, 0.9, loss=0.0, removed=0.504),
        row("open", 0.1, 0.9, loss=0.0, removed=0.8, outcome="INCONCLUSIVE"),
        row("unmeasured", 0.1, 0.9, loss=0.0),
    ],
    ids=lambda one: one.defense,
)
def test_nothing_is_recommended_on_hope(other):
    assert recommend([PLAIN, other]).helps == "no"


def test_an_audit_without_a_result_recommends_nothing():
    open_ = row(outcome="INCONCLUSIVE")
    advice = recommend([open_, row("good", 0.1, 0.9, loss=0.0, removed=0.8)])
    assert (advice.helps, advice.row) == ("no", None)
    assert "because" in advice.reason


def test_no_more_than_all_is_said_to_be_removed():
    advice = recommend([PLAIN, row("good", -0.1, 0.9, loss=0.0, removed=1.2)])
    assert "removes 100%" in advice.reason


def test_no_defense_is_needed_where_nothing_leaks():
    clear = row(outcome="NO EVIDENCE", gain=0.0)
    advice = recommend([clear, row("good", 0.0, 0.9, loss=0.0, removed=0.9)])
    assert (advice.helps, advice.row) == ("unneeded", None)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_the_front_is_who_nobody_beats(pairs):
    rows = [row(str(i), gain / 10, right / 10) for i, (gain, right) in enumerate(pairs)]
    for (gain, right), front in zip(pairs, on_front(rows), strict=True):
        better = [(g, r) for g, r in pairs if g <= gain and r >= right and (g, r) != (gain, right)]
        assert front == (not better)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"kind": "scorecard", "schema_version": 9}'])
def test_what_is_no_scorecard_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "scorecard.json").write_text(content)
    with pytest.raises(RecordError, match=r"scorecard\.json"):
        load_scorecard(tmp_path)
