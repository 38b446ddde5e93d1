"""A change that is asked for again under its ``Idempotency-Key`` gives the answer it gave, and changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.web.problems import answer

_SAFE = ("GET", "HEAD", "OPTIONS")
_LONGEST_KEY = 200
_KEPT_SECONDS = 24 * 3600
_MOST_KEPT = 5_000
_MOST_BYTES = 32 * 1024 * 1024

Place = tuple[str, str]
"""Who asks, and under which key: nobody sees another's answers."""


@dataclass(slots=True)
class _Asked:
    """A change under a key; its messages come once it has been made."""

    question: str
    at: float
    made: asyncio.Future[list[Message] | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    size: int = 0


class Idempotency:
    """Remembers the answers of a day, as long as this process lives and there is room.

    Args:
        most_bytes: the longest body that is taken.
    """

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._asked: OrderedDict[Place, _Asked] = OrderedDict()
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer as before."""
        who = scope.get("treadle.principal")
        if scope["type"] != "http" or scope["method"] in _SAFE or who is None:
            return await self._app(scope, receive, send)
        request = Request(scope, receive)
        keys = request.headers.getlist("idempotency-key")
        if not keys:
            return await self._app(scope, receive, send)
        if len(keys) > 1 or not 0 < len(keys[0]) <= _LONGEST_KEY or not keys[0].isprintable():
            return await answer(request, 422, f"Idempotency-Key: one, of 1 to {_LONGEST_KEY} characters")(scope, receive, send)
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return None
        if body is None:
            return await answer(request, 413, f"a body of at most {self._most_bytes:,} bytes")(scope, receive, send)
        return await self._once((who.name, keys[0]), request, body, send)

    async def _body(self, request: Request) -> bytes | None:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._most_bytes:
                return None
        return bytes(body)

    async def _once(self, place: Place, request: Request, body: bytes, send: Send) -> None:
        asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
        question = hashlib.sha256(asked + body).hexdigest()
        self._forget()
        while (known := self._asked.get(place)) is not None:
            if known.question != question:
                other = answer(request, 422, "this Idempotency-Key was used for another change; take a new one")
                return await _send_response(other, request.scope, send)
            # Whoever goes away must not take the answer from those who wait for it.
            if (messages := await asyncio.shield(known.made)) is not None:
                return await _replay(messages, send)
        messages = await self._make(place, _Asked(question, time.monotonic()), request.scope, body)
        for message in messages:
            await send(message)
        return None

    async def _make(self, place: Place, asked: _Asked, scope: Scope, body: bytes) -> list[Message]:
        """The answer as the app gives it, kept unless the app failed."""
        self._asked[place] = asked
        messages: list[Message] = []
        given = False

        async def receive() -> Message:
            nonlocal given
            if given:
                return {"type": "http.disconnect"}
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def keep(message: Message) -> None:
            messages.append(message)

        is_kept = False
        try:
            await self._app(scope, receive, keep)
            is_kept = messages[0]["status"] < 500  # noqa: PLR2004 - what failed here may be asked for again
        finally:
            asked.made.set_result(messages if is_kept else None)
            if is_kept:
                asked.size = sum(len(message.get("body", b"")) for message in messages)
                self._bytes += asked.size
            elif self._asked.get(place) is asked:
                del self._asked[place]
        return messages

    def _forget(self) -> None:
        """What is a day old goes, and the oldest where there is no room."""
        before = time.monotonic() - _KEPT_SECONDS
        while self._asked:
            oldest = next(iter(self._asked.values()))
            is_full = len(self._asked) > _MOST_KEPT or self._bytes > _MOST_BYTES
            if not oldest.made.done() or not (is_full or oldest.at < before):
                return
            self._bytes -= oldest.size
            self._asked.popitem(last=False)


async def _replay(messages: list[Message], send: Send) -> None:
    start, *rest = messages
    await send({**start, "headers": [*start["headers"], (b"idempotency-replayed", b"true")]})
    for message in rest:
        await send(message)


async def _send_response(response: Response, scope: Scope, send: Send) -> None:
    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    await response(scope, nothing, send)
