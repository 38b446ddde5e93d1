"""Slows down whoever guesses."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_PEERS = 10_000


class Throttle:
    """Lets each peer be wrong ``burst`` times in a row, and once every ``pause`` seconds after that."""

    def __init__(self, burst: int = 10, pause: float = 6.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._pause = pause
        self._clock = clock
        self._paid_until: OrderedDict[str, float] = OrderedDict()

    def wait(self, peer: str) -> float:
        """Seconds until the peer may try again; 0: now."""
        free_at = self._paid_until.get(peer, 0.0) - (self._burst - 1) * self._pause
        return max(0.0, free_at - self._clock())

    def failed(self, peer: str) -> None:
        """The peer was wrong."""
        now = self._clock()
        self._paid_until[peer] = max(self._paid_until.pop(peer, now), now) + self._pause
        while len(self._paid_until) > _MOST_PEERS:
            self._paid_until.popitem(last=False)
