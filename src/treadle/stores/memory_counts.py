"""How many items stand how in the store of this process, without going through all of them at every look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from treadle.state import ItemPhase, ItemState, StageState
from treadle.store import Counts

_Standing = tuple[ItemPhase, tuple[StageState, ...]]


class Census:
    """Counts items by how they stand; only those that changed since the last look are looked at again."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        """Ids of items that may stand differently now, or are new, or no more; all of them when the stages are others."""
        self._standing: dict[str, _Standing] = {}
        self._number: Counter[_Standing] = Counter()
        self._same: dict[_Standing, _Standing] = {}
        """One of those that are equal, so that a million items do not keep a million tuples."""

    def counts(self, stages: Iterable[str], state_of: Callable[[str], ItemState | None]) -> Counts:
        """By phase and by stage and state, of the items whose content is known."""
        by_stage: dict[str, Counter[StageState]] = {name: Counter() for name in stages}
        for item_id in self.changed:
            if (before := self._standing.pop(item_id, None)) is not None:
                self._number[before] -= 1
            state = state_of(item_id)
            if state is not None and state.payload is not None:
                now = _standing(state, by_stage)
                self._standing[item_id] = now = self._same.setdefault(now, now)
                self._number[now] += 1
        self.changed.clear()
        self._number = +self._number  # those that are left
        phases: Counter[ItemPhase] = Counter()
        for (phase, states), number in self._number.items():
            phases[phase] += number
            for counter, stage_state in zip(by_stage.values(), states, strict=True):
                counter[stage_state] += number
        return Counts(phases, by_stage)


def _standing(state: ItemState, stages: Iterable[str]) -> _Standing:
    rows = state.stages
    return state.phase, tuple([rows[name].state if name in rows else StageState.PENDING for name in stages])
