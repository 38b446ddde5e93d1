"""Which items of the store of this process are due."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from itertools import chain

from treadle.state import ItemState, Rest
from treadle.store import Claimed
from treadle.stores.memory_record import Record

_Turn = tuple[int, int, int, str]
"""-priority, time, key and id of an item that is due then."""


class _Turns:
    """Turns by their order. Most come in it, and stand in a line; for a heap every one of them would be compared with many."""

    def __init__(self) -> None:
        self._line: deque[_Turn] = deque()
        self._others: list[_Turn] = []

    def __iter__(self) -> Iterator[_Turn]:
        return chain(self._line, self._others)

    def put(self, turn: _Turn) -> None:
        if not self._line or self._line[-1] < turn:
            self._line.append(turn)
        else:
            heappush(self._others, turn)

    def take(self) -> _Turn | None:
        """The first of them, if there is any."""
        line, others = self._line, self._others
        if others and (not line or others[0] < line[0]):
            return heappop(others)
        return line.popleft() if line else None


class Claims:
    """The order in which items are claimed: by priority, then by how long they wait. What is stale is dropped when its turn comes."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self._records = records
        self._turns = _Turns()
        self._expiries: list[tuple[int, str]] = []
        """A heap of time and id."""

    def wake(self, record: Record, wake: int) -> None:
        """The item is due then."""
        record.wake = wake
        self._turns.put((-record.priority, wake, record.key, record.id))

    def rest(self, record: Record, rest: Rest) -> None:
        """Nobody moves the item any more; it is due again as its rest says."""
        record.phase, wake, record.priority, expiry = rest
        record.wake, record.expiry = wake, expiry
        if wake is not None:
            self._turns.put((-record.priority, wake, record.key, record.id))
        if expiry is not None:
            heappush(self._expiries, (expiry, record.id))

    def take(self, record: Record, worker: int) -> ItemState:
        """The item is this worker's from now on."""
        record.worker, record.wake = worker, None
        record.fence += 1
        return record.copy()

    def take_due(self, worker: int, limit: int, now: int) -> Claimed:
        """Up to so many items that are due are this worker's from now on."""
        while self._expiries and self._expiries[0][0] <= now:
            expiry, item_id = heappop(self._expiries)
            record = self._records.get(item_id)
            if record is not None and record.expiry == expiry and record.worker is None:
                self.wake(record, expiry)
        turns, records = self._turns, self._records
        taken: list[ItemState] = []
        later: list[_Turn] = []
        while len(taken) < limit and (turn := turns.take()) is not None:
            record = records.get(turn[3])
            if record is None or record.worker is not None or record.wake != turn[1]:
                continue
            if turn[1] > now:
                later.append(turn)
            else:
                taken.append(self.take(record, worker))
        for turn in later:
            turns.put(turn)
        return Claimed(taken, min((turn[1] for turn in turns), default=None) if len(taken) < limit else now)
