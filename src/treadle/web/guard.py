"""The outermost layer: nothing passes that it does not let in."""

from __future__ import annotations

import logging
from collections.abc import Collection
from hmac import compare_digest
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.web.access import AccessError, Identity
from treadle.web.door import Door, TooManyGuesses
from treadle.web.paths import path_of
from treadle.web.problems import answer, wants_json

log: logging.Logger = logging.getLogger("treadle.web")

TOKEN_HEADER = "x-treadle-token"  # noqa: S105 - a name
STALE_HEADER = "x-treadle-stale"
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
SIGN_IN = "/sign-in"
_SAFE = ("GET", "HEAD", "OPTIONS")
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; font-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_HEADERS = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Asks of every request: was it meant for this host, who is it from, and did their page mean it?

    Args:
        hosts: the names that may stand in the ``Host`` header; a name without a port goes with any.
    """

    def __init__(self, app: ASGIApp, *, door: Door, hosts: Collection[str]) -> None:
        self._app = app
        self._door = door
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, _hardened(scope, send))
        else:
            # There is nothing here that talks over a websocket.
            await send({"type": "websocket.close", "code": 1008, "reason": ""})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        # Answers given here are pages too, and they show nothing to strangers.
        scope["treadle.principal"], scope["treadle.token"] = None, ""
        refusal = self._wrong_host(request)
        if refusal is None:
            try:
                identity = None if _is_static(request) else await self._door.identify(request)
            except TooManyGuesses as error:
                refusal = answer(request, 429, str(error), headers={"Retry-After": f"{error.wait:.0f}"})
            except AccessError as error:
                log.error("%s", error)  # noqa: TRY400 - it says what is wrong, and where
                refusal = answer(request, 503, "who may sign in cannot be told now; the server's log says why")
            else:
                refusal = _stranger(request, identity) or _not_meant(request, identity)
                if identity is not None:
                    scope["treadle.principal"], scope["treadle.token"] = identity.principal, identity.token
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _wrong_host(self, request: Request) -> Response | None:
        named = [host.lower() for host in request.headers.getlist("host")]
        if len(named) == 1 and (named[0] in self._hosts or _without_port(named[0]) in self._hosts):
            return None
        return answer(
            request, 421, "this server does not go by that name; `--allow-host NAME` (or create_app(hosts=...)) lists it"
        )


def _without_port(host: str) -> str:
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdigit() else host


def _is_static(request: Request) -> bool:
    return path_of(request.scope).startswith("/static/") and request.method in _SAFE


def _stranger(request: Request, identity: Identity | None) -> Response | None:
    """Nobody gets further without a name, but to sign in and to what signing in looks like."""
    if identity is not None or path_of(request.scope) == SIGN_IN or _is_static(request):
        return None
    is_page = request.method == "GET" and not wants_json(request) and "hx-request" not in request.headers
    if is_page and "text/html" in request.headers.get("accept", ""):
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{request.scope.get('root_path', '')}{SIGN_IN}?next={quote(wanted, safe='')}", 303)
    return answer(request, 401, "sign in first", headers={"WWW-Authenticate": "Bearer"})


def _not_meant(request: Request, identity: Identity | None) -> Response | None:
    """A change that a foreign page, or no page of ours, had the browser ask for."""
    if request.method in _SAFE:
        return None
    origins, site = request.headers.getlist("origin"), request.headers.get("sec-fetch-site")
    is_foreign = any(urlsplit(origin).netloc.lower() != request.headers["host"].lower() for origin in origins)
    if is_foreign or site not in (None, "same-origin"):
        return answer(request, 403, "that came from a page of another site")
    if identity is None or not identity.token or path_of(request.scope) == SIGN_IN:
        return None  # What is shown here is a token itself, and no browser sends that on its own.
    if not origins and site is None:
        return answer(request, 403, "a browser says where a change comes from; programs send `Authorization: Bearer TOKEN`")
    if not _same(request.headers.get(TOKEN_HEADER, ""), identity.token):
        return answer(request, 403, "this page is older than your sign-in; load it again", headers={STALE_HEADER: "1"})
    return None


def _same(given: str, wanted: str) -> bool:
    """Whether both are the same; how long that takes says nothing."""
    return compare_digest(given.encode(), wanted.encode())


def _hardened(scope: Scope, send: Send) -> Send:
    """Every answer tells the browser what its page may not do, and nothing but static files is kept."""

    async def send_hardened(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-cache" if path_of(scope).startswith("/static/") else "no-store")
        await send(message)

    return send_hardened
