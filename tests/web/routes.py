"""The router's own table, flat."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import Mount, Route

from treadle.web import Role

SAFE = {"GET", "HEAD", "OPTIONS"}
ANSWERS = {
    "item_id": "done-1",
    "key": "ask-1:summary",
    "stage": "summary",
    "its_stage": "summary",
    "path": "treadle.css",
    "place": "0",
}


@dataclass(frozen=True)
class Way:
    """One method of one path, and the role it says it takes."""

    method: str
    path: str
    role: Role | None

    @property
    def changes(self) -> bool:
        return self.method not in SAFE

    @property
    def url(self) -> str:
        """The path with something in the place of its parameters; say in ANSWERS what for a new one."""
        return re.sub(r"{(\w+)(:\w+)?}", lambda found: ANSWERS[found[1]], self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def ways(app: FastAPI) -> list[Way]:
    return sorted(_walk(app.routes, ""), key=str)


def _walk(routes: list[Any], prefix: str) -> Iterator[Way]:
    for route in routes:
        if isinstance(route, APIRoute):
            for method in sorted(route.methods):
                yield Way(method, prefix + route.path, _role(route.dependant))
        elif isinstance(route, Route):
            for method in sorted(route.methods or ()):
                yield Way(method, prefix + route.path, None)
        elif isinstance(route, Mount):
            yield Way("GET", f"{prefix}{route.path}/{{path}}", None)
        else:  # what `include_router` left
            yield from _walk(route.original_router.routes, prefix + route.include_context.prefix)


def _role(dependant: Dependant) -> Role | None:
    found = [role for inner in dependant.dependencies if (role := getattr(inner.call, "role", None) or _role(inner))]
    return max(found, key=list(Role).index, default=None)
