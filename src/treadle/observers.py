"""Who is told of every durable change of one engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from treadle.state import Alike, ItemState, StageRow, StageState, SubtaskRow, Transition

Observer = Callable[[ItemState, Transition], None]
"""Told of every transition, when it is durable."""

_PENDING, _RUNNING = StageState.PENDING, StageState.RUNNING


class Observers:
    """Tells observers what has changed, and followers that something has; counts the attempts that have ended."""

    def __init__(self) -> None:
        self.attempts: int = 0
        self._observers: list[Observer] = []
        self._followers: set[asyncio.Event] = set()

    def add(self, observer: Observer) -> None:
        """Tell this one too."""
        self._observers.append(observer)

    def follow(self, news: asyncio.Event) -> None:
        """Set this with the next news, once."""
        self._followers.add(news)

    def unfollow(self, news: asyncio.Event) -> None:
        """Nobody waits for this any more."""
        self._followers.discard(news)

    def changed(self, state: ItemState, change: Transition) -> None:
        """The change is durable."""
        for row in change.stages:
            now = row.state
            if now is not _PENDING and now is not _RUNNING:
                self.attempts += 1
        if change.subtasks:
            self.attempts += _ended(change.subtasks)
        for observer in self._observers:
            observer(state, change)
        if self._followers:
            self.tell()

    def changed_alike(self, changes: Alike) -> None:
        """All of these are durable: said once, unless somebody wants to know of each."""
        if self._observers:
            for state, change in changes:
                self.changed(state, change)
            return
        self.attempts += _ended(changes.change.stages) * len(changes)
        if self._followers:
            self.tell()

    def tell(self) -> None:
        """There is more in the journal."""
        for news in self._followers:
            news.set()
        self._followers.clear()


def _ended(rows: Sequence[StageRow] | Sequence[SubtaskRow]) -> int:
    return sum(row.state is not _PENDING and row.state is not _RUNNING for row in rows)
