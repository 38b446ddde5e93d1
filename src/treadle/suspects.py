"""Items that were in flight when a worker died run apart from all others: a few at a time, then alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from treadle import decide
from treadle.state import ItemState

FEW = 5
"""How many that were in flight once run together; those that were twice run alone, so that a third time tells which it was."""


ALONE = 1
"""How many units of such an item run at once: of parallel stages too only one."""


class Suspects:
    """Which of them may run now.

    One that takes its worker down again is counted with at most ``FEW - 1`` others, and the third time with nobody:
    so whatever is failed for it did it, and nothing else is.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, deque[ItemState]] = {1: deque(), 2: deque()}
        self._running: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._running) or any(self._waiting.values())

    def put(self, state: ItemState) -> None:
        """It waits for its turn."""
        self._waiting[_level(state)].append(state)

    def ended(self, items: Sequence[str]) -> None:
        """These run no more."""
        if self._running:
            for item_id in items:
                self._running.pop(item_id, None)

    def give_up(self) -> list[ItemState]:
        """Those whose turn has not come, which do not wait any more."""
        waiting = [state for states in self._waiting.values() for state in states]
        for states in self._waiting.values():
            states.clear()
        return waiting

    def clear(self) -> None:
        """They are somebody else's now."""
        self._running.clear()
        self.give_up()

    def next(self, moving: int) -> list[tuple[ItemState, int]]:
        """Items to start now while ``moving`` items move, each with how many of its subtasks may run at once; where ``ALONE``, stages too."""
        if moving > len(self._running) or 2 in self._running.values():  # noqa: PLR2004 - one that must be alone
            return []
        few, alone = self._waiting[1], self._waiting[2]
        chosen: list[tuple[ItemState, int]] = []
        while few and len(self._running) < FEW:
            chosen.append((self._take(few, 1), FEW))
        if not self._running and alone:
            chosen.append((self._take(alone, 2), ALONE))
        return chosen

    def _take(self, waiting: deque[ItemState], level: int) -> ItemState:
        state = waiting.popleft()
        self._running[state.id] = level
        return state


def _level(state: ItemState) -> int:
    return min(max(decide.suspicion(state), 1), 2)
