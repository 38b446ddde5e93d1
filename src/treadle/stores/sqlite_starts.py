"""Starts of stages that wait a moment before they are written.

A stage that ends at once is written once, as it ended, and its start is told with its end; only what runs for longer is
first written as running. That spares a quick pipeline a fifth of its work (``make bench``, W1).
Should the process die before, the item itself shows what was in flight: a stage that was never tried, of an item whose
worker is gone and which waits for nothing (``decide.presume``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from treadle.state import Change
from treadle.stores.undo import Undo

PATIENCE = 0.1
"""Seconds: after so long a start is written at the next occasion, which is as long away at most."""

Start = Change
"""An item and the change with which the first attempt at a stage has begun; its last row and its last event say so, and are not
stored yet."""


class Starts:
    """At most one an item. What a transaction does here is undone with it."""

    def __init__(self, undo: Undo) -> None:
        self.undo: Undo = undo
        self._held: dict[int, Start] = {}
        self._seen: dict[int, Start] = {}
        """What was there when somebody looked last."""

    def __bool__(self) -> bool:
        return bool(self._held)

    def of(self, key: int) -> Start | None:
        """The start that waits for that item."""
        return self._held.get(key)

    def of_all(self, keys: Sequence[int]) -> list[Start | None]:
        """``of`` each of these."""
        return list(map(self._held.get, keys))

    def all(self) -> list[Start]:
        """Everything that waits."""
        return list(self._held.values())

    def patient(self) -> list[Start]:
        """What has waited since this was asked last."""
        before, self._seen = self._seen, dict(self._held)
        return [start for key, start in self._seen.items() if before.get(key) is start]

    def hold(self, start: Start) -> None:
        """Let it wait, in the place of the item's last one."""
        self.undo.put(self._held, start[0].key, start)

    def hold_all(self, starts: Mapping[int, Start]) -> None:
        """``hold`` all these, by the numbers of their items."""
        self.undo.put_all(self._held, starts)

    def drop(self, key: int) -> None:
        """That item's start waits no more."""
        self.undo.drop(self._held, key)

    def drop_all(self, keys: Sequence[int]) -> None:
        """Nor do those of all these."""
        self.undo.drop_all(self._held, keys)
