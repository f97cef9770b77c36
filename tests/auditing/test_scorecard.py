import numpy as np
import pytest

from safelight import catalog
from safelight.auditing import scorecard
from safelight.auditing.run import audit
from safelight.auditing.setting import prepare
from safelight.errors import PlanError, RecordError
from safelight.plan.plan import load_plan
from safelight.record.membership_audit import MembershipRecord
from safelight.record.record import Record
from safelight.record.store import Run

SMALL = [
    "data.victims.count=40",
    "data.public.count=600",
    "data.holdout.count=1000",
    'threats=[{name="split_inference", cut="conv1", knows="queries"}]',
    'attacks=[{name="inversion/decoder", steps=60, width=8, blocks=1}]',
]


def plan(*settings):
    return load_plan("demo", [*SMALL, *settings])


def test_each_candidate_is_a_leg_beside_none_and_is_attacked_knowing_it_and_not():
    found = scorecard.legs(plan('defenses=[{name="dropout", rate=[0.3, 0.6]}]'))
    assert [one.folder for one in found] == ["none", "dropout-rate-0.3", "dropout-rate-0.6"]
    assert found[0].plan.defense is None
    assert found[2].plan.defense.model_dump() == {"name": "dropout", "rate": 0.6}
    for leg, aware in zip(found, ([True], [True, False], [True, False]), strict=True):
        (own,) = leg.plan.threats
        built = catalog.expand("threat", own.name, own.options)
        assert [one.aware for one in built] == aware
        assert leg.plan.defenses == []


def test_a_bottleneck_is_watched_where_the_message_leaves_it():
    trained = 'defenses=[{name="noise_aware", cut="relu2", noise=0.5, channels=[0, 4]}]'
    cuts = 'threats=[{name="split_inference", cut=["conv1", "relu2"]}]'
    _, plain, narrow = scorecard.legs(plan(trained, cuts))
    assert plain.plan.threats[0].options["cut"] == ["conv1", "relu2"]
    assert narrow.plan.threats[0].options["cut"] == ["conv1", "relu2.narrow"]
    assert narrow.plan.threats[0].options["aware"] == [True, False]
    answers = plan(trained, 'threats=[{name="prediction_api"}]')
    assert "cut" not in scorecard.legs(answers)[2].plan.threats[0].options


def test_what_a_threat_says_of_the_attacker_stays():
    given = 'threats=[{name="split_inference", cut="conv1", knows="queries", aware=true}]'
    leg = scorecard.legs(plan(given, 'defenses=[{name="dropout"}]'))[1]
    assert leg.plan.threats[0].options["aware"] is True


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (['defenses=[{name="dropout"}]', "defense.name=dropout"], "keep one of them"),
        (['defenses=[{name="dropout"}, {name="dropout"}]'], "twice"),
        (['defenses=[{name="drop"}]'], "drop"),
        (['defenses=[{name="dp_gan"}]'], "trains a generator"),
        (['defenses=[{name="dropout", rate=2}]'], "rate"),
    ],
)
def test_a_list_that_cannot_be_compared_is_refused(settings, told):
    with pytest.raises(PlanError, match=told):
        scorecard.legs(plan(*settings))


def test_what_exposes_no_message_has_no_scorecard():
    with pytest.raises(PlanError, match="single"):
        scorecard.legs(load_plan("membership", ['defenses=[{name="dropout"}]']))


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A decoder against a first convolution: plain, and behind channels left out at random."""
    given = plan('defenses=[{name="dropout", rate=0.6, of="channels"}]')
    found = scorecard.legs(given)
    records = []
    for leg in found:
        run = Run(tmp_path_factory.mktemp("runs") / leg.folder)
        records.append(audit(prepare(leg.plan), run, lambda *_: None))
    return given, found, records


def test_the_scorecard_says_what_the_records_measured(audited):
    given, found, records = audited
    record = scorecard.gather(given, found, records)
    none, dropped = record.rows
    assert (none.defense, none.removed, none.unaware) == ("", None, None)
    assert dropped.defense == "dropout (rate 0.6, of channels)"
    gains = [
        np.mean([np.mean(cell.scores["gain"]) for cell in one.cells if cell.finding == row.finding])
        for one, row in zip(records, record.rows, strict=True)
    ]
    assert [none.gain.value, dropped.gain.value] == pytest.approx(gains)
    assert dropped.removed.value == pytest.approx(1 - gains[1] / gains[0])
    assert dropped.removed.low < dropped.removed.value < dropped.removed.high
    # The unaware attacker takes zeros for numbers, and is no bound on what is possible.
    assert dropped.unaware.value < dropped.gain.value
    right = [one.deployments[0].right for one in records]
    lost = np.mean([int(a) for a in right[0]]) - np.mean([int(a) for a in right[1]])
    assert dropped.loss.value == pytest.approx(lost)
    assert dropped.loss.low <= lost <= dropped.loss.high
    assert none.loss.value == 0
    assert dropped.sent_bytes < none.sent_bytes < 1.2 * none.raw_bytes
    assert record.advice.row in (None, 1)


def test_accuracy_behind_a_defense_is_that_of_what_was_sent(audited):
    _, _, (plain, dropped) = audited
    assert plain.deployments[0].accuracy.value == pytest.approx(plain.target.accuracy.value)
    assert dropped.deployments[0].accuracy.value < plain.deployments[0].accuracy.value
    assert dropped.target.accuracy == plain.target.accuracy


def test_a_leg_is_taken_up_only_where_it_is_the_same_plan(audited, tmp_path):
    _, found, records = audited
    run = Run(tmp_path / "run")
    run.create()
    with pytest.raises(RecordError, match="no record"):
        found[0].record(run, Record)
    run.save(records[0])
    assert found[0].record(run, Record) == records[0]
    with pytest.raises(RecordError, match="another plan"):
        found[1].record(run, Record)
    with pytest.raises(RecordError, match="another plan"):
        found[0].record(run, MembershipRecord)


def test_an_attack_that_failed_leaves_a_defense_open(audited):
    given, found, (plain, dropped) = audited
    cell = dropped.cells[0].model_copy(update={"status": "error", "reason": "out of memory"})
    broken = dropped.model_copy(update={"cells": [*dropped.cells[1:], cell]})
    record = scorecard.gather(given, found, [plain, broken])
    assert record.rows[1].outcome == "INCONCLUSIVE"
    assert "out of memory" in record.rows[1].reason
    assert record.advice.row is None


def test_without_a_finished_attack_there_is_nothing_to_compare(audited):
    given, found, records = audited
    broken = [one.model_copy(update={"findings": [], "cells": []}) for one in records]
    with pytest.raises(RecordError, match="no attack fits any threat"):
        scorecard.gather(given, found, broken)
