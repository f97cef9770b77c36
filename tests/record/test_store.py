import errno
import hashlib
import json
import os
import stat
import subprocess
import sys

import pytest

from safelight.errors import RecordError
from safelight.record.record import SCHEMA_VERSION
from safelight.record.store import Run, load_record


@pytest.fixture
def run(tmp_path):
    made = Run(tmp_path / "runs" / "one")
    made.create()
    return made


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def fails(match, call, *given):
    with pytest.raises(RecordError, match=match) as told:
        call(*given)
    assert "\n" not in str(told.value)


def test_a_record_survives_being_saved_and_loaded(run, make):
    record = make.record([make.finding()], [make.cell(0.3, 0.1)])
    run.save(record)
    assert run.load() == record
    assert load_record(run.folder) == record
    assert load_record(str(run.record_file)) == record
    assert run.load().measurements_sha256() == record.measurements_sha256()


def test_the_folder_and_its_files_are_private(run, make):
    old = os.umask(0)
    try:
        run.save(make.record())
        name = run.keep(b"picture", ".png")
    finally:
        os.umask(old)
    assert mode(run.folder) == mode(run.folder / "artifacts") == 0o700
    assert mode(run.record_file) == mode(run.folder / "artifacts" / name) == 0o600


def test_a_folder_that_stood_open_is_closed(tmp_path):
    (tmp_path / "run").mkdir(mode=0o755)
    Run(tmp_path / "run").create()
    assert mode(tmp_path / "run") == 0o700


def test_a_folder_that_holds_a_run_is_not_made_again(run, make):
    run.save(make.record())
    fails("holds a run already; give another --out, or .*--resume", run.create)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    fails("cannot use .*; give another --out", Run(tmp_path / "file" / "run").create)
    fails("cannot use .*; give another --out", Run(tmp_path / "file").create)


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("saved_before", [True, False])
def test_on_a_full_disk_the_old_record_stays_whole_and_nothing_is_left(
    run, make, monkeypatch, step, saved_before
):
    def full(*_given, **_more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if saved_before:
        run.save(make.record())
    before = everything_in(run.folder)
    with monkeypatch.context() as patched:
        patched.setattr(os, step, full)
        patched.setattr("pathlib.Path.replace", full)
        fails(
            "No space left on device; free some space.*--resume", run.save, make.record(seconds=9)
        )
        fails("No space left on device", run.keep, b"picture", ".png")
    assert everything_in(run.folder) == before
    if saved_before:
        assert run.load().seconds == 1.0
    run.save(make.record(seconds=9))
    assert run.load().seconds == 9


def test_a_disk_that_fills_up_while_writing_leaves_nothing(run, make):
    """The real thing, with a limit on the size of a file, in a process of its own."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from safelight.record.store import Run; from safelight.errors import RecordError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n    Run(Path(sys.argv[1])).write('record.json', b'x' * 200_000)\n"
        "except RecordError as told:\n    print(told)\n"
    )
    run.save(make.record())
    before = everything_in(run.folder)
    command = [sys.executable, "-c", code, str(run.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "File too large; free some space" in done.stdout
    assert everything_in(run.folder) == before
    assert run.load() == make.record()


def test_an_interruption_while_writing_leaves_nothing(run, make, monkeypatch):
    def interrupt(*_given):
        raise KeyboardInterrupt

    run.save(make.record())
    before = everything_in(run.folder)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run.save(make.record(seconds=9))
    assert everything_in(run.folder) == before
    assert run.load().seconds == 1.0


def test_writing_into_a_folder_that_is_gone_is_an_error(tmp_path, make):
    fails("cannot write .*No such file or directory", Run(tmp_path / "gone").save, make.record())


def test_an_artifact_is_named_by_its_content_and_kept_once(run):
    name = run.keep(b"picture", ".png")
    assert name == hashlib.sha256(b"picture").hexdigest() + ".png"
    assert run.keep(b"picture", ".png") == name
    assert everything_in(run.folder) == [f"artifacts/{name}"]
    assert run.artifact(name) == b"picture"


@pytest.mark.parametrize("content", [b"", b"pictur", b"another", b"picture "])
def test_a_damaged_artifact_is_noticed(run, content):
    name = run.keep(b"picture", ".png")
    (run.folder / "artifacts" / name).write_bytes(content)
    fails("missing or damaged; run the audit again", run.artifact, name)


def test_a_missing_artifact_is_noticed(run):
    name = run.keep(b"picture", ".png")
    (run.folder / "artifacts" / name).unlink()
    fails("missing or damaged; run the audit again", run.artifact, name)


def test_a_damaged_artifact_is_mended_when_the_same_content_is_kept_again(run):
    name = run.keep(b"picture", ".png")
    (run.folder / "artifacts" / name).write_bytes(b"")
    run.keep(b"picture", ".png")
    assert run.artifact(name) == b"picture"


@pytest.mark.parametrize("name", ["", "../record.json", "../../secret.png", "/etc/hostname"])
def test_a_name_that_is_no_hash_reads_nothing(run, make, name):
    run.save(make.record())
    (run.folder.parent / "secret.png").write_bytes(b"not yours")
    fails("missing or damaged", run.artifact, name)


def test_a_record_that_is_missing_is_an_error(tmp_path):
    fails("no record at .*No such file.*; give a run's folder", load_record, tmp_path / "nowhere")
    fails("no record at", load_record, tmp_path)


@pytest.mark.parametrize("length", [0, 1, 40, -1, -200])
def test_a_record_that_is_cut_short_is_an_error(run, make, length):
    run.save(make.record())
    run.record_file.write_bytes(run.record_file.read_bytes().rstrip()[:length])
    fails("is cut short or not a record; give another --out", run.load)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"hello", b"\x89PNG\r\n", b"{'a': 1}"])
def test_a_file_that_is_no_record_is_an_error(run, content):
    run.record_file.write_bytes(content)
    fails("cut short or not a record", run.load)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"', "{}", '{"schema_version": 99}'])
def test_a_record_of_another_version_is_an_error_that_names_both(run, content):
    run.record_file.write_text(content)
    fails(f"has schema version .*reads {SCHEMA_VERSION}; use the safelight that wrote it", run.load)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"seconds": "long"}, "seconds"),
        ({"status": "fine"}, "status"),
        ({"surprise": 1}, "surprise"),
        ({"cells": [{"id": "x"}]}, "cells.0"),
        ({"target": None}, "target"),
    ],
)
def test_a_damaged_record_is_an_error_that_says_where(run, make, change, where):
    run.save(make.record())
    content = json.loads(run.record_file.read_text()) | change
    run.record_file.write_text(json.dumps(content))
    fails(f"is damaged at {where}.*; run the audit again", run.load)


def test_a_record_that_is_written_can_be_read_again(run, make):
    """A score that is not a number has no place in JSON; it must not cost the whole record."""
    cell = make.cell()
    broken = cell.model_copy(update={"scores": {"gain": [float("nan")] * 100}})
    try:
        run.save(make.record(cells=[broken]))
    except RecordError:
        assert everything_in(run.folder) == []
    else:
        assert run.load().cells[0].id == cell.id


def test_the_hash_of_the_measurements_ignores_the_clock_and_notices_a_score(make):
    record = make.record([make.finding()], [make.cell(0.3, 0.1)])
    later = record.model_copy(update={"seconds": 99.0, "name": "other"})
    changed = make.record([make.finding()], [make.cell(0.4, 0.1)])
    judged = make.record([make.finding(verdict=make.verdict())], [make.cell(0.3, 0.1)])
    assert later.measurements_sha256() == record.measurements_sha256()
    assert changed.measurements_sha256() != record.measurements_sha256()
    assert judged.measurements_sha256() != record.measurements_sha256()


LIGHT = [
    "safelight",
    "safelight.errors",
    "safelight.catalog",
    "safelight.plan.plan",
    "safelight.stats.intervals",
    "safelight.stats.seeds",
    "safelight.record.record",
    "safelight.record.verdict",
    "safelight.record.store",
    "safelight.record.compare",
]


def test_record_plan_and_stats_import_no_torch():
    heavy = "{'torch', 'datasets', 'matplotlib'} & set(sys.modules)"
    code = f"import sys, {', '.join(LIGHT)}; found = {heavy}; assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
