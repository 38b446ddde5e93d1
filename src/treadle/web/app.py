"""Puts routers, guard and state together."""

from __future__ import annotations

import mimetypes
from collections.abc import Collection
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from treadle import __version__
from treadle.store import StateStore
from treadle.web import api, pages, problems
from treadle.web.access import AccessError
from treadle.web.door import Authenticate, Door, HostDoor
from treadle.web.figures import FigureKeeper
from treadle.web.guard import LOCAL_NAMES, Guard
from treadle.web.idempotency import Idempotency
from treadle.web.kept import Kept
from treadle.web.live import Live
from treadle.web.segments import Segments
from treadle.workflow import Workflow

# Some systems think otherwise, and a module of another type is not run.
mimetypes.add_type("text/javascript", ".js")
_HERE = Path(__file__).parent
_STATIC = StaticFiles(directory=_HERE / "static")
_VENDOR = StaticFiles(directory=_HERE / "vendor", check_dir=False)
_BODY_LIMIT = 4 * 1024 * 1024


class _GuardedApp(FastAPI):
    """An app inside its guard: not even the handler of unforeseen errors is outside."""

    def build_middleware_stack(self) -> ASGIApp:
        inside = Idempotency(super().build_middleware_stack(), _BODY_LIMIT)
        return Guard(inside, door=self.state.door, hosts=self.state.hosts)


def create_app(
    store: StateStore,
    workflow: Workflow | None = None,
    *,
    authenticate: Authenticate | None = None,
    door: Door | None = None,
    hosts: Collection[str] = LOCAL_NAMES,
) -> FastAPI:
    """The web of a store, to be served by itself or mounted in an app of your own.

    Args:
        store: an open store; whoever opened it closes it.
        workflow: its workflow, if the code is at hand: edits are then checked by its types.
        authenticate: tells who a request comes from (``None``: nobody), plain or async. The audit trail says that they acted.
        door: lets people in instead of ``authenticate``; what ``treadle serve`` uses.
        hosts: the names by which browsers reach it; anything else in the ``Host`` header is refused.

    Example:
        .. code-block:: python

            def who(request: HTTPConnection) -> Principal | None:
                user = request.session.get("user")
                return Principal(user, Role.REVIEWER) if user else None

            app.mount("/papers", create_app(store, papers, authenticate=who, hosts=["papers.example.org"]))

    Raises:
        AccessError: nobody could ever be let in.
    """
    if (authenticate is None) == (door is None):
        raise AccessError("create_app(authenticate=...) must say who asks; without it nobody could be let in")
    app = _GuardedApp(
        title="Treadle",
        version=__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        max_body_size=_BODY_LIMIT,
    )
    app.state.store, app.state.workflow = store, workflow
    app.state.door = HostDoor(authenticate) if authenticate is not None else door
    app.state.hosts = hosts
    app.state.kept = Kept()
    app.state.figures, app.state.live = FigureKeeper(store, app.state.kept), Live(store, app.state.kept.expire)
    app.add_middleware(Segments)
    problems.register(app)
    for router in pages.ROUTERS:
        app.include_router(router, include_in_schema=False)
    for router in api.ROUTERS:
        app.include_router(router, prefix="/api/v1")
    app.mount("/static/vendor", _VENDOR)
    app.mount("/static", _STATIC)
    return app
