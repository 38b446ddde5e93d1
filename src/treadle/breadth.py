"""How many items move at once: as many as was asked for, and on a busy event loop no more than it has work for."""

from __future__ import annotations

from math import inf

ENOUGH = 400
"""Items between two stages that keep an event loop busy. Of 1,000, each finds that the others have taken its place in the processor's caches
since its last stage: that costs a sixth of the throughput (``make bench``, W1). Items whose stages wait for something are in nobody's way."""
_LOOK = 0.05
"""Seconds between two looks."""
_BUSY = 0.75
"""Share of the time for which the loop's thread is at work, beyond which it is busy. Waiting for a slow disk is not work: more items help there,
since more of them share a transaction."""


class Bodies:
    """How many attempts are in user code now."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now: int = 0


class Breadth:
    """Says how many more items may begin to move: up to ``most``, of which on a busy loop no more than ``enough`` are between their stages."""

    def __init__(self, most: int, bodies: Bodies, enough: int = ENOUGH) -> None:
        self.most: int = most
        self._bodies = bodies
        self._enough = min(most, enough)
        self._is_busy = False
        self._looked: tuple[float, float] = (-inf, 0.0)

    def look(self, at: float, worked: float) -> None:
        """It is ``at``, in seconds, and the loop's thread has been at work for ``worked`` of them."""
        before_at, before_worked = self._looked
        if at - before_at >= _LOOK:
            self._is_busy = worked - before_worked > _BUSY * (at - before_at)
            self._looked = at, worked

    @property
    def between(self) -> int:
        """How many items may be between their stages at once."""
        return self._enough if self._is_busy else self.most

    def room(self, moving: int) -> int:
        """How many more items may move beside those that do; none, if it is negative."""
        room = self.most - moving
        return min(room, self._enough - moving + self._bodies.now) if self._is_busy else room
