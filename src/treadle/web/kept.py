"""Answers that many ask for at once, made once a moment."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")
_MOST = 200
_REST = 20
"""While everything changes all the time, a twentieth of the time is spent on each answer and no more."""
PACE_FRESH = 1.0
"""Seconds for which rates are good."""


class Kept:
    """Keeps what was made for some seconds, so that fifty open pages cost the store no more than one."""

    def __init__(self) -> None:
        self._made: OrderedDict[object, _Made] = OrderedDict()
        self._changed = float("-inf")

    async def get(self, key: object, seconds: float, make: Callable[[], Awaitable[T]]) -> T:
        """What ``make`` gives, or gave for the same key no longer ago than so many seconds."""
        known = self._made.get(key)
        if known is None or self._is_over(known, seconds):
            known = self._made[key] = _Made(make())
            self._made.move_to_end(key)
            while len(self._made) > _MOST:
                self._made.popitem(last=False)
        # Who goes away does not take it from those who wait for the same.
        made: T = await asyncio.shield(known.future)
        return made

    def _is_over(self, made: _Made, seconds: float) -> bool:
        now = time.monotonic()
        if now - made.at > seconds or made.has_failed:
            return True
        return made.at <= self._changed and now - made.at > made.cost * _REST

    def expire(self) -> None:
        """Something has changed: whoever asks from now on gets what is made from now on, unless that would never rest."""
        self._changed = time.monotonic()


class _Made:
    """What is being made, since when, and how long it took."""

    def __init__(self, making: Awaitable[Any]) -> None:
        self.at = time.monotonic()
        self.cost = 0.0
        self.future: asyncio.Future[Any] = asyncio.ensure_future(making)
        self.future.add_done_callback(self._done)

    def _done(self, _: asyncio.Future[Any]) -> None:
        self.cost = time.monotonic() - self.at

    @property
    def has_failed(self) -> bool:
        """Whether it raised, or was given up."""
        return self.future.done() and (self.future.cancelled() or self.future.exception() is not None)
