"""Which items of the store of this process are due."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
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

    def put(self, turns: list[_Turn]) -> None:
        turns.sort()
        if turns and (not self._line or self._line[-1] < turns[0]):
            self._line.extend(turns)
        else:
            for turn in turns:
                heappush(self._others, turn)

    def taken(self) -> Iterator[_Turn]:
        """The first of them, one after the other, until there are none or nobody asks for more."""
        line, others = self._line, self._others
        while line or others:
            yield heappop(others) if others and (not line or others[0] < line[0]) else line.popleft()


class Claims:
    """The order in which items are claimed: by priority, then by how long they wait. What is stale is dropped when its turn comes."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self._records = records
        self._turns = _Turns()
        self._expiries: list[tuple[int, str]] = []
        """A heap of time and id."""
        self._revised: dict[Record, None] = {}
        """Items that somebody holds and others have revised, before or since they were claimed."""

    def wake(self, record: Record, wake: int) -> None:
        """The item, which nobody holds, is due then."""
        self._revised.pop(record, None)
        record.wake = wake
        self._turns.put([(-record.priority, wake, record.key, record.id)])

    def rest(self, records: Sequence[Record], rest: Rest) -> None:
        """Nobody moves these items any more; they are due again as their rest says."""
        phase, wake, priority, expiry = rest
        for record in records:
            record.phase, record.wake, record.priority, record.expiry = phase, wake, priority, expiry
        if self._revised:
            for record in records:
                self._revised.pop(record, None)
        if wake is not None:
            self._turns.put([(-priority, wake, record.key, record.id) for record in records])
        if expiry is not None:
            for record in records:
                heappush(self._expiries, (expiry, record.id))

    def take(self, record: Record, worker: int) -> ItemState:
        """The item is this worker's from now on."""
        record.worker, record.wake = worker, None
        record.fence += 1
        if record.news:
            self._revised[record] = None
        return record.copy()

    def revise(self, record: Record, *, revokes: bool) -> None:
        """Somebody other than its holder has changed the item, and has taken it away if the change ``revokes``."""
        record.news += 1
        if revokes:
            record.worker = None
            record.fence += 1
        if record.worker is None:
            self._revised.pop(record, None)
        else:
            self._revised[record] = None

    def revised(self, worker: int) -> dict[str, int]:
        """How often others have changed items that this worker holds, by their ids; what nobody else has changed is not among them."""
        return {record.id: record.news for record in self._revised if record.worker == worker}

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
        for turn in turns.taken() if limit > 0 else ():
            _, wake, _, item_id = turn
            record = records.get(item_id)
            if record is None or record.worker is not None or record.wake != wake:
                continue
            if wake > now:
                later.append(turn)
                continue
            taken.append(self.take(record, worker))
            if len(taken) == limit:
                break
        turns.put(later)
        return Claimed(taken, min((turn[1] for turn in turns), default=None) if len(taken) < limit else now)
