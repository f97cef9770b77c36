"""Requests decided together: one comparison and one commit for all that wait, then the answers.

The order is what makes it safe: compare, record, answer. A request that is killed anywhere before
the commit left nothing behind and was not answered.
"""

import queue
import secrets
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

import torch

from safelight.errors import SafelightError
from safelight.filtering.decisions import Decisions, Distance, Entry, Event, Kind, Verdict
from safelight.filtering.engine import Filter, Judged
from safelight.filtering.limits import Sign, Watch
from safelight.filtering.pictures import Outputs, Pixels, as_tensor, content_hash, shown_png

#: Outputs compared and committed together at most.
BATCH = 256

#: Requests that may wait; more are refused, which a client sees as 503.
_MOST_WAITING = 256

#: Decisions replayed at the start, so that a restart forgets no climber.
REPLAYED = 100_000

#: Outputs that may wait for a person; beyond, what would be reviewed is blocked. Each is stored
#: with two small pictures, so that nobody can fill the disk.
MOST_UNREVIEWED = 10_000

Hold = Literal["none", "climbs", "scans"]

#: The signs at which a client is held.
HOLDS: Mapping[Hold, frozenset[str]] = {
    "none": frozenset(),
    "climbs": frozenset({"climb"}),
    "scans": frozenset({"climb", "scan"}),
}

_STOP = None


class UnavailableError(SafelightError):
    """The filter cannot decide just now: nothing may be let out."""


@dataclass
class _Job:
    client: str
    outputs: Outputs
    request: str = field(default_factory=lambda: secrets.token_hex(16))
    answer: "Future[list[Entry]]" = field(default_factory=Future)
    hashes: list[str] = field(default_factory=list)


class Worker:
    """The one thread that compares and records.

    Args:
        engine: compares.
        decisions: records.
        hold: which clients are held, so that all they submit is blocked until a person lifts
            them: none, those that climb, or those that scan as well. Others are flagged.
    """

    def __init__(self, engine: Filter, decisions: Decisions, hold: Hold) -> None:
        self._engine = engine
        self._decisions = decisions
        self._hold = hold
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_MOST_WAITING)
        self._attacks = Watch(engine.policy.held_rate)
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._flagged: set[str] = set()
        self._said: dict[str, Verdict] = decisions.verdicts()
        self._broken: str | None = None
        self._waiting = decisions.counts()["waiting"]
        events = decisions.events()
        self._replay(decisions.recent(REPLAYED), events)
        self._thread = threading.Thread(target=self._run, name="safelight-filter", daemon=True)

    def start(self) -> None:
        """Begin to take requests."""
        self._thread.start()

    def stop(self) -> None:
        """Decide what waits, then end."""
        self._jobs.put(_STOP)
        self._thread.join()

    @property
    def ready(self) -> bool:
        """Whether requests are being decided."""
        return self._thread.is_alive() and self._broken is None

    def held(self) -> frozenset[str]:
        """Return the clients that are held."""
        with self._lock:
            return frozenset(self._held)

    def submit(self, client: str, outputs: Outputs) -> "Future[list[Entry]]":
        """Ask for decisions about the outputs of one request, in their order.

        Raises:
            UnavailableError: too many wait, or the filter has failed. Let nothing out.
        """
        if not self.ready:
            raise UnavailableError(f"the filter has stopped ({self._broken}); restart it")
        job = _Job(client, outputs, hashes=[content_hash(one) for one in outputs.pictures])
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise UnavailableError("too many requests wait; try again in a second") from None
        return job.answer

    def say(self, entry: Entry, verdict: Verdict, who: str) -> None:
        """Record what a person said of an output; the same output is treated so from now on."""
        self._decisions.judge(entry.id, verdict, who)
        with self._lock:
            self._said[entry.content] = verdict
            self._waiting -= 1

    def tell(self, event: Event) -> None:
        """Record that a person holds or lifts a client."""
        self._decisions.add([], [event])
        self._apply(event)

    def _run(self) -> None:
        jobs: list[_Job] = []
        try:
            while (job := self._jobs.get()) is not _STOP:
                jobs = self._gather(job)
                # A request whose client has gone before this point is dropped, unrecorded.
                wanted = [one for one in jobs if one.answer.set_running_or_notify_cancel()]
                self._decide_apart(wanted)
        except BaseException as error:
            self._broken = f"{type(error).__name__}: {error}"
            for left in jobs:
                _fail(left, error)
            raise

    def _gather(self, first: _Job) -> list[_Job]:
        """Take what waits beside a first request, up to a batch."""
        jobs, count = [first], len(first.outputs.pictures)
        while count < BATCH:
            try:
                more = self._jobs.get_nowait()
            except queue.Empty:
                break
            if more is _STOP:
                self._jobs.put(_STOP)
                break
            jobs.append(more)
            count += len(more.outputs.pictures)
        return jobs

    def _decide_apart(self, jobs: list[_Job]) -> None:
        """Decide jobs together, or one by one if together they fail: one may spoil the others."""
        if not jobs:
            return
        try:
            judged = self._compare(jobs)
            entries = [
                [self._entry(job, at, judged.pop(0)) for at in range(len(job.hashes))]
                for job in jobs
            ]
            every = [one for some in entries for one in some]
            events = self._watch(every)
            self._decisions.add(every, events)
        except Exception as error:
            for job in jobs:
                if len(jobs) == 1:
                    _fail(job, error)
                else:
                    self._decide_apart([job])
            return
        # Recorded: from here on nothing may fail, and nothing is done twice.
        for event in events:
            self._apply(event)
        with self._lock:
            self._waiting += sum(one.output is not None for one in every)
        for job, own in zip(jobs, entries, strict=True):
            job.answer.set_result(own)

    def _compare(self, jobs: list[_Job]) -> list[Judged]:
        fitted = [self._engine.index.fit(as_tensor(one.outputs.pictures)) for one in jobs]
        return self._engine.check(torch.cat(fitted).contiguous())

    def _entry(self, job: _Job, at: int, judged: Judged) -> Entry:
        rules = self._engine.policy.rules
        decision, reason = judged.decision, rules[judged.rule].name
        with self._lock:
            said = self._said.get(job.hashes[at])
            if job.client in self._held:
                decision, reason = "block", "held client"
            elif said is not None:
                decision, reason = ("allow" if said == "approve" else "block"), "reviewed"
            elif decision == "review" and self._waiting >= MOST_UNREVIEWED:
                decision, reason = "block", "queue full"
        shown = decision == "review"
        return Entry(
            id=secrets.token_hex(16),
            request=job.request,
            at=time.time(),
            client=job.client,
            content=job.hashes[at],
            decision=decision,
            reason=reason,
            row=judged.row,
            nearness=judged.nearness,
            distances=tuple(
                Distance(rule.name, apart, rule.block, rule.review)
                for rule, apart in zip(rules, judged.distances, strict=True)
            ),
            output=shown_png(job.outputs.pictures[at]) if shown else None,
            nearest=shown_png(self._protected(judged.row)) if shown else None,
        )

    def _protected(self, row: int) -> Pixels:
        picture: Pixels = self._engine.index.pictures[row].permute(1, 2, 0).numpy()
        return picture

    def _watch(self, entries: list[Entry]) -> list[Event]:
        """Return an event for each client that has not been told of yet and now climbs."""
        events: dict[str, Event] = {}
        for one in entries:
            sign = self._observe(one)
            if sign is None or one.client in events:
                continue
            kind: Kind = "held" if sign.kind in HOLDS[self._hold] else "flagged"
            with self._lock:
                known = self._held if kind == "held" else self._flagged
            if one.client not in known:
                events[one.client] = Event(one.at, one.client, kind, "monitor", sign.detail)
        return list(events.values())

    def _observe(self, one: Entry) -> Sign | None:
        with self._lock:  # a nearness below 1 is held, whatever a person or a hold made of it
            return self._attacks.observe(
                one.client, one.row, one.nearness, one.content, one.nearness < 1
            )

    def _replay(self, entries: list[Entry], events: list[Event]) -> None:
        """See again what was seen before a restart, in the order in which it happened."""
        moments: list[Entry | Event] = sorted([*entries, *events], key=lambda one: one.at)
        for one in moments:
            if isinstance(one, Event):
                self._apply(one)
            else:
                self._observe(one)

    def _apply(self, event: Event) -> None:
        with self._lock:
            if event.kind == "lifted":
                self._held.discard(event.client)
                self._flagged.discard(event.client)
                self._attacks.forget(event.client)
                return
            self._flagged.add(event.client)
            if event.kind == "held":
                self._held.add(event.client)


def _fail(job: _Job, error: BaseException) -> None:
    if not job.answer.done():
        job.answer.set_exception(error)
