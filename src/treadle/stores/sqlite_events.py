"""The journal in SQLite, where one row may be two events.

Most stages end before their start was written (``sqlite_starts``). Both are then told by one row, that of the end, whose
``began`` says when the stage started; the start has the cursor before the row's own. That spares a quick pipeline a third of
its journal, which is a sixth of its file, and a twelfth of its work (``make bench``, W1 and W5).
"""

from __future__ import annotations

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

# No name has the number 0, no attempt either, and neither subtasks nor data are ever an empty text.
_PUT = Many(
    "INSERT INTO events (at, item, stage, kind, attempt, subtask, data)",
    "(?,?,nullif(?,0),?,nullif(?,0),nullif(?,''),nullif(?,''))",
)
_PUT_BOTH = Many("INSERT INTO events (cursor, at, item, stage, kind, attempt, began)", f"(?,?,?,?,{_END},1,?)")
NEWEST = "(SELECT max(cursor) FROM events)"
"""The cursor of the last event that is there; NULL without any."""
# The sequence remembers cursors whose rows have been pruned. It may be missing from a file that somebody mended.
_LAST = (
    f"SELECT max(coalesce({NEWEST}, 0),"
    " coalesce((SELECT max(CAST(seq AS INTEGER)) FROM sqlite_sequence WHERE name = 'events'), 0))"
)

ROW = "e.cursor, e.at, coalesce(i.key, ''), e.kind, n.name, e.subtask, e.attempt, e.data, e.began"
"""What ``told_by`` takes."""
FROM = "FROM events e LEFT JOIN items i ON i.id = e.item LEFT JOIN names n ON n.id = e.stage"


def write_events(con: sqlite3.Connection, names: Names, told: Iterable[tuple[int, int, EventRow]]) -> None:
    """Write events with their times and the numbers of their items, in this order."""
    _PUT.write(con, [
        (at, key, 0 if name is None else names.number(con, name), KIND_CODE[kind], attempt or 0, subtask or "", data or "")
        for at, key, (kind, name, subtask, attempt, data) in told
    ])  # fmt: skip


def write_both(con: sqlite3.Connection, ended: Sequence[tuple[int, int, int, int]]) -> None:
    """Write starts and ends of first attempts: when each ended, the numbers of item and stage, and when it began."""
    if ended:
        last = con.execute(_LAST).fetchone()[0]
        _PUT_BOTH.write(con, [(last + 2 * place, *row) for place, row in enumerate(ended, 1)])


def is_plain_end(event: EventRow, stage: str) -> bool:
    """Whether it tells that the first attempt at the stage has completed it, and nothing else."""
    kind, name, subtask, attempt, data = event
    return kind is _COMPLETED and name == stage and attempt == 1 and subtask is None and data is None


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


def read_events(con: sqlite3.Connection, after: int, limit: int, item_id: str | None) -> list[Told]:
    """The next events behind a cursor."""
    only = "" if item_id is None else " AND e.item = (SELECT id FROM items WHERE key = :item)"
    rows = con.execute(
        f"SELECT {ROW} {FROM} WHERE e.cursor > :after AND (i.id IS NOT NULL OR e.item = 0){only} ORDER BY e.cursor LIMIT :limit",
        {"after": after, "limit": limit, "item": item_id},
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
