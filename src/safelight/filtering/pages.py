"""The pages for people: log in, review what waits, watch the filter. Nothing is fetched elsewhere.

A token is typed once into a form and exchanged for a session cookie that no script reads and no
other site sends. Sessions live in memory: after a restart people log in again.
"""

import base64
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from safelight.errors import DataError, RecordError
from safelight.filtering.decisions import Decisions, Event
from safelight.filtering.monitor import LOOKED_AT, health
from safelight.filtering.policy import Policy
from safelight.filtering.tokens import Tokens
from safelight.filtering.worker import Worker

COOKIE = "safelight_session"

#: Seconds that a session lasts: a working day.
LASTS = 8 * 3600

#: Outputs shown on one page.
SHOWN = 20

#: What a reviewer reads for each distance.
NAMES = {
    "ssim": "Structure (1 - SSIM)",
    "patched": "Worst tile (L2)",
    "embedding": "Embedding",
    "coarse": "Coarse look",
    "classifier": "Classifier",
}

#: Bytes of a form: a token and little else.
_FORM = 16_384


@dataclass(frozen=True)
class Session:
    """A reviewer who logged in. ``form``: what each of their forms must carry."""

    who: str
    token: str
    form: str
    until: float


_Take = Callable[[Session, dict[str, str]], Awaitable[Response]]


class _Sessions:
    """Who is logged in, by the cookie they hold."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._open: dict[str, Session] = {}

    def begin(self, token: str) -> str | None:
        """Exchange a reviewer's token for a cookie; None if it is no such token."""
        holder = self._tokens.holder(token)
        if holder is None or holder.role != "reviewer":
            return None
        now = time.monotonic()
        self._open = {key: one for key, one in self._open.items() if one.until > now}
        cookie = secrets.token_urlsafe(32)
        self._open[cookie] = Session(holder.name, token, secrets.token_urlsafe(32), now + LASTS)
        return cookie

    def of(self, request: Request) -> Session | None:
        """Return the session of a request; a revoked token ends it at once."""
        found = self._open.get(request.cookies.get(COOKIE, ""))
        if found is None or found.until < time.monotonic():
            return None
        holder = self._tokens.holder(found.token)
        return found if holder is not None and holder.role == "reviewer" else None

    def end(self, request: Request) -> None:
        """Forget a session."""
        self._open.pop(request.cookies.get(COOKIE, ""), None)


def routes(decisions: Decisions, tokens: Tokens, worker: Worker, policy: Policy) -> list[Route]:
    """Return the routes of all pages."""
    own = _Pages(decisions, tokens, worker, policy)
    return [
        Route("/", own.home),
        Route("/login", own.login, methods=["GET", "POST"]),
        Route("/logout", own.logout, methods=["POST"]),
        Route("/review", own.queue),
        Route("/review/{name}", own.judge, methods=["POST"]),
        Route("/decided", own.decided),
        Route("/monitor", own.monitor),
        Route("/clients", own.client, methods=["POST"]),
    ]


class _Pages:
    def __init__(
        self, decisions: Decisions, tokens: Tokens, worker: Worker, policy: Policy
    ) -> None:
        self._decisions = decisions
        self._worker = worker
        self._policy = policy
        self._sessions = _Sessions(tokens)
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("safelight.filtering"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"inline": _inline, "moment": _moment}

    async def home(self, request: Request) -> Response:
        """Lead to the queue."""
        del request
        return _go("/review")

    async def login(self, request: Request) -> Response:
        """Ask for a token, or take it."""
        if request.method == "GET":
            return self._page("login.html.j2", None, wrong=False)
        if not _same_site(request):
            return self._page("login.html.j2", None, 403, wrong=True)
        fields = await _fields(request)
        try:
            cookie = self._sessions.begin(fields.get("token", "").strip())
        except DataError as error:
            return self._sorry(None, 503, str(error))
        if cookie is None:
            return self._page("login.html.j2", None, 403, wrong=True)
        response = _go("/review")
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=LASTS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def logout(self, request: Request) -> Response:
        """End the session."""

        async def leave(session: Session, fields: dict[str, str]) -> Response:
            del session, fields
            self._sessions.end(request)
            response = _go("/login")
            response.delete_cookie(COOKIE, httponly=True, samesite="strict")
            return response

        return await self._form(request, leave)

    async def queue(self, request: Request) -> Response:
        """Show the outputs that have waited longest."""
        session = self._sessions.of(request)
        if session is None:
            return _go("/login")
        waiting = await run_in_threadpool(self._decisions.waiting, SHOWN)
        counts = await run_in_threadpool(self._decisions.counts)
        return self._page("review.html.j2", session, waiting=waiting, counts=counts, names=NAMES)

    async def judge(self, request: Request) -> Response:
        """Take a reviewer's word on one output."""

        async def take(session: Session, fields: dict[str, str]) -> Response:
            found = await run_in_threadpool(self._decisions.entry, request.path_params["name"])
            verdict = fields.get("verdict", "")
            if found is None or verdict not in ("approve", "reject"):
                return self._sorry(session, 404, "There is no such output, or no such verdict.")
            try:
                await run_in_threadpool(
                    self._worker.say,
                    found[0],
                    "approve" if verdict == "approve" else "reject",
                    session.who,
                )
            except RecordError as error:
                return self._sorry(session, 409, f"{str(error)[0].upper()}{str(error)[1:]}.")
            return _go("/review")

        return await self._form(request, take)

    async def decided(self, request: Request) -> Response:
        """Show who decided what, and when."""
        session = self._sessions.of(request)
        if session is None:
            return _go("/login")
        found = await run_in_threadpool(self._decisions.reviewed, 5 * SHOWN)
        return self._page("decided.html.j2", session, decided=found)

    async def monitor(self, request: Request) -> Response:
        """Show how the filter fares."""
        session = self._sessions.of(request)
        if session is None:
            return _go("/login")
        found = await run_in_threadpool(health, self._decisions, self._policy)
        return self._page(
            "monitor.html.j2", session, health=found, policy=self._policy, looked_at=LOOKED_AT
        )

    async def client(self, request: Request) -> Response:
        """Hold a client, or lift it."""

        async def take(session: Session, fields: dict[str, str]) -> Response:
            name, kind = fields.get("client", ""), fields.get("kind", "")
            if kind not in ("held", "lifted") or not name:
                return self._sorry(session, 404, "There is no such client, or nothing to do.")
            event = Event(
                time.time(), name, "held" if kind == "held" else "lifted", session.who, "by hand"
            )
            await run_in_threadpool(self._worker.tell, event)
            return _go("/monitor")

        return await self._form(request, take)

    async def _form(self, request: Request, take: _Take) -> Response:
        """Pass a form on if it is the session's own."""
        session = self._sessions.of(request)
        if session is None:
            return _go("/login")
        fields = await _fields(request)
        given = fields.get("form", "")
        if not _same_site(request) or not hmac.compare_digest(
            given.encode(), session.form.encode()
        ):
            return self._sorry(session, 403, "This form is not from this page. Load it again.")
        return await take(session, fields)

    def _sorry(self, session: Session | None, status: int, reason: str) -> Response:
        return self._page("sorry.html.j2", session, status, reason=reason)

    def _page(
        self, name: str, session: Session | None, status: int = 200, **values: object
    ) -> Response:
        nonce = secrets.token_urlsafe(16)
        text = self._templates.get_template(name).render(session=session, nonce=nonce, **values)
        return Response(
            text,
            status,
            {
                "Content-Security-Policy": "default-src 'none'; img-src data:; "
                f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; form-action 'self'; "
                "base-uri 'none'; frame-ancestors 'none'",
                "Cache-Control": "no-store",
                "Referrer-Policy": "same-origin",
                "X-Content-Type-Options": "nosniff",
            },
            "text/html",
        )


async def _fields(request: Request) -> dict[str, str]:
    """Read a small form; what is larger or odd counts as empty."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _FORM:
            return {}
    try:
        found = parse_qs(content.decode(), max_num_fields=8)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}


def _same_site(request: Request) -> bool:
    """Whether a form was sent from a page of this service, as far as the browser says."""
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


def _go(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303, {"Cache-Control": "no-store"})


def _inline(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
