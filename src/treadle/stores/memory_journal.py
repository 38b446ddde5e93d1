"""The journal of a store in memory, in columns.

Most of what such a store keeps are events, and Python's collector looks at every tuple among them again and again: kept
as one tuple each they cost a pipeline in memory a tenth of its speed (``make bench``, W2).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import repeat
from typing import NamedTuple

from treadle.state import EventRow


class Told(NamedTuple):
    """One event with its place in the journal."""

    cursor: int
    item_id: str
    at: int
    row: EventRow


class MemoryJournal:
    """Events by growing cursors; what is removed leaves a gap."""

    def __init__(self) -> None:
        self._last = 0
        """The last cursor that was given."""
        self._kept = array("q")
        """The cursors of what was kept when events were pruned last; those since then follow each other."""
        self._items: list[str] = []
        self._times = array("q")
        self._rows: list[EventRow] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Told:
        kept = place < len(self._kept)
        cursor = self._kept[place] if kept else self._last + 1 - len(self) + place
        return Told(cursor, self._items[place], self._times[place], self._rows[place])

    def __iter__(self) -> Iterator[Told]:
        return map(self.__getitem__, range(len(self)))

    def tell(self, item_id: str, at: int, rows: Sequence[EventRow]) -> None:
        """Add what happened to an item; ``rows`` may not change any more."""
        for row in rows:
            self._last += 1
            self._items.append(item_id)
            self._times.append(at)
            self._rows.append(row)

    def tell_alike(self, items: Sequence[str], at: int, rows: Sequence[EventRow]) -> None:
        """``tell`` the same of each of these items: one event of all of them, then the next."""
        count = len(items)
        for row in rows:
            self._items += items
            self._times.extend(array("q", [at]) * count)
            self._rows += repeat(row, count)
            self._last += count

    def place_after(self, cursor: int) -> int:
        """Where the first event behind the cursor is."""
        last_kept = self._last - (len(self) - len(self._kept))
        return bisect_right(self._kept, cursor) if cursor <= last_kept else min(len(self._kept) + cursor - last_kept, len(self))

    def places(self, begin: int, item_id: str | None) -> Iterator[int]:
        """Where events are from there on, of that item or of all."""
        if item_id is None:
            yield from range(begin, len(self))
            return
        with suppress(ValueError):
            while True:
                begin = self._items.index(item_id, begin) + 1
                yield begin - 1

    def newest(self, count: int) -> Iterator[Told]:
        """The last events, the newest first."""
        for place in range(len(self) - 1, max(len(self) - count, 0) - 1, -1):
            yield self[place]

    def rewrite(self, change: Callable[[Told], EventRow | None]) -> None:
        """Every event becomes what ``change`` makes of it; without one it is no more."""
        told = [(event, row) for event in self if (row := change(event)) is not None]
        self._kept = array("q", (event.cursor for event, _ in told))
        self._items = [event.item_id for event, _ in told]
        self._times = array("q", (event.at for event, _ in told))
        self._rows = [row for _, row in told]
