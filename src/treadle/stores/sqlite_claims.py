"""Whether the claims under which changes were made still hold.

A claim is lost by a write of somebody else, or by an act in this process that takes it away. SQLite tells for next to nothing
whether anybody else has written since it was asked last, and acts are told apart: until one of both happens, claims that
were made here or found to hold are not looked up again. With ten items in flight that spares a transaction a thirtieth of its time
(``make bench``, W1).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

from treadle.state import Alike, Change, ItemState
from treadle.stores.sqlite_locks import changes_by_others
from treadle.stores.undo import Undo

_CLAIMED = "FROM items WHERE worker IS NOT NULL AND id IN (SELECT value FROM json_each(?))"
_FENCES = f"SELECT id, fence {_CLAIMED}"
_HELD = f"SELECT count(*), sum(fence) {_CLAIMED}"


class Claims:
    """The claims that hold. What a transaction has told of them is forgotten when anything of it is undone."""

    def __init__(self, undo: Undo) -> None:
        self._undo = undo
        self._known: dict[int, int] = {}
        """Fences by the numbers of their items."""
        self._seen: tuple[sqlite3.Connection, int, int] | None = None
        """What tells whether somebody else has written since, or something was undone."""

    def forget(self) -> None:
        """Something is about to be written that may take any of them away."""
        self._known.clear()

    def all_hold(self, con: sqlite3.Connection, changes: Sequence[Change]) -> bool:
        """Whether all items are different ones and every claim holds, as it almost always is; asked in a write transaction."""
        fences = _made_under(changes)
        if len(fences) < len(changes):
            return False
        self._look(con)
        if fences.items() <= self._known.items():
            return True
        # Said by two numbers: fences only grow, so their sum is what these claims were given, or larger.
        if con.execute(_HELD, (json.dumps(list(fences)),)).fetchone() != (len(fences), sum(fences.values())):
            return False
        self._known.update(fences)
        return True

    def _look(self, con: sqlite3.Connection) -> None:
        """Forget everything if anybody may have taken a claim away since this was asked last."""
        seen = (con, changes_by_others(con), self._undo.undone)
        if seen != self._seen:
            self._seen = seen
            self.forget()

    def take(self, con: sqlite3.Connection, states: Sequence[ItemState]) -> None:
        """These items are claimed by what is being written."""
        self._look(con)
        self._known.update([(state.key, state.fence) for state in states])

    def give_back(self, keys: Iterable[int]) -> None:
        """The claims of these items end with what is being written."""
        for key in keys:
            self._known.pop(key, None)


def _made_under(changes: Sequence[Change]) -> dict[int, int]:
    """Those under which the changes were made, by key."""
    if type(changes) is Alike:
        return {state.key: state.fence for state in changes.states}
    return {state.key: state.fence for state, _ in changes}


def fences_of(con: sqlite3.Connection, states: Sequence[ItemState]) -> dict[int, int]:
    """The fences of those that somebody holds, by key."""
    return dict(con.execute(_FENCES, (json.dumps([state.key for state in states]),)))
