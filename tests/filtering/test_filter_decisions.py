"""Decisions are on the disk, whole, private, and said once."""

import sqlite3
import stat
import threading

import pytest

from safelight.errors import RecordError
from safelight.filtering.decisions import Decisions, Distance, Entry, Event


def entry(name, decision="allow", client="generator", request="r", at=0.0):
    shown = b"png" if decision == "review" else None
    told = (Distance("ssim", 0.3, 0.1, 0.2),)
    return Entry(
        name, request, at, client, f"hash-{name}", decision, "ssim", 3, 1.5, told, shown, shown
    )


@pytest.fixture
def kept(tmp_path):
    made = Decisions(tmp_path / "decisions.sqlite")
    yield made
    made.close()


def test_what_was_added_is_there_after_a_restart(tmp_path):
    first = Decisions(tmp_path / "d.sqlite")
    event = Event(1.0, "x", "held", "m", "why")
    first.add([entry("a"), entry("b", "review"), entry("c", "block")], [event])
    first.close()
    again = Decisions(tmp_path / "d.sqlite")
    assert again.entry("b") == (entry("b", "review"), None)
    assert again.counts() == {"allow": 1, "review": 1, "block": 1, "waiting": 1}
    assert [one.id for one in again.recent(2)] == ["b", "c"]
    assert again.events() == [event]
    again.close()


def test_a_request_is_recorded_whole_or_not_at_all(kept):
    kept.add([entry("a")])
    with pytest.raises(RecordError, match="cannot record"):
        kept.add([entry("b"), entry("a")], [Event(1.0, "x", "held", "m", "why")])
    assert [one.id for one in kept.recent(9)] == ["a"]
    assert kept.events() == []


def test_a_full_disk_records_nothing_and_says_so(kept):
    kept.add([entry("a")])
    (pages,) = kept._writer.execute("PRAGMA page_count").fetchone()
    kept._writer.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(RecordError, match="free some space"):
        kept.add([entry(str(at)) for at in range(1000)])
    assert [one.id for one in kept.recent(9)] == ["a"]
    kept._writer.execute("PRAGMA max_page_count = 1000000")
    kept.add([entry("b")])
    assert [one.id for one in kept.recent(9)] == ["a", "b"]


def test_every_commit_reaches_the_disk_before_it_returns(kept):
    assert kept._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert kept._writer.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_only_the_owner_can_read(kept, tmp_path):
    kept.add([entry("a")])
    files = list(tmp_path.iterdir())
    assert len(files) == 3  # the file, its log, its shared memory
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}


def test_the_first_word_of_a_person_stands(kept):
    kept.add([entry("a", "review", at=5.0), entry("b", "review"), entry("c")])
    assert [one.id for one in kept.waiting(9)] == ["a", "b"]
    kept.judge("a", "reject", "ann")
    with pytest.raises(RecordError, match="decided already, by ann"):
        kept.judge("a", "approve", "bob")
    with pytest.raises(RecordError, match="no such output"):
        kept.judge("c", "approve", "bob")
    ((one, said),) = kept.reviewed(9)
    assert (one.id, said.verdict, said.who) == ("a", "reject", "ann")
    assert [one.id for one in kept.waiting(9)] == ["b"]
    assert kept.counts()["waiting"] == 1
    assert kept.verdicts() == {"hash-a": "reject"}


def test_two_reviewers_at_once_get_one_verdict(kept):
    kept.add([entry(str(at), "review") for at in range(20)])
    refused = []

    def click(who):
        for at in range(20):
            try:
                kept.judge(str(at), "approve", who)
            except RecordError:
                refused.append(who)

    threads = [threading.Thread(target=click, args=(who,)) for who in ("ann", "bob")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(refused) == 20
    assert len(kept.reviewed(99)) == 20


@pytest.mark.parametrize("damage", ["text", "foreign", "cut", "zeroed"])
def test_a_damaged_or_foreign_file_is_refused_on_one_line(tmp_path, damage):
    file = tmp_path / "decisions.sqlite"
    made = Decisions(file)
    made.add([entry(str(at)) for at in range(500)])
    made.close()
    if damage == "text":
        file.write_text("my notes" * 1000)
    elif damage == "foreign":
        file.unlink()
        with sqlite3.connect(file) as base:
            base.execute("CREATE TABLE mine (a)")
        base.close()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-20000])
    else:
        content = bytearray(file.read_bytes())
        content[8192:20480] = bytes(12288)
        file.write_bytes(content)
    with pytest.raises(RecordError, match="restore it from a backup") as caught:
        Decisions(file)
    assert "\n" not in str(caught.value)
