"""Items that rest are given back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from treadle.state import Alike, Change, ItemPhase, ItemState, Transition
from treadle.stores.sqlite_claims import Claims
from treadle.stores.sqlite_rows import PHASE_CODE
from treadle.stores.sqlite_tally import Tally

# What happened while the item was held is looked at as soon as it is given back.
_PUT_REST = "UPDATE items SET phase = ?, priority = ?, expiry = ?, wake = CASE WHEN news <> ? THEN ? ELSE ? END, worker = NULL, lost = NULL WHERE id = ?"
_PUT_ENDED = (
    "UPDATE items SET phase = ?, priority = 0, wake = CASE WHEN news <> ? THEN ? END, worker = NULL, lost = NULL"
    " WHERE id IN (SELECT value FROM json_each(?))"
)


def write_rests(con: sqlite3.Connection, claims: Claims, changes: Sequence[Change]) -> None:
    """Give back the items of the changes that let them rest."""
    rests = _Rests()
    if type(changes) is Alike:
        rests.take(changes.states, changes.change)
    else:
        for state, change in changes:
            if change.rest is not None:
                rests.take((state,), change)
    rests.write(con, claims)


class _Rests:
    """Most items rest for good, and those are given back in one statement."""

    def __init__(self) -> None:
        self._ended: dict[tuple[ItemPhase, int], list[int]] = {}
        """The numbers of items, by their phases and how much was known of what others did to them."""
        self._ended_at = 0
        self._others: list[tuple[Any, ...]] = []
        self._came: list[tuple[ItemPhase, ItemPhase]] = []

    def take(self, states: Sequence[ItemState], change: Transition) -> None:
        rest = change.rest
        if rest is None:
            return
        ends = rest.wake is None and rest.expiry is None and rest.priority == 0
        for state in states:
            if state.payload is not None:
                self._came.append((state.phase, rest.phase))
            if ends:
                self._ended.setdefault((rest.phase, state.news), []).append(state.key)
            else:
                code = PHASE_CODE[rest.phase]
                self._others.append((code, rest.priority, rest.expiry, state.news, change.at, rest.wake, state.key))
        if ends:
            self._ended_at = change.at

    def write(self, con: sqlite3.Connection, claims: Claims) -> None:
        for (phase, news), keys in self._ended.items():
            claims.give_back(keys)
            con.execute(_PUT_ENDED, (PHASE_CODE[phase], news, self._ended_at, json.dumps(keys)))
        claims.give_back(row[-1] for row in self._others)
        con.executemany(_PUT_REST, self._others)
        tally = Tally()
        tally.came(self._came)
        tally.write(con)
