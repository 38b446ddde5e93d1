"""How many items stand how in the store of this process, without going through all of them at every look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from treadle.state import ItemPhase, StageState
from treadle.store import Counts
from treadle.stores.memory_record import Record, Standing


class Census:
    """Counts items by how they stand; only those that changed since the last look are looked at again."""

    def __init__(self) -> None:
        self.changed: set[Record] = set()
        """Items that may stand differently now, or are new; all of them when the stages are others."""
        self._number: Counter[Standing] = Counter()
        self._same: dict[Standing, Standing] = {}
        """One of those that are equal, so that a million items do not keep a million tuples."""

    def remove(self, record: Record) -> None:
        """The item is no more."""
        self.changed.discard(record)
        if record.counted is not None:
            self._number[record.counted] -= 1

    def counts(self, stages: Iterable[str]) -> Counts:
        """By phase and by stage and state, of the items whose content is known."""
        by_stage: dict[str, Counter[StageState]] = {name: Counter() for name in stages}
        number, same = self._number, self._same
        for record in self.changed:
            if record.counted is not None:
                number[record.counted] -= 1
            if record.payload is not None:
                rows = record.stages
                states = [rows[name].state if name in rows else StageState.PENDING for name in by_stage]
                standing = record.phase, tuple(states)
                record.counted = standing = same.setdefault(standing, standing)
                number[standing] += 1
        self.changed.clear()
        self._number = +number  # those that are left
        phases: Counter[ItemPhase] = Counter()
        for (phase, standings), count in self._number.items():
            phases[phase] += count
            for counter, state in zip(by_stage.values(), standings, strict=True):
                counter[state] += count
        return Counts(phases, by_stage)
