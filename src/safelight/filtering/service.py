"""The service: outputs in, decisions or pictures out. What fails is answered "block".

Every answer about outputs carries a ``decision``; errors carry "block" with their reason, so that
a caller who looks at nothing else lets nothing out.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from safelight.errors import DataError, RecordError, SafelightError
from safelight.filtering import pages
from safelight.filtering.decisions import Decisions, Entry
from safelight.filtering.engine import Filter
from safelight.filtering.limits import Bucket
from safelight.filtering.monitor import health
from safelight.filtering.pictures import (
    BATCH,
    FORMATS,
    MOST_BYTES,
    Outputs,
    Pixels,
    as_npz,
    as_png,
    content_hash,
    read_outputs,
)
from safelight.filtering.replacement import Reserve
from safelight.filtering.tokens import Holder, Role, Tokens
from safelight.filtering.worker import UnavailableError, Worker

#: Names under which a browser may ask for a service that listens on this machine alone.
LOCAL = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Limits:
    """Outputs a second that each client may submit on average, and at once."""

    rate: float = 1000.0
    burst: int = 2000


@dataclass
class Desk:
    """All parts of a running service.

    ``reserve``: pictures to show instead of held outputs; with one, clients get pictures and are
    never told a decision.
    """

    engine: Filter
    decisions: Decisions
    tokens: Tokens
    worker: Worker
    reserve: Reserve | None = None
    limits: Limits = field(default_factory=Limits)
    buckets: dict[str, Bucket] = field(default_factory=dict)


class _RefusedError(Exception):
    """A request that gets no decision."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.response = JSONResponse(
            {"decision": "block", "error": reason}, status, dict(headers or {})
        )


def build(desk: Desk, hosts: tuple[str, ...] = LOCAL) -> Starlette:
    """Return the ASGI application. ``hosts``: names by which it may be asked for."""
    api = _Api(desk)
    return Starlette(
        routes=[
            Route("/v1/outputs", api.submit, methods=["POST"]),
            Route("/v1/outputs/{name}", api.look, methods=["GET"]),
            Route("/v1/monitor", api.monitor, methods=["GET"]),
            Route("/v1/health", api.ready, methods=["GET"]),
            *pages.routes(desk.decisions, desk.tokens, desk.worker, desk.engine.policy),
        ],
        # Whoever makes a browser ask under another name (DNS rebinding) gets nothing.
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
        ],
        exception_handlers={
            _RefusedError: lambda _, error: error.response,
            Exception: _failed,
        },
    )


def _failed(_: Request, error: Exception) -> Response:
    """Answer whatever nobody foresaw; Starlette raises it again for the log."""
    del error
    return JSONResponse({"decision": "block", "error": "the filter failed; see its log"}, 500)


class _Api:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def submit(self, request: Request) -> Response:
        """Decide about the outputs of one request."""
        holder = self._holder(request, "client")
        body = await _body(request)
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            outputs = await run_in_threadpool(read_outputs, body, media)
        except DataError as error:
            raise _RefusedError(
                415 if media not in (*FORMATS, BATCH) else 422, str(error)
            ) from None
        self._pace(holder, len(outputs.pictures))
        try:
            # Shielded: what is recorded stays so, whether or not the client waits for it.
            answer = asyncio.wrap_future(self._desk.worker.submit(holder.name, outputs))
            entries = await asyncio.shield(answer)
        except UnavailableError as error:
            raise _RefusedError(503, str(error), {"Retry-After": "1"}) from None
        except RecordError as error:
            raise _RefusedError(503, str(error)) from None
        except SafelightError as error:
            raise _RefusedError(422, str(error)) from None
        if self._desk.reserve is not None:
            return await run_in_threadpool(
                _pictures, self._desk.reserve, outputs, entries, media == BATCH
            )
        return JSONResponse(
            {
                "decision": _worst(entries),
                "request": entries[0].request,
                "outputs": [{"id": one.id, "decision": one.decision} for one in entries],
            }
        )

    async def look(self, request: Request) -> Response:
        """Say how an output stands that waited for review."""
        holder = self._holder(request, "client")
        found = await run_in_threadpool(self._desk.decisions.entry, request.path_params["name"])
        if found is None or found[0].client != holder.name or self._desk.reserve is not None:
            raise _RefusedError(404, "no such output of yours; submit it first")
        entry, said = found
        decision = entry.decision
        if said is not None:
            decision = "allow" if said.verdict == "approve" else "block"
        return JSONResponse({"id": entry.id, "decision": decision, "reviewed": said is not None})

    async def monitor(self, request: Request) -> Response:
        """Tell a reviewer's program how the filter fares."""
        self._holder(request, "reviewer")
        found = await run_in_threadpool(health, self._desk.decisions, self._desk.engine.policy)
        return Response(
            json.dumps(found, default=vars, allow_nan=False), media_type="application/json"
        )

    async def ready(self, request: Request) -> Response:
        """Say whether decisions are made; asked without a token."""
        del request
        ready = self._desk.worker.ready
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    def _holder(self, request: Request, role: Role) -> Holder:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            holder = self._desk.tokens.holder(token.strip())
        except DataError as error:
            raise _RefusedError(503, str(error)) from None
        if scheme.lower() != "bearer" or holder is None:
            raise _RefusedError(
                401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )
        if holder.role != role:
            raise _RefusedError(403, f"this token is a {holder.role}'s; use a {role}'s")
        return holder

    def _pace(self, holder: Holder, count: int) -> None:
        limits = self._desk.limits
        bucket = self._desk.buckets.setdefault(holder.name, Bucket(limits.rate, limits.burst))
        wait = bucket.take(count)
        if wait:
            raise _RefusedError(
                429,
                f"more than {limits.rate:g} outputs a second; wait {wait:.1f} s",
                {"Retry-After": str(int(np.ceil(wait)))},
            )


async def _body(request: Request) -> bytes:
    """Read a request up to the limit, whatever length it claims."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MOST_BYTES:
                raise _RefusedError(
                    413, f"the request is too large; send {MOST_BYTES:,} bytes at most"
                )
            parts.append(part)
    except ClientDisconnect:
        raise _RefusedError(400, "the request was cut short; send it again") from None
    return b"".join(parts)


def _worst(entries: list[Entry]) -> str:
    decisions = {one.decision for one in entries}
    return next(one for one in ("block", "review", "allow") if one in decisions)


def _pictures(reserve: Reserve, outputs: Outputs, entries: list[Entry], batch: bool) -> Response:
    """Return one picture a prompt: its first candidate that may be shown, else another picture.

    The other picture is looked up for every prompt: the time taken does not tell.
    """
    shown: list[Pixels] = []
    for start in range(0, len(entries), outputs.candidates):
        own = range(start, start + outputs.candidates)
        first = outputs.pictures[start]
        other = reserve.instead(first, content_hash(first))
        allowed = [outputs.pictures[at] for at in own if entries[at].decision == "allow"]
        shown.append(allowed[0] if allowed else other)
    if batch:
        return Response(as_npz(np.stack(shown)), media_type=BATCH)
    return Response(as_png(shown[0]), media_type="image/png")
