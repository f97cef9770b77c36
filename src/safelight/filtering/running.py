"""A filter at work: one process a folder, everything opened before the first request."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from starlette.applications import Starlette

from safelight.errors import RecordError
from safelight.filtering.decisions import Decisions
from safelight.filtering.engine import Filter
from safelight.filtering.folder import DECISIONS, FilterFolder
from safelight.filtering.replacement import Reserve
from safelight.filtering.service import Desk, Limits, build
from safelight.filtering.tokens import Tokens
from safelight.filtering.worker import Hold, Worker


@contextlib.contextmanager
def running(
    folder: FilterFolder,
    engine: Filter,
    silent: bool,
    hold: Hold,
    limits: Limits,
    hosts: tuple[str, ...],
) -> Iterator[Starlette]:
    """Open a filter and yield its application; on leaving, what waits is decided first.

    Raises:
        RecordError: another process serves the folder, or its decisions cannot be used.
        DataError: a part is missing. Nothing is served without it.
    """
    reserve = Reserve(folder.reserve(), engine.index, folder.secret()) if silent else None
    with _alone(folder):
        decisions = Decisions(folder.file(DECISIONS))
        worker = Worker(engine, decisions, hold)
        worker.start()
        try:
            desk = Desk(engine, decisions, Tokens(folder), worker, reserve, limits)
            yield build(desk, hosts)
        finally:
            worker.stop()
            decisions.close()


@contextlib.contextmanager
def _alone(folder: FilterFolder) -> Iterator[None]:
    """Hold the folder's lock, which the system frees however the process ends."""
    handle = os.open(folder.path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RecordError(
            f"another process serves {folder.path}; stop it first, or ask that one"
        ) from None
    else:
        yield
    finally:
        os.close(handle)
