"""What happened lately in the SQLite store: the journal both ways, counts of its end, samples of rows."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any

from treadle.event import EventKind
from treadle.state import StageRow, StageState
from treadle.store import SHOWN, EventFilter, Journal, Tallied
from treadle.stores.shared import workflow_event
from treadle.stores.sqlite_events import NEWEST, of_kinds, select, tallied, told_by
from treadle.stores.sqlite_rows import CODE_OF, KIND_CODE, KINDS, STATE_OF, Names, unreadable

_LOOK = 200_000
"""Events a page looks at for those that are wanted: about 20 ms."""
_TAIL = 20_000
"""Events in which completed stages are looked for."""
_FEW = 30
"""With fewer rows of a stage in the journal's end, others are looked for all over the store."""
_SPREAD = 400
"""So many items, evenly spread, are then looked at."""

_COMPLETED = KIND_CODE[EventKind.STAGE_COMPLETED]
_BARE = f"s.item, s.stage, s.state, s.attempt, s.updated, s.started, s.due, substr(s.error, 1, {SHOWN})"

Found = list[tuple[str, StageRow]]


def _wanted(wanted: EventFilter) -> tuple[str, dict[str, Any]]:
    """SQL for the rows of the wanted item and stage; values are bound, never written into it."""
    where = ["1"]
    if wanted.item_id is not None:
        where.append("e.item = (SELECT id FROM items WHERE key = :item)")
    if wanted.stage is not None:
        where.append("e.stage = (SELECT id FROM names WHERE name = :stage)")
    return " AND ".join(where), {"item": wanted.item_id, "stage": wanted.stage}


def journal(con: sqlite3.Connection, wanted: EventFilter, after: int | None, limit: int, *, newest_first: bool) -> Journal:
    """A page of the journal; it stops early when it has looked at many events."""
    where, values = _wanted(wanted)
    last = con.execute(f"SELECT coalesce({NEWEST}, 0)").fetchone()[0]
    if newest_first:
        top = last + 1 if after is None else min(after, last + 1)
        low, high, end = top - _LOOK, top, 1
    else:
        low, high, end = after or 0, (after or 0) + _LOOK + 1, last
    if wanted.item_id is not None:
        # All events of one item are found, wherever they are.
        low, high = (0, high) if newest_first else (low, last + 1)
    if wanted.kinds is not None:
        where += f" AND {of_kinds(wanted.kinds)}"
    rows = con.execute(
        # A row may be an event before the last one that is looked at and one behind it.
        select(
            f"e.cursor > :low AND e.cursor <= :high AND {where}", of_item=wanted.item_id is not None, newest_first=newest_first
        ),
        values | {"low": low, "high": high, "limit": limit + 1},
    )
    seen = (
        told
        for told in told_by(rows, newest_first=newest_first)
        if low < told[0] < high and (wanted.kinds is None or told[3].kind in wanted.kinds)
    )
    found = [workflow_event(*told) for told in islice(seen, limit)]
    looked = low + 1 if newest_first else high - 1
    reached = found[-1].cursor if len(found) == limit else looked
    return Journal(found, reached if (reached > end if newest_first else reached < end) else None)


def tally(con: sqlite3.Connection, names: Names, wanted: EventFilter, newest: int, width: int) -> list[Tallied]:
    """Counts of the journal's end."""
    where, values = _wanted(wanted)
    rows = tallied(con, where, values | {"newest": newest, "width": width}, wanted.kinds)
    found = [Tallied(at, None if stage is None else names.name(con, stage), KINDS[kind], n) for at, stage, kind, n in rows]
    return sorted(found, key=lambda counted: (counted.at, counted.stage or "", counted.kind))


def recent(con: sqlite3.Connection, names: Names, state: StageState, limit: int, stage: str | None) -> Found:
    """Rows of that state, the newest first."""
    numbers = [row[0] for row in con.execute("SELECT id FROM names WHERE :stage IS NULL OR name = :stage", {"stage": stage})]
    if state is StageState.COMPLETED:
        return _completed(con, names, numbers, limit)
    query = f"SELECT {_BARE} FROM stages s WHERE s.stage = ? AND s.state = ? AND s.state <> 2 ORDER BY s.item DESC LIMIT ?"
    rows = [row for number in numbers for row in con.execute(query, (number, CODE_OF[state], limit))]
    return _with_ids(con, names, rows)


def _completed(con: sqlite3.Connection, names: Names, numbers: list[int], limit: int) -> Found:
    """Nothing orders completed rows by time, but the journal's end tells which they are."""
    taken: Counter[int] = Counter()
    rows: dict[tuple[int, int], Any] = {}

    def take(found: Iterable[Any]) -> None:
        for row in found:
            place = (row[0], row[1])
            if row[1] in numbers and place not in rows and taken[row[1]] < limit:
                taken[row[1]] += 1
                rows[place] = row

    take(
        con.execute(
            f"SELECT {_BARE} FROM events e CROSS JOIN stages s ON s.item = e.item AND s.stage = e.stage"
            f" WHERE e.cursor > {NEWEST} - ? AND e.kind = ? AND s.state = 2 ORDER BY e.cursor DESC",
            (_TAIL, _COMPLETED),
        )
    )
    if any(taken[number] < min(_FEW, limit) for number in numbers):
        take(
            con.execute(
                "WITH RECURSIVE c (i, step) AS (SELECT max(id), max(1, (max(id) - min(id)) / :spread) FROM items"
                " UNION ALL SELECT i - step, step FROM c WHERE i > step)"
                f" SELECT {_BARE} FROM c CROSS JOIN stages s ON s.item = c.i WHERE s.state = 2",
                {"spread": _SPREAD},
            )
        )
    return _with_ids(con, names, list(rows.values()))


def _with_ids(con: sqlite3.Connection, names: Names, rows: list[Any]) -> Found:
    """The rows with the ids of their items; what cannot be read is left to the pages of its item."""
    found = []
    for item, stage, code, *rest in rows:
        # Pruned items leave rows behind until they are swept.
        known = con.execute("SELECT key FROM items WHERE id = ?", (item,)).fetchone()
        if known is not None and unreadable(known[0], "", code, rest[1]) is None:
            found.append((known[0], StageRow(names.name(con, stage), STATE_OF[code], *rest)))
    return found
