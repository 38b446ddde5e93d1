"""New items into the SQLite store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

from treadle.state import ItemPhase, Transition
from treadle.store import NewItem
from treadle.stores.sqlite_events import write_event_of_all
from treadle.stores.sqlite_many import Many
from treadle.stores.sqlite_rows import PHASE_CODE, Names
from treadle.stores.sqlite_tally import Tally

_PUT_ITEM = Many(
    "INSERT INTO items (id, key, payload, phase, priority, urgency, wake, added)",
    "(?,?,?,?,?,?,?,?)",
    " ON CONFLICT (key) DO NOTHING",
)
_CANCELLED = PHASE_CODE[ItemPhase.CANCELLED]
# What was cancelled before it came does not move either.
_PROMISED = (
    "UPDATE items SET payload = ?, priority = ?, urgency = ?, expiry = NULL,"
    f" phase = CASE phase WHEN {_CANCELLED} THEN phase ELSE ? END, wake = CASE phase WHEN {_CANCELLED} THEN NULL ELSE ? END WHERE id = ?"
)
_KNOWN = "SELECT key, id, payload, phase FROM items WHERE key IN (SELECT value FROM json_each(?))"


def add(con: sqlite3.Connection, names: Names, items: Sequence[NewItem], arrival: Transition) -> list[str]:
    """Those that are not known are stored; the ids of those that are known with other content come back."""
    rest = arrival.rest
    assert rest is not None  # noqa: S101 - an arrival says when to look at the item
    phase = PHASE_CODE[rest.phase]
    first, before = _next_number(con), con.total_changes
    _PUT_ITEM.write(con, [
        (first + place, i.id, i.payload, phase, rest.priority + i.priority, i.priority, rest.wake, arrival.at)
        for place, i in enumerate(items)
    ])  # fmt: skip
    fresh: Iterable[int] = range(first, first + len(items))
    tally, conflicts = Tally(), []
    if con.total_changes - before < len(items):
        known = {key: about for key, *about in con.execute(_KNOWN, (json.dumps([i.id for i in items]),))}
        given: dict[str, NewItem] = {}
        for item in items:
            given.setdefault(item.id, item)
        promised = [i for i in given.values() if known[i.id][1] is None]
        con.executemany(
            _PROMISED,
            [(i.payload, rest.priority + i.priority, i.priority, phase, rest.wake, known[i.id][0]) for i in promised],
        )
        cancelled = sum(known[i.id][2] == _CANCELLED for i in promised)
        tally.add(0, phase, -cancelled)
        tally.add(0, _CANCELLED, cancelled)
        _count_stages(con, tally, [known[i.id][0] for i in promised])
        conflicts = [i.id for i in items if not _same(known[i.id][1] or given[i.id].payload, i.payload)]
        fresh = sorted({known[i.id][0] for i in promised} | {number for number, _, _ in known.values() if number >= first})
    for event in arrival.events:
        write_event_of_all(con, names, arrival.at, list(fresh), event)
    tally.add(0, phase, len(list(fresh)))
    tally.write(con)
    return conflicts


def _next_number(con: sqlite3.Connection) -> int:
    """Numbers are never given again, not even those of items that were pruned."""
    row = con.execute("SELECT seq FROM sqlite_sequence WHERE name = 'items'").fetchone()
    return 1 if row is None else int(row[0]) + 1


def _count_stages(con: sqlite3.Connection, tally: Tally, numbers: Sequence[int]) -> None:
    """Statuses that were set before the item itself came count from now on."""
    for stage, code, n in con.execute(
        "SELECT stage, state, count(*) FROM stages WHERE item IN (SELECT value FROM json_each(?)) GROUP BY stage, state",
        (json.dumps(numbers),),
    ):
        tally.add(stage, code, n)


def _same(stored: str, given: str) -> bool:
    return stored == given or bool(json.loads(stored) == json.loads(given))
