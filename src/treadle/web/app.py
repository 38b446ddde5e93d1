"""Puts routers, guard and state together."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.staticfiles import StaticFiles

from treadle import __version__
from treadle.store import StateStore
from treadle.web import problems
from treadle.web.figures import FigureKeeper
from treadle.web.guard import Guard
from treadle.web.kept import Kept
from treadle.web.segments import Segments
from treadle.workflow import Workflow

_HERE = Path(__file__).parent
_STATIC = StaticFiles(directory=_HERE / "static")
_VENDOR = StaticFiles(directory=_HERE / "vendor", check_dir=False)
_PAGES = ("parts", "inbox", "overview", "stage", "items", "item", "failures", "events")
_API = ("reviews", "items", "stages", "stats", "failures", "events")
_BODY_LIMIT = 4 * 1024 * 1024


def _routers(package: str, names: tuple[str, ...], prefix: str) -> list[tuple[APIRouter, str]]:
    found = [f"treadle.web.{package}.{name}" for name in names if importlib.util.find_spec(f"treadle.web.{package}.{name}")]
    return [(importlib.import_module(module).router, prefix) for module in found]


_ROUTERS = _routers("pages", _PAGES, "") + _routers("api", _API, "/api/v1")


def create_app(store: StateStore, workflow: Workflow | None = None) -> FastAPI:
    """The web of a store, to be served by itself or mounted in an app of your own.

    Args:
        store: an open store; whoever opened it closes it.
        workflow: its workflow, if the code is at hand: edits are then checked by its types.
    """
    app = FastAPI(
        title="Treadle",
        version=__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        max_body_size=_BODY_LIMIT,
    )
    app.state.store, app.state.workflow = store, workflow
    app.state.figures, app.state.kept = FigureKeeper(store), Kept()
    app.add_middleware(Guard)
    app.add_middleware(Segments)
    problems.register(app)
    for router, prefix in _ROUTERS:
        app.include_router(router, prefix=prefix)
    app.mount("/static/vendor", _VENDOR)
    app.mount("/static", _STATIC)
    return app
