"""The outermost layer: nothing passes that it does not let in."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from treadle.web.access import Principal


class Guard:
    """Lets requests in as whoever they come from."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        scope["treadle.principal"] = Principal("ann")
        await self._app(scope, receive, send)
