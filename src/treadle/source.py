"""Items from any iterable, read no faster than they are wanted."""

from __future__ import annotations

import asyncio
import itertools
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Any

from treadle.errors import SourceFailed
from treadle.wording import counted

_PATIENCE = 0.05
"""Seconds that a slow iterable may hold back the items it has already given."""


def open_source(items: Iterable[Any] | AsyncIterable[Any]) -> Source:
    """The right way to read ``items``; raises ``TypeError`` if they cannot be read one by one."""
    if isinstance(items, AsyncIterable):
        return _AsyncSource(items)
    if isinstance(items, Sequence | set | frozenset):
        return _ReadySource(items)
    if not hasattr(items, "__iter__") and not hasattr(items, "__getitem__"):
        raise TypeError(f"items are read one by one from something iterable, which {type(items).__name__} is not")
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
        stored = f"{counted(self._count, 'item')}, which {'is' if self._count == 1 else 'are'} stored"
        error = SourceFailed(
            f"the source of items raised {type(self.raised).__name__}: {self.raised} (after {stored})."
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
        except BaseException as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
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
    """A plain iterable, read in one thread: its files or network must not hold the event loop up.

    The thread reads as many items as were asked for and no more. What it has is given away when the iterable
    makes it wait, so that a slow one does not hold back what it has already given.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__()
        self._items = items
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._wanted = 0
        self._buffer: deque[Any] = deque()
        """What was read and not given away yet; filled at one end and emptied at the other, which takes no lock."""
        self._ended = False
        self._closed = False
        self._some, self._enough = asyncio.Event(), asyncio.Event()
        threading.Thread(target=self._serve, name="treadle-source", daemon=True).start()

    async def _take(self, limit: int) -> list[Any]:
        self._some.clear()
        self._enough.clear()
        with self._changed:
            self._wanted = limit
            ready = bool(self._buffer) or self._ended
            self._changed.notify()
        if not ready:
            await self._some.wait()
        if not self._ended and len(self._buffer) < limit:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._enough.wait()
            except TimeoutError:
                pass  # It is slow: what there is goes on.
        self._wanted = 0
        ended = self._ended
        found = [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
        self.exhausted = ended and not self._buffer
        return found

    def _serve(self) -> None:
        try:
            if self._is_wanted():
                for item in self._items:
                    self._buffer.append(item)
                    count = len(self._buffer)
                    if count == 1:
                        self._tell(self._some)
                    if count >= self._wanted:
                        self._tell(self._enough)
                        if not self._is_wanted():
                            break
        except BaseException as error:  # noqa: BLE001 - user code; told by ``failure``
            self.raised = error
        self._ended = True
        self._tell(self._some)
        self._tell(self._enough)

    def _is_wanted(self) -> bool:
        """Wait until another item is wanted; ``False`` if none ever will be."""
        with self._changed:
            while len(self._buffer) >= self._wanted and not self._closed:
                self._changed.wait()
            return not self._closed

    def _tell(self, event: asyncio.Event) -> None:
        try:
            self._loop.call_soon_threadsafe(event.set)
        except RuntimeError:  # The loop is closed: nobody reads any more.
            self._closed, self._wanted = True, 0

    async def close(self) -> None:
        with self._changed:
            self._closed = True
            self._wanted = 0
            self._changed.notify()
