"""What happens, told to open pages as it happens: one reader of the journal, however many listen."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta

from treadle.errors import StoreError
from treadle.event import WorkflowEvent
from treadle.store import EventFilter, StateStore

log: logging.Logger = logging.getLogger("treadle.web")

_LOOK, _BUSY_LOOK = 0.2, 0.4
"""Seconds between two looks at the journal, so that a change made elsewhere shows within one; the other while much happens."""
_PAGE = 500
_MOST_NAMED = 100
_MOST_LISTENERS = 1000
_EVERYTHING = EventFilter()


class Change:
    """What has changed since somebody was last told; past a hundred items it only says that there is more."""

    def __init__(self) -> None:
        self.cursor: int = 0
        self.more: bool = False
        self._items: dict[str, None] = {}
        self._stages: set[str] = set()
        self._kinds: set[str] = set()

    def __bool__(self) -> bool:
        return self.more or bool(self._kinds)

    def add(self, events: Iterable[WorkflowEvent]) -> None:
        """These happened too."""
        for event in events:
            self.cursor = max(self.cursor, event.cursor)
            self._kinds.add(event.kind)
            if event.stage is not None:
                self._stages.add(event.stage)
            if len(self._items) < _MOST_NAMED:
                self._items[event.item_id] = None
            elif event.item_id not in self._items:
                self.more = True

    def text(self) -> str:
        """As a page hears it."""
        told = {"items": [*self._items], "stages": sorted(self._stages), "kinds": sorted(self._kinds), "more": self.more}
        return f"event: changed\nid: {self.cursor}\ndata: {json.dumps(told)}\n\n"


class Listener:
    """A page that listens: what it has not been told yet, and whether there is any."""

    def __init__(self) -> None:
        self.pending: Change = Change()
        self.news: asyncio.Event = asyncio.Event()

    def tell(self, events: Iterable[WorkflowEvent], cursor: int, *, more: bool) -> None:
        """The page is told of these with its next message."""
        self.pending.add(events)
        self.pending.more |= more
        self.pending.cursor = max(self.pending.cursor, cursor)
        self.news.set()

    def take(self) -> Change:
        """What it is told now; from here on anew."""
        change, self.pending = self.pending, Change()
        self.news.clear()
        return change


class Live:
    """Reads the journal's end while somebody listens, and tells all who do.

    Args:
        on_change: called before they are told, so that what they ask for then is what has become of it.
    """

    def __init__(self, store: StateStore, on_change: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._on_change = on_change
        self._listeners: set[Listener] = set()
        self._reader: asyncio.Task[None] | None = None
        self._cursor = 0
        self.closed: bool = False

    @property
    def is_full(self) -> bool:
        """Whether no more can listen."""
        return len(self._listeners) >= _MOST_LISTENERS

    async def listen(self, after: int | None, age: float) -> Listener:
        """From now on this listener is told; at once, if something happened that it cannot know.

        Args:
            after: the cursor it was last told of, if it was told of any.
            age: else, how many seconds ago its page was made.
        """
        newest = (await self._store.journal(_EVERYTHING, None, 1, newest_first=True)).events
        cursor = newest[0].cursor if newest else 0
        since = datetime.now(UTC) - timedelta(seconds=age)
        is_behind = cursor != after if after is not None else bool(newest and newest[0].at >= since)
        listener = Listener()
        if self._reader is None or self._reader.done():
            self._cursor = cursor
            self._reader = asyncio.create_task(self._read())
        self._listeners.add(listener)
        listener.tell((), cursor, more=is_behind)
        return listener

    async def leave(self, listener: Listener) -> None:
        """It is told no more; when the last one goes, nothing is read."""
        self._listeners.discard(listener)
        if not self._listeners and self._reader is not None:
            reader, self._reader = self._reader, None
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    def close(self) -> None:
        """Every stream ends, so that the server can."""
        self.closed = True
        for listener in self._listeners:
            listener.news.set()

    async def _read(self) -> None:
        is_failing = is_busy = False
        while True:
            await asyncio.sleep(_BUSY_LOOK if is_busy else _LOOK)
            try:
                is_busy = await self._look()
            except StoreError as error:
                # Pages show what they have; whoever asks for more is told by the answer.
                if not is_failing:
                    log.warning("the journal cannot be read for open pages: %s", error)
                is_failing = True
            else:
                is_failing = False

    async def _look(self) -> bool:
        """Tell what happened since the last look; whether anything did."""
        events = (await self._store.journal(_EVERYTHING, self._cursor, _PAGE)).events
        if not events:
            return False
        is_full = len(events) == _PAGE
        if is_full:
            # More than a page has to know one by one: what came after is only said to be more.
            events = [*events, *(await self._store.journal(_EVERYTHING, None, 1, newest_first=True)).events]
        self._cursor = events[-1].cursor
        self._on_change()
        for listener in self._listeners:
            listener.tell(events, self._cursor, more=is_full)
        return True


async def messages(live: Live, listener: Listener, beat: float) -> AsyncIterator[str]:
    """What the listener hears, and an empty line of talk every ``beat`` seconds, until the server ends."""
    try:
        # The first message tells the page where the journal ends.
        first = listener.take()
        yield first.text() if first else f"event: here\nid: {first.cursor}\ndata: {{}}\n\n"
        while not live.closed:
            try:
                async with asyncio.timeout(beat):
                    await listener.news.wait()
            except TimeoutError:
                yield ": here\n\n"
                continue
            if change := listener.take():
                yield change.text()
    finally:
        await live.leave(listener)
