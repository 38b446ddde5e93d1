"""Items from any iterable, read no faster than they are wanted."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Iterable, Iterator, Sequence
from typing import Any

from treadle.errors import SourceFailed

_PATIENCE = 0.05
"""Seconds that a slow iterable may hold back the items it has already given."""


def open_source(items: Iterable[Any] | AsyncIterable[Any]) -> Source:
    """The right way to read ``items``."""
    if isinstance(items, AsyncIterable):
        return _AsyncSource(items)
    if isinstance(items, Sequence | set | frozenset):
        return _ReadySource(items)
    return _ThreadSource(items)


class Source(ABC):
    """Reads items in chunks, and remembers what the iterable raised."""

    def __init__(self) -> None:
        self.exhausted = False
        self.raised: BaseException | None = None
        self._count = 0

    async def take(self, limit: int) -> list[Any]:
        """The next items, at most ``limit``; ``exhausted`` is set when there will be no more."""
        found = await self._take(limit)
        self._count += len(found)
        return found

    @abstractmethod
    async def _take(self, limit: int) -> list[Any]: ...

    def failure(self) -> SourceFailed | None:
        """What the iterable raised, as our error."""
        if self.raised is None:
            return None
        error = SourceFailed(
            f"the source of items raised {type(self.raised).__name__}: {self.raised} (after {self._count:,} items, which are stored)."
            " Mend it and run again: known items are not added twice"
        )
        error.__cause__ = self.raised
        return error

    async def close(self) -> None:
        """Stop reading."""


class _ReadySource(Source):
    """Items that are all there already."""

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__()
        self._items = iter(items)

    async def _take(self, limit: int) -> list[Any]:
        found = list(itertools.islice(self._items, limit))
        self.exhausted = len(found) < limit
        return found


class _AsyncSource(Source):
    """An async iterable, read by a task of its own into a bounded queue."""

    def __init__(self, items: AsyncIterable[Any]) -> None:
        super().__init__()
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=256)
        self._end = object()
        self._task = asyncio.create_task(self._pump(items))

    async def _pump(self, items: AsyncIterable[Any]) -> None:
        try:
            async for item in items:
                await self._queue.put(item)
        except Exception as error:  # noqa: BLE001 - user code; told by ``failure``
            self.raised = error
        await self._queue.put(self._end)

    async def _take(self, limit: int) -> list[Any]:
        found = [await self._queue.get()]
        while len(found) < limit and not self._queue.empty():
            found.append(self._queue.get_nowait())
        if found[-1] is self._end:
            self.exhausted = True
            found.pop()
        return found

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class _ThreadSource(Source):
    """A plain iterable, read in one thread: its files or network must not hold the event loop up."""

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__()
        self._items = iter(items)
        self._loop = asyncio.get_running_loop()
        self._wanted: queue.SimpleQueue[tuple[int, asyncio.Future[list[Any]]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, args=(self._items,), name="treadle-source", daemon=True).start()

    async def _take(self, limit: int) -> list[Any]:
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._wanted.put((limit, future))
        return await future

    def _serve(self, items: Iterator[Any]) -> None:
        while (wanted := self._wanted.get()) is not None:
            limit, future = wanted
            found: list[Any] = []
            until = time.monotonic() + _PATIENCE
            try:
                while len(found) < limit and (not found or time.monotonic() < until):
                    found.append(next(items))
            except StopIteration:
                self.exhausted = True
            except BaseException as error:  # noqa: BLE001 - user code; told by ``failure``
                self.exhausted, self.raised = True, error
            try:
                self._loop.call_soon_threadsafe(_answer, future, found)
            except RuntimeError:
                return  # The loop is closed: nobody reads any more.

    async def close(self) -> None:
        self._wanted.put(None)


def _answer(future: asyncio.Future[list[Any]], found: list[Any]) -> None:
    if not future.done():
        future.set_result(found)
