"""The journal in SQLite, where one row may be two events.

Most stages end before their start was written (``sqlite_starts``). Both are then told by one row, that of the end, whose
``began`` says when the stage started; the start has the cursor before the row's own. That spares a quick pipeline a third of
its journal, which is a sixth of its file, and a twelfth of its work (``make bench``, W1 and W5).

The stage's own row says which one it is (``told``), so the index by which an item's events are found has only all others. A
stage has at most one: only where nothing is known of it does its start wait for its end.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from treadle.event import EventKind
from treadle.state import EventRow
from treadle.stores.sqlite_many import Many
from treadle.stores.sqlite_rows import KIND_CODE, KINDS, Names

Told = tuple[int, int, str, EventRow]
"""An event with its cursor, its time and the id of its item."""

_STARTED, _COMPLETED = EventKind.STAGE_STARTED, EventKind.STAGE_COMPLETED
_START, _END = KIND_CODE[_STARTED], KIND_CODE[_COMPLETED]

# No name has the number 0, no attempt a negative one, and neither subtasks nor data are ever an empty text.
_PUT = Many(
    "INSERT INTO events (at, item, stage, kind, attempt, subtask, data)",
    "(?,?,nullif(?,0),?,nullif(?,-1),nullif(?,''),nullif(?,''))",
)
_PUT_BOTH = Many("INSERT INTO events (cursor, at, item, stage, kind, attempt, began)", f"(?,?,?,?,{_END},1,?)")
_PUT_OF_ALL = (
    "INSERT INTO events (at, item, stage, kind, attempt, subtask, data) SELECT ?, value, ?, ?, ?, ?, ? FROM json_each(?)"
)
_PUT_BOTH_OF_ALL = (
    "INSERT INTO events (cursor, at, item, stage, kind, attempt, began)"
    f" SELECT ? + 2 * key, ?, value, ?, {_END}, 1, ? FROM json_each(?)"
)
NEWEST = "(SELECT max(cursor) FROM events)"
"""The cursor of the last event that is there; NULL without any."""
# The sequence remembers cursors whose rows have been pruned. It may be missing from a file that somebody mended.
_LAST = (
    f"SELECT max(coalesce({NEWEST}, 0),"
    " coalesce((SELECT max(CAST(seq AS INTEGER)) FROM sqlite_sequence WHERE name = 'events'), 0))"
)

OF_ITEM = (
    "cursor IN (SELECT cursor FROM events WHERE item = :item AND began IS NULL"
    " UNION ALL SELECT told FROM stages WHERE item = :item AND told IS NOT NULL)"
)
"""SQL for the rows of the item with that number."""

_ROW = "e.cursor, e.at, coalesce(i.key, ''), e.kind, n.name, e.subtask, e.attempt, e.data, e.began"
"""What ``told_by`` takes."""
_EVENTS = "events e LEFT JOIN items i ON i.id = e.item LEFT JOIN names n ON n.id = e.stage"


def write_events(con: sqlite3.Connection, names: Names, told: Iterable[tuple[int, int, EventRow]]) -> None:
    """Write events with their times and the numbers of their items, in this order."""
    _PUT.write(con, [
        (at, key, 0 if name is None else names.number(con, name), KIND_CODE[kind], -1 if attempt is None else attempt, subtask or "", data or "")
        for at, key, (kind, name, subtask, attempt, data) in told
    ])  # fmt: skip


def last_cursor(con: sqlite3.Connection) -> int:
    """The last cursor that was ever given."""
    return int(con.execute(_LAST).fetchone()[0])


def write_both(con: sqlite3.Connection, ended: Sequence[tuple[int, int, int, int, int]]) -> None:
    """Write starts and ends of first attempts: a cursor, when it ended, the numbers of item and stage, and when it began."""
    _PUT_BOTH.write(con, ended)


def write_event_of_all(con: sqlite3.Connection, names: Names, at: int, keys: Sequence[int], event: EventRow) -> None:
    """Write one event of each of these items."""
    kind, name, subtask, attempt, data = event
    stage = None if name is None else names.number(con, name)
    con.execute(_PUT_OF_ALL, (at, stage, KIND_CODE[kind], attempt, subtask, data, json.dumps(keys)))


def write_both_of_all(con: sqlite3.Connection, first: int, at: int, keys: Sequence[int], stage: int, began: int) -> range:
    """``write_both`` of each of these items; their cursors, the first of which is said."""
    con.execute(_PUT_BOTH_OF_ALL, (first, at, stage, began, json.dumps(keys)))
    return range(first, first + 2 * len(keys), 2)


def is_plain_end(event: EventRow, stage: str) -> bool:
    """Whether it tells that the first attempt at the stage has completed it, and nothing else."""
    return event == (_COMPLETED, stage, None, 1, None)


def of_kinds(kinds: Collection[EventKind]) -> str:
    """SQL for the rows that tell of one of these kinds."""
    codes = ", ".join(str(KIND_CODE[kind]) for kind in sorted(kinds))
    return f"(e.kind IN ({codes}) OR e.began IS NOT NULL)" if _STARTED in kinds else f"e.kind IN ({codes})"


def told_by(rows: Iterable[tuple[Any, ...]], *, newest_first: bool = False) -> Iterator[Told]:
    """The events of these rows, as they stand."""
    for cursor, at, item, kind, stage, subtask, attempt, data, began in rows:
        told = (cursor, at, item, EventRow(KINDS[kind], stage, subtask, attempt, data))
        if began is None:
            yield told
            continue
        start = (cursor - 1, began, item, EventRow(_STARTED, stage, None, attempt))
        yield from (told, start) if newest_first else (start, told)


def select(where: str, *, of_item: bool, newest_first: bool = False) -> str:
    """SQL for ``:limit`` rows of the journal, or of the item with the id ``:item``, in order."""
    known, order = "(i.id IS NOT NULL OR e.item = 0)", f"ORDER BY 1 {'DESC' if newest_first else 'ASC'} LIMIT :limit"
    if not of_item:
        return f"SELECT {_ROW} FROM {_EVENTS} WHERE {where} AND {known} {order}"
    number = "(SELECT id FROM items WHERE key = :item)"
    apart = f"SELECT {_ROW} FROM {_EVENTS} WHERE e.item = {number} AND e.began IS NULL AND {where} {order}"
    both = f"SELECT {_ROW} FROM stages s CROSS JOIN {_EVENTS} WHERE s.item = {number} AND e.cursor = s.told AND {where} {order}"
    return f"SELECT * FROM ({apart}) UNION ALL SELECT * FROM ({both}) {order}"


def read_events(con: sqlite3.Connection, after: int, limit: int, item_id: str | None) -> list[Told]:
    """The next events behind a cursor."""
    rows = con.execute(
        select("e.cursor > :after", of_item=item_id is not None), {"after": after, "limit": limit, "item": item_id}
    )
    # The first row may be one whose start has been read before.
    return list(islice((told for told in told_by(rows) if told[0] > after), limit))


def tallied(
    con: sqlite3.Connection, where: str, values: dict[str, Any], kinds: Collection[EventKind] | None
) -> list[tuple[Any, ...]]:
    """Of the ``:newest`` events, how many there are of each stage and kind in each ``:width`` of time."""
    old = f"{NEWEST} - :newest"
    ends = f"SELECT e.at, e.stage, e.kind FROM events e WHERE e.cursor > {old} AND {where}"
    # The second bound says nothing more, but SQLite begins there and not at the first event.
    both = f"e.began IS NOT NULL AND e.cursor - 1 > {old} AND e.cursor > {old}"
    starts = f"SELECT e.began, e.stage, {_START} FROM events e WHERE {both} AND {where}"
    only = "1" if kinds is None else f"kind IN ({', '.join(str(KIND_CODE[kind]) for kind in sorted(kinds))})"
    counted = f"SELECT at - at % :width, stage, kind, count(*) FROM ({ends} UNION ALL {starts}) WHERE {only} GROUP BY 1, 2, 3"
    return con.execute(counted, values).fetchall()
