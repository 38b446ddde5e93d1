"""Who waits for one of a few places: the first in order goes first."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable
from typing import NamedTuple

Order = tuple[int, int]
"""Whoever is less goes first: the negative priority, then the item's place among all that came."""


class _Waiter(NamedTuple):
    order: Order
    number: int
    """Among equals, who came first."""
    turn: asyncio.Future[bool]
    may_leave: Callable[[], bool]


def _stays() -> bool:
    return False


class Line:
    """So many places, and those who wait for one; at most ``room`` of them, where the others may leave."""

    def __init__(self, places: int, room: int | None = None) -> None:
        self._free = places
        self.room: int | None = room
        self._waiting: list[_Waiter] = []
        self._came = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_free(self) -> bool:
        """Whether whoever comes now need not wait."""
        return self._free > 0 and not self._waiting

    async def enter(self, order: Order, may_leave: Callable[[], bool] = _stays) -> bool:
        """Whether a place was given; ``False``: the line is too long, and this one is the last that may leave it."""
        if self.is_free:
            self._free -= 1
            return True
        self._came += 1
        waiter = _Waiter(order, self._came, asyncio.get_running_loop().create_future(), may_leave)
        if self.room is not None and len(self._waiting) >= self.room and not self._gives_way(waiter):
            return False
        # The number is never the same, so that nothing else is ever compared.
        insort(self._waiting, waiter)
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif not waiter.turn.cancelled() and waiter.turn.result():
                self.leave()
            raise

    def _gives_way(self, fresh: _Waiter) -> bool:
        """Whether there is room for this one: somebody else leaves for it, or it cannot leave itself."""
        for place in range(len(self._waiting) - 1, -1, -1):
            last = self._waiting[place]
            if last < fresh:
                break
            if last.may_leave():
                del self._waiting[place]
                last.turn.set_result(False)
                return True
        return not fresh.may_leave()

    def leave(self) -> None:
        """A place is free again: it goes to the first in line."""
        while self._waiting:
            waiter = self._waiting.pop(0)
            if not waiter.turn.done():
                waiter.turn.set_result(True)
                return
        self._free += 1
