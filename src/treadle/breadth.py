"""How many items move at once: as many as was asked for, and fewer while the event loop has no time for more."""

from __future__ import annotations

from math import inf

ENOUGH = 400
"""Items that keep an event loop busy where their stages take no time. Of 1,000, each finds that the others have taken its place in the
processor's caches since its last stage: that costs a sixth of the throughput (``make bench``, W1)."""
_LOOK = 0.05
"""Seconds between two looks."""
_BUSY, _IDLE = 0.75, 0.6
"""Shares of the time for which the loop's thread was at work. Waiting for a slow disk or for the interpreter lock is not work: more items help there."""


class Breadth:
    """Halved, down to ``enough``, at each look at which the loop was busy; whole again as soon as it is not."""

    def __init__(self, most: int, enough: int = ENOUGH) -> None:
        self.most: int = most
        """How many were asked for."""
        self._enough = min(most, enough)
        self._looked: tuple[float, float] = (-inf, 0.0)
        self.now: int = most
        """How many items may move."""

    def look(self, at: float, worked: float) -> None:
        """It is ``at``, in seconds, and the loop's thread has been at work for ``worked`` of them."""
        before_at, before_worked = self._looked
        if at - before_at < _LOOK:
            return
        self._looked = at, worked
        share = (worked - before_worked) / (at - before_at)
        if share > _BUSY:
            self.now = max(self.now // 2, self._enough)
        elif share < _IDLE:
            self.now = self.most
