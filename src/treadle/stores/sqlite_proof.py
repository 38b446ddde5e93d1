"""Whether a transaction took place whose COMMIT failed: an error there says nothing about that."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from uuid import uuid4

from treadle.clock import now_us
from treadle.event import EventKind
from treadle.state import Change
from treadle.stores.sqlite_events import OF_ITEM
from treadle.stores.sqlite_rows import KIND_CODE
from treadle.stores.sqlite_schema import connect, prepare

Query = tuple[str, Sequence[object] | Mapping[str, object]]

_EVENT = f"SELECT 1 FROM events WHERE {OF_ITEM} AND at = :at AND kind = :kind AND attempt IS :attempt AND subtask IS :subtask AND data IS :data"
_STARTED = EventKind.STAGE_STARTED
_MARK = "SELECT 1 FROM marks WHERE writer = ? AND number = ?"
_OLD = 86_400_000_000


class Marks:
    """Numbers that one writer leaves in transactions which leave no trace of their own."""

    def __init__(self) -> None:
        self._writer = uuid4().hex
        self._number = 0

    def leave(self, con: sqlite3.Connection) -> Query:
        """The transaction that is open has a mark; the query finds it once that took place."""
        self._number += 1
        if self._number == 1:
            con.execute("DELETE FROM marks WHERE at < ?", (now_us() - _OLD,))
        con.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (self._writer, self._number, now_us()))
        return _MARK, (self._writer, self._number)


def trace_of(changes: Iterable[Change]) -> Query | None:
    """A query that finds what these changes wrote, once they took place; ``None`` if none of them tells of itself."""
    for state, change in changes:
        # A start may not be written yet.
        told = [event for event in change.events if event.kind is not _STARTED]
        if told:
            event = told[-1]
            # Only the holder of an item tells of it at that very microsecond.
            said = {"kind": KIND_CODE[event.kind], "attempt": event.attempt, "subtask": event.subtask, "data": event.data}
            return _EVENT, {"item": state.key, "at": change.at, **said}
    return None


def read_back(broken: sqlite3.Connection, path: str, proof: Query) -> tuple[sqlite3.Connection, bool]:
    """A new handle in place of the broken one, and whether the transaction that ``proof`` finds took place.

    It is read inside a write transaction that commits, so that what is seen is what everybody will see.

    Raises:
        sqlite3.Error: that cannot be told yet.
    """
    with suppress(sqlite3.Error):
        broken.close()
    con = connect(path)
    try:
        prepare(con)
        con.execute("BEGIN IMMEDIATE")
        took_place = con.execute(*proof).fetchone() is not None
        con.execute("UPDATE schema_version SET version = version")
        con.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            con.close()
        raise
    return con, took_place
