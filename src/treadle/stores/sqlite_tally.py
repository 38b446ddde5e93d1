"""How many items stand where, kept up to date: to count the rows of a large store takes seconds."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable

from treadle.state import ItemPhase, StageState
from treadle.stores.sqlite_many import Many
from treadle.stores.sqlite_rows import CODE_OF, PHASE_CODE

_PUT_COUNT = Many("INSERT INTO counts", "(?,?,?)", " ON CONFLICT DO UPDATE SET n = n + excluded.n")

Moved = tuple[int, StageState | None, StageState]
"""A stage's number, how it stood for an item as stored, and how it stands now."""


class Tally:
    """What a transaction changes in the table ``counts``."""

    def __init__(self) -> None:
        self._changes: dict[tuple[int, int], int] = {}

    def add(self, stage: int, state: int, n: int) -> None:
        """So many more (or fewer) have the stage in this state."""
        self._changes[stage, state] = self._changes.get((stage, state), 0) + n

    def moved(self, stages: Iterable[Moved]) -> None:
        """Stages of items came from one state to another."""
        for (stage, before, now), n in Counter(stages).items():
            self.add(stage, CODE_OF[now], n)
            if before is not None:
                self.add(stage, CODE_OF[before], -n)

    def came(self, items: Iterable[tuple[ItemPhase, ItemPhase]]) -> None:
        """Items whose content is known came from one phase to another."""
        for (before, now), n in Counter(items).items():
            self.add(0, PHASE_CODE[before], -n)
            self.add(0, PHASE_CODE[now], n)

    def write(self, con: sqlite3.Connection) -> None:
        """Bring the table up to date."""
        _PUT_COUNT.write(con, [(stage, state, n) for (stage, state), n in self._changes.items() if n])
