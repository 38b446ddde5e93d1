"""How fast the journal is followed in the process that writes it: never at the cost of the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sized
from typing import TypeVar

S = TypeVar("S", bound=Sized)

WHILE_BUSY = 4_000
"""Events a second that are read while the event loop is busy. To make an object of an event takes a few microseconds, and a quick pipeline tells
of 100,000 a second: whoever reads all of them at once takes a quarter of its speed (``make bench``, W1), and does not keep up either."""
_BUSY = 0.5
"""Share of the time for which the loop's thread is at work, beyond which it is busy."""


class Pace:
    """Reads pages, and knows how long to rest after each."""

    def __init__(self) -> None:
        self._rest = 0.0
        self.watch()

    def watch(self) -> None:
        """From now on, what the event loop does is the work of others: the last page has been dealt with."""
        self._at, self._worked = time.monotonic(), time.thread_time()

    async def page(self, reading: Awaitable[S]) -> S:
        """The page; and a look at how busy the event loop has been until it came."""
        page = await reading
        is_busy = time.thread_time() - self._worked > _BUSY * (time.monotonic() - self._at)
        self._rest = len(page) / WHILE_BUSY if is_busy else 0.0
        return page

    async def rest(self) -> None:
        """Leave the event loop to others for as long as the last page asks for."""
        if self._rest:
            await asyncio.sleep(self._rest)
