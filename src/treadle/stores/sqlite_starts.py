"""Starts of stages that wait a moment before they are written.

A stage that ends at once is written once, as it ended, and its start is told with its end; only what runs for longer is
first written as running. That spares a quick pipeline a fifth of its work (``make bench``, W1).
Should the process die before, the item itself shows what was in flight: a stage that was never tried, of an item whose
worker is gone and which waits for nothing (``decide.presume``).
"""

from __future__ import annotations

from typing import NamedTuple

from treadle.state import EventRow, ItemState, StageRow, StageState, Transition
from treadle.stores.undo import Undo

_RUNNING = StageState.RUNNING

PATIENCE = 0.1
"""Seconds: after so long a start is written at the next occasion, which is as long away at most."""


class Start(NamedTuple):
    """The first attempt at a stage has begun; ``row`` and ``event`` say so, and are not stored yet."""

    state: ItemState
    row: StageRow
    event: EventRow


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

    def all(self) -> list[Start]:
        """Everything that waits."""
        return list(self._held.values())

    def patient(self) -> list[Start]:
        """What has waited since this was asked last."""
        before, self._seen = self._seen, dict(self._held)
        return [start for key, start in self._seen.items() if before.get(key) is start]

    def hold(self, start: Start) -> None:
        """Let it wait."""
        self.undo.put(self._held, start.state.key, start)

    def drop(self, start: Start) -> None:
        """It waits no more."""
        self.undo.drop(self._held, start.state.key)


def start_in(state: ItemState, change: Transition) -> Start | None:
    """The start in a change that may wait: the only one, and of a stage that nothing is stored of."""
    starts = change.starts
    if len(starts) != 1 or starts[0][1] is not None:
        return None
    row, event = change.stages[-1], change.events[-1]
    if row.state is not _RUNNING or row.attempt != 1 or event.attempt != 1 or row.fan_out or row.stage in state.stored:
        return None
    return Start(state, row, event) if row.stage == event.stage == starts[0][0] else None
