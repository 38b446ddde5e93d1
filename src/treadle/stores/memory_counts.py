"""How many items stand how in the store of this process, without going through all of them at every look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from treadle.state import ItemPhase, StageState
from treadle.store import Counts
from treadle.stores.memory_record import Group, Record

_PENDING = StageState.PENDING


class Census:
    """Counts items by how they stand; only those that changed since the last look are looked at again."""

    def __init__(self) -> None:
        self.changed: set[Record] = set()
        """Items that may stand differently now, or are new; all of them when the stages are others."""
        self._groups: dict[tuple[ItemPhase, tuple[StageState, ...]], Group] = {}

    def remove(self, record: Record) -> None:
        """The item is no more."""
        self.changed.discard(record)
        if record.group is not None:
            record.group.size -= 1

    def alike(self, records: Sequence[Record], stages: Collection[str]) -> None:
        """These items, whose content is known, stand as the first of them does, row by row: to count them now is to look at one."""
        if records:
            self.changed.difference_update(records)
            self._move(records, self._group(records[0], stages))

    def counts(self, stages: Collection[str]) -> Counts:
        """By phase and by stage and state, of the items whose content is known."""
        by_stage: dict[str, Counter[StageState]] = {name: Counter() for name in stages}
        for record in self.changed:
            self._move((record,), self._group(record, stages) if record.payload is not None else None)
        self.changed.clear()
        self._groups = {standing: group for standing, group in self._groups.items() if group.size}
        phases: Counter[ItemPhase] = Counter()
        for (phase, states), group in self._groups.items():
            phases[phase] += group.size
            for counter, state in zip(by_stage.values(), states, strict=True):
                counter[state] += group.size
        return Counts(phases, by_stage)

    def _group(self, record: Record, stages: Collection[str]) -> Group:
        rows = record.stages
        standing = record.phase, tuple([rows[name].state if name in rows else _PENDING for name in stages])
        if (group := self._groups.get(standing)) is None:
            group = self._groups[standing] = Group()
        return group

    @staticmethod
    def _move(records: Sequence[Record], group: Group | None) -> None:
        for record in records:
            if record.group is not None:
                record.group.size -= 1
            record.group = group
        if group is not None:
            group.size += len(records)
