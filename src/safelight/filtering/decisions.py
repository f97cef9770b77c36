"""Every decision, kept: SQLite in write-ahead mode, on the disk before anybody is answered.

A request is recorded in one transaction or not at all. With ``synchronous=FULL`` a commit returns
only after the log has reached the disk, so that neither a kill nor a loss of power takes back what
was answered. Requests that wait together share one commit.
"""

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safelight.errors import RecordError
from safelight.filtering.policy import Decision

#: Marks the file as ours ("SLFD"), and its layout.
_APPLICATION, _VERSION = 0x534C4644, 1

#: Seconds that a reviewer's click waits for the service's own commit.
_PATIENCE = 10.0

_LAYOUT = """
CREATE TABLE decisions (
  seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, request TEXT NOT NULL, at REAL NOT NULL,
  client TEXT NOT NULL, content TEXT NOT NULL,
  decision TEXT NOT NULL CHECK (decision IN ('allow', 'review', 'block')), reason TEXT NOT NULL,
  row INTEGER NOT NULL, nearness REAL NOT NULL, told TEXT NOT NULL) STRICT;
CREATE INDEX by_client ON decisions (client, seq);
CREATE TABLE waiting (
  decision TEXT PRIMARY KEY REFERENCES decisions (id), output BLOB NOT NULL, nearest BLOB NOT NULL
  ) STRICT;
CREATE TABLE verdicts (
  decision TEXT PRIMARY KEY REFERENCES decisions (id),
  verdict TEXT NOT NULL CHECK (verdict IN ('approve', 'reject')),
  who TEXT NOT NULL, at REAL NOT NULL) STRICT;
CREATE TABLE events (
  seq INTEGER PRIMARY KEY, at REAL NOT NULL, client TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('flagged', 'held', 'lifted')), who TEXT NOT NULL,
  detail TEXT NOT NULL) STRICT;
"""

Verdict = Literal["approve", "reject"]
Kind = Literal["flagged", "held", "lifted"]


@dataclass(frozen=True)
class Distance:
    """One distance as it was, with the thresholds of that day."""

    name: str
    value: float
    block: float
    review: float


@dataclass(frozen=True)
class Entry:
    """One decision. ``reason``: what decided: a distance's name, "held client" or "reviewed".

    ``row``: the protected picture nearest to the output. ``output`` and ``nearest``: PNG files for
    the reviewer, where one is asked.
    """

    id: str
    request: str
    at: float
    client: str
    content: str
    decision: Decision
    reason: str
    row: int
    nearness: float
    distances: tuple[Distance, ...]
    output: bytes | None = None
    nearest: bytes | None = None


@dataclass(frozen=True)
class Reviewed:
    """What a person said."""

    verdict: Verdict
    who: str
    at: float


@dataclass(frozen=True)
class Event:
    """Something about a client: flagged by the monitor, held or lifted by it or by a person."""

    at: float
    client: str
    kind: Kind
    who: str
    detail: str


class Decisions:
    """The file of decisions. Any thread may use it; only one process serves it.

    Raises:
        RecordError: on construction, if the file is damaged, foreign or cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._writing = threading.Lock()
        try:
            # SQLite gives its log and its shared memory the mode of the file itself.
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
            with self._open() as base:
                self._prepare(base)
            # Kept open: the last one to close would fold the log into the file each time.
            self._writer = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise RecordError(
                f"cannot use {file}: {' '.join(str(error).split())}; restore it from a backup, or "
                "move it away to begin anew"
            ) from None

    def close(self) -> None:
        """Fold the log into the file and let go of it."""
        with self._writing:
            self._writer.close()

    def add(self, entries: Sequence[Entry], events: Sequence[Event] = ()) -> None:
        """Record decisions and events together: all are on the disk on return, or none.

        Raises:
            RecordError: the disk is full or fails. Nobody may be answered then.
        """
        try:
            with self._writing, self._writer as base:
                base.execute("BEGIN IMMEDIATE")
                base.executemany(
                    "INSERT INTO decisions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [_row(one) for one in entries],
                )
                base.executemany(
                    "INSERT INTO waiting VALUES (?, ?, ?)",
                    [(one.id, one.output, one.nearest) for one in entries if one.output],
                )
                base.executemany(
                    "INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?)",
                    [(one.at, one.client, one.kind, one.who, one.detail) for one in events],
                )
        except sqlite3.Error as error:
            raise RecordError(
                f"cannot record in {self.file}: {error}; free some space or check the disk"
            ) from None

    def entry(self, name: str) -> tuple[Entry, Reviewed | None] | None:
        """Return one decision by its id, and what a person said of it."""
        found = self._entries("WHERE d.id = ?", (name,))
        return found[0] if found else None

    def waiting(self, most: int, after: int = 0) -> list[Entry]:
        """Return the oldest decisions that wait for a person, ``after`` left out."""
        rest = "WHERE w.output NOT NULL AND v.verdict IS NULL ORDER BY d.seq LIMIT ? OFFSET ?"
        return [one for one, _ in self._entries(rest, (most, after))]

    def reviewed(self, most: int) -> list[tuple[Entry, Reviewed]]:
        """Return the decisions that persons took last, newest first."""
        found = self._entries("WHERE v.verdict NOT NULL ORDER BY v.at DESC LIMIT ?", (most,))
        return [(one, told) for one, told in found if told]

    def recent(self, most: int) -> list[Entry]:
        """Return the last decisions, oldest first, without pictures."""
        found = self._entries("ORDER BY d.seq DESC LIMIT ?", (most,), pictures=False)
        return [one for one, _ in reversed(found)]

    def counts(self) -> dict[str, int]:
        """Return how many decisions of each kind there are, and how many "waiting"."""
        with self._open() as base:
            found = dict(base.execute("SELECT decision, COUNT(*) FROM decisions GROUP BY 1"))
            (held,) = base.execute(
                "SELECT COUNT(*) FROM waiting WHERE decision NOT IN (SELECT decision FROM verdicts)"
            ).fetchone()
        return {"allow": 0, "review": 0, "block": 0, **found, "waiting": held}

    def verdicts(self) -> dict[str, Verdict]:
        """Return what persons said by the hash of the output; the last word counts."""
        with self._open() as base:
            return dict(
                base.execute(
                    "SELECT content, verdict FROM verdicts v JOIN decisions d ON d.id = v.decision "
                    "ORDER BY v.at"
                )
            )

    def judge(self, name: str, verdict: Verdict, who: str) -> Reviewed:
        """Record what a person says of a decision that waits; the first word stands.

        Raises:
            RecordError: nobody asked, or somebody was faster.
        """
        told = Reviewed(verdict, who, time.time())
        try:
            with self._open() as base, base:
                base.execute("BEGIN IMMEDIATE")
                asked = base.execute(
                    "SELECT v.who FROM waiting w LEFT JOIN verdicts v USING (decision) "
                    "WHERE w.decision = ?",
                    (name,),
                ).fetchone()
                if asked is None:
                    raise RecordError("no such output waits for review; go back to the queue")
                if asked[0] is not None:
                    raise RecordError(
                        f"this output is decided already, by {asked[0]}; go back to the queue"
                    )
                base.execute(
                    "INSERT INTO verdicts VALUES (?, ?, ?, ?)", (name, verdict, who, told.at)
                )
        except sqlite3.Error as error:
            raise RecordError(
                f"cannot record in {self.file}: {error}; free some space or check the disk"
            ) from None
        return told

    def events(self) -> list[Event]:
        """Return what was said of clients, oldest first."""
        with self._open() as base:
            found = base.execute("SELECT at, client, kind, who, detail FROM events ORDER BY seq")
            return [Event(*row) for row in found]

    def _entries(
        self, rest: str, values: tuple[object, ...], pictures: bool = True
    ) -> list[tuple[Entry, Reviewed | None]]:
        shown = "w.output, w.nearest" if pictures else "NULL, NULL"
        with self._open() as base:
            found = base.execute(
                "SELECT d.id, d.request, d.at, d.client, d.content, d.decision, d.reason, d.row, "  # noqa: S608
                f"d.nearness, d.told, {shown}, v.verdict, v.who, v.at FROM decisions d "
                "LEFT JOIN waiting w ON w.decision = d.id "
                f"LEFT JOIN verdicts v ON v.decision = d.id {rest}",
                values,
            ).fetchall()
        return [(_entry(row[:12]), Reviewed(*row[12:]) if row[12] else None) for row in found]

    def _prepare(self, base: sqlite3.Connection) -> None:
        (mine,) = base.execute("PRAGMA application_id").fetchone()
        (version,) = base.execute("PRAGMA user_version").fetchone()
        (tables,) = base.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if not tables:
            base.execute("PRAGMA journal_mode = WAL")
            base.executescript(
                f"BEGIN; {_LAYOUT} PRAGMA application_id = {_APPLICATION}; "
                f"PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        elif mine != _APPLICATION or version != _VERSION:
            raise sqlite3.DatabaseError("it holds something else, or an older layout")
        ((state,),) = base.execute("PRAGMA quick_check(1)").fetchall()
        if state != "ok":
            raise sqlite3.DatabaseError(state)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one reading or one click."""
        base = self._connect()
        try:
            yield base
        finally:
            base.close()

    def _connect(self) -> sqlite3.Connection:
        base = sqlite3.connect(
            self.file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        base.execute("PRAGMA synchronous = FULL")
        base.execute("PRAGMA foreign_keys = ON")
        return base


def _row(one: Entry) -> tuple[object, ...]:
    own = (one.id, one.request, one.at, one.client, one.content, one.decision, one.reason)
    return (*own, one.row, one.nearness, _told(one.distances))


def _entry(row: Sequence[Any]) -> Entry:
    own = [*row[:9], _distances(row[9]), *row[10:]]
    return Entry(*own)


def _told(found: Sequence[Distance]) -> str:
    return json.dumps([[one.name, one.value, one.block, one.review] for one in found])


def _distances(told: str) -> tuple[Distance, ...]:
    return tuple(Distance(*one) for one in json.loads(told))
