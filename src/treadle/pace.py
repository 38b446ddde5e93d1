"""How fast the journal is followed in the process that writes it: never at the cost of whatever the event loop does."""

from __future__ import annotations

import asyncio
import time

WHILE_BUSY = 1_000
"""Events a second that are read while the event loop is busy. To make an object of an event takes a few microseconds, and a quick pipeline tells
of 100,000 a second: whoever reads all of them at once takes a quarter of its speed (``make bench``, W1), and does not keep up either."""
_LEAST = 100
"""Events that a page counts for at least: to find that there are none takes time too."""
_GLANCE = 0.001
"""Seconds that tell whether the loop is busy, since nothing of them is the reader's."""
_BUSY = 0.5
"""Share of that time for which the loop's thread is at work, beyond which it is busy."""


async def rest(events: int) -> None:
    """Leave the event loop to others after a page of so many events: for a moment, or where it is busy for as long as they are worth."""
    began, worked = time.perf_counter(), time.thread_time()
    await asyncio.sleep(_GLANCE)
    if time.thread_time() - worked > _BUSY * (time.perf_counter() - began):
        await asyncio.sleep(max(events, _LEAST) / WHILE_BUSY)
