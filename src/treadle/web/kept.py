"""Answers that many ask for at once, made once a moment."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")
_MOST = 200
PACE_FRESH = 1.0
"""Seconds for which rates are good."""


class Kept:
    """Keeps what was made for some seconds, so that fifty open pages cost the store no more than one."""

    def __init__(self) -> None:
        self._made: OrderedDict[object, tuple[float, asyncio.Future[Any]]] = OrderedDict()

    async def get(self, key: object, seconds: float, make: Callable[[], Awaitable[T]]) -> T:
        """What ``make`` gives, or gave for the same key no longer ago than so many seconds."""
        known = self._made.get(key)
        if known is None or time.monotonic() - known[0] > seconds or (known[1].done() and _failed(known[1])):
            future: asyncio.Future[Any] = asyncio.ensure_future(make())
            known = self._made[key] = (time.monotonic(), future)
            self._made.move_to_end(key)
            while len(self._made) > _MOST:
                self._made.popitem(last=False)
        # Who goes away does not take it from those who wait for the same.
        made: T = await asyncio.shield(known[1])
        return made


def _failed(future: asyncio.Future[Any]) -> bool:
    return future.cancelled() or future.exception() is not None
