"""Items that are no more: their rows leave a SQLite store in steps, none of which holds the lock for long."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from treadle.event import EventKind
from treadle.store import Pruning
from treadle.stores.sqlite_rows import CODE_OF, KIND_CODE, PHASE_CODE
from treadle.stores.sqlite_tally import Tally

_LISTED = "(SELECT value FROM json_each(?))"
# What was last said of an item is its last event, or the change of a stage; statuses that tools have set tell no events.
_RESTED = (
    " AND max(added, coalesce((SELECT at FROM events WHERE item = items.id AND began IS NULL ORDER BY cursor DESC LIMIT 1), 0),"
    " coalesce((SELECT max(updated) FROM stages WHERE item = items.id), 0)) < ?"
)
_FREE = f"payload IS NOT NULL AND worker IS NULL AND phase IN {_LISTED}"
_TELL = "INSERT INTO events (at, item, kind, data) VALUES (?, 0, ?, ?)"
_SWEEP = (
    # The rows of the journal that are found by the rows of stages go before those, and in the same order.
    "DELETE FROM events WHERE cursor IN (SELECT told FROM stages JOIN events ON cursor = told WHERE stages.item = ?1 ORDER BY stages.stage LIMIT ?2)",
    "DELETE FROM stages WHERE item = ?1 AND stage IN (SELECT stage FROM stages WHERE item = ?1 ORDER BY stage LIMIT ?2)",
    # The newest review stays, unseen: its place must not be given to another, whose readers have gone past it.
    "DELETE FROM reviews WHERE id IN (SELECT id FROM reviews WHERE item = ?1 LIMIT ?2) AND id < (SELECT max(id) FROM reviews)",
    "DELETE FROM subtasks WHERE (item, stage, seq) IN (SELECT item, stage, seq FROM subtasks WHERE item = ?1 LIMIT ?2)",
    "DELETE FROM attempts WHERE (item, stage, run, seq, number) IN (SELECT item, stage, run, seq, number FROM attempts WHERE item = ?1 LIMIT ?2)",
    "DELETE FROM events WHERE cursor IN (SELECT cursor FROM events WHERE item = ?1 AND began IS NULL LIMIT ?2)",
)
_SOME = 200
"""Items of which a step removes what is left."""


def prunable(con: sqlite3.Connection, wanted: Pruning, after: int, limit: int) -> tuple[list[int], int | None]:
    """Numbers of those of the next items that are wanted, and the last number that was looked at if there are more."""
    query = "SELECT max(id), count(*) FROM (SELECT id FROM items WHERE id > ? ORDER BY id LIMIT ?)"
    last, seen = con.execute(query, (after, limit)).fetchone()
    if not seen:
        return [], None
    return _rested(con, wanted, "id > ? AND id <= ?", (after, last)), last if seen == limit else None


def remove(con: sqlite3.Connection, wanted: Pruning, keys: Sequence[int]) -> int:
    """Those of the items that are still wanted are no more: counted, told, and what is left of them is to be swept."""
    gone = _rested(con, wanted, f"id IN {_LISTED}", (json.dumps(keys),))
    if gone:
        listed = (json.dumps(gone),)
        tally = Tally()
        for phase, number in con.execute(f"SELECT phase, count(*) FROM items WHERE id IN {_LISTED} GROUP BY phase", listed):
            tally.add(0, phase, -number)
        query = f"SELECT stage, state, count(*) FROM stages WHERE item IN {_LISTED} GROUP BY stage, state"
        for stage, state, number in con.execute(query, listed):
            if state in CODE_OF.values():
                tally.add(stage, state, -number)
        tally.write(con)
        con.execute(f"INSERT INTO leftovers SELECT id FROM items WHERE id IN {_LISTED}", listed)
        con.execute(f"DELETE FROM artefacts WHERE item IN {_LISTED}", listed)
        con.execute(f"DELETE FROM items WHERE id IN {_LISTED}", listed)
        con.execute(_TELL, (wanted.at, KIND_CODE[EventKind.ITEMS_PRUNED], wanted.told(len(gone))))
    return len(gone)


def has_leftovers(con: sqlite3.Connection) -> bool:
    """Whether rows of pruned items are still to be removed."""
    return con.execute("SELECT 1 FROM leftovers LIMIT 1").fetchone() is not None


def sweep(con: sqlite3.Connection, rows: int) -> None:
    """Remove up to about ``rows`` rows of items that are no more."""
    swept = []
    for (item,) in con.execute("SELECT item FROM leftovers ORDER BY item LIMIT ?", (_SOME,)).fetchall():
        for statement in _SWEEP:
            rows -= con.execute(statement, (item, max(rows, 1))).rowcount
        if rows <= 0:
            # There may be more of this one.
            break
        swept.append(item)
    con.execute(f"DELETE FROM leftovers WHERE item IN {_LISTED}", (json.dumps(swept),))


def _rested(con: sqlite3.Connection, wanted: Pruning, which: str, values: Sequence[object]) -> list[int]:
    phases = json.dumps([PHASE_CODE[phase] for phase in wanted.phases])
    query = f"SELECT id FROM items WHERE {which} AND {_FREE}{_RESTED} ORDER BY id"
    return [row[0] for row in con.execute(query, (*values, phases, wanted.before))]
