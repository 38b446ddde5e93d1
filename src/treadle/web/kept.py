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
        self._made: OrderedDict[object, _Made] = OrderedDict()

    async def get(self, key: object, seconds: float, make: Callable[[], Awaitable[T]], *, steady: bool = False) -> T:
        """What ``make`` gives, or gave for the same key no longer ago than so many seconds.

        What is ``steady`` is kept as long even while things change: rates and medians hardly do.
        """
        known = self._made.get(key)
        if known is None or time.monotonic() - known.at > seconds or known.has_failed:
            known = self._made[key] = _Made(make(), is_steady=steady)
            self._made.move_to_end(key)
            while len(self._made) > _MOST:
                self._made.popitem(last=False)
        # Who goes away does not take it from those who wait for the same.
        made: T = await asyncio.shield(known.future)
        return made

    def expire(self) -> None:
        """Something has changed: whoever asks from now on gets what is made from now on."""
        self._made = OrderedDict((key, made) for key, made in self._made.items() if made.is_steady)


class _Made:
    """What is being made, and since when."""

    def __init__(self, making: Awaitable[Any], *, is_steady: bool) -> None:
        self.at = time.monotonic()
        self.is_steady = is_steady
        self.future: asyncio.Future[Any] = asyncio.ensure_future(making)

    @property
    def has_failed(self) -> bool:
        """Whether it raised, or was given up."""
        return self.future.done() and (self.future.cancelled() or self.future.exception() is not None)
