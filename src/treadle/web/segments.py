"""Ids as one segment of a path, whatever characters they hold."""

from __future__ import annotations

from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

_MARK = "\x00"
_BELOW = ("/items/", "/parts/items/", "/api/v1/items/")


def segment(value: str) -> str:
    """The value as one segment of a path.

    Browsers take ``.`` and ``..`` for steps however they are quoted, so these get a mark that no id can have.
    """
    return quote(value, safe="") + (quote(_MARK) if value in {".", ".."} else "")


class SegmentConvertor(Convertor[str]):
    """One quoted segment; a slash in it is part of what it names."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """What it names."""
        return unquote(value).removesuffix(_MARK)

    def to_string(self, value: str) -> str:
        """How it is written in a path."""
        return segment(value)


register_url_convertor("segment", SegmentConvertor())


class Segments:
    """Leaves the segments below ``/items/`` quoted until a route has matched.

    Servers unquote paths before they are matched, so that ``a%2Fevents`` would be the events of ``a``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and (raw := scope.get("raw_path")):
            path, root = raw.partition(b"?")[0].decode("ascii", "replace"), scope.get("root_path", "")
            if path.startswith(tuple(quote(root) + below for below in _BELOW)):
                scope = {**scope, "path": root + path[len(quote(root)) :]}
        await self._app(scope, receive, send)
