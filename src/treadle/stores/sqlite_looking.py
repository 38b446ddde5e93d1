"""Pages of items and subtasks out of the SQLite store, however large it is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from treadle.errors import StoreCorrupt
from treadle.state import ItemPhase, ItemState, StageState, SubtaskRow
from treadle.store import SHOWN, Children, Filter, Listing
from treadle.stores.shared import lowered
from treadle.stores.sqlite_rows import CODE_OF, PHASE_CODE, PHASES, STATE_OF, Names, take_stages, unreadable

LOOK = 10_000
"""Items a page looks at where it must read a stage of each to know whether it is wanted: about 30 ms; half, if all of them."""
_FEW = 20_000
"""So many rows of a state, or of the journal's end, are sorted by the ids of their items in about 50 ms."""
_SLACK = 60_000_000
"""Events are written in the order of their commits, not quite that of their times."""

_OPEN_ROWS = "FROM stages INDEXED BY stages_open WHERE state <> 2 AND state = :state AND stage"
_NUMBER = "(SELECT id FROM names WHERE name = :stage)"


def conditions(wanted: Filter) -> tuple[list[str], dict[str, Any]]:
    """SQL for a filter; values are bound, never written into it."""
    where: list[str] = []
    values: dict[str, Any] = {"stage": wanted.stage}
    if wanted.prefix is not None:
        where.append("substr(i.key, 1, length(:prefix)) = :prefix AND i.key >= :least AND i.key < :beyond")
        values |= {"prefix": wanted.prefix, "least": wanted.prefix, "beyond": wanted.prefix + "\U0010ffff"}
    if wanted.phase is not None:
        # SQLite does not look into a bound value to see that the index of all but completed items will do.
        open_only = "" if wanted.phase is ItemPhase.COMPLETED else " AND i.phase <> 1"
        where.append(f"i.phase = :phase AND i.payload IS NOT NULL{open_only}")
        values["phase"] = PHASE_CODE[wanted.phase]
    if wanted.state is not None:
        values["state"] = CODE_OF[wanted.state]
    row = "SELECT 1 FROM stages s WHERE s.item = i.id"
    named = " AND s.stage = (SELECT id FROM names WHERE name = :stage)" if wanted.stage is not None else ""
    if wanted.state is not None:
        has = f"EXISTS ({row}{named} AND s.state = :state)"
        if named and wanted.state is StageState.PENDING:
            # Nothing of a completed item is pending: the index of all others will do.
            where.append(f"i.phase <> 1 AND ({has} OR (i.payload IS NOT NULL AND NOT EXISTS ({row}{named})))")
        else:
            where.append(has)
    elif wanted.stage is not None:
        where.append(f"(i.payload IS NOT NULL OR EXISTS ({row}{named}))")
    if wanted.text is not None:
        said = f"i.phase <> 1 AND EXISTS ({row} AND s.error IS NOT NULL AND instr(lower(s.error), :text))"
        where.append(f"(instr(lower(i.key), :text) OR {said})")
        values["text"] = lowered(wanted.text)
    # What has no row has changed when it came.
    changed = "coalesce((SELECT max(s.updated) FROM stages s WHERE s.item = i.id), i.added)"
    for name, sign in (("changed_after", ">="), ("changed_before", "<")):
        if (moment := getattr(wanted, name)) is not None:
            where.append(f"{changed} {sign} :{name}")
            values[name] = moment
    return where, values


def listing(con: sqlite3.Connection, names: Names, wanted: Filter, after: str | None, limit: int, *, backwards: bool) -> Listing:
    """A page of bare items; it stops early when it has looked at many."""
    where, values = conditions(wanted)
    if after is not None:
        where.append("i.key < :after" if backwards else "i.key > :after")
        # SQLite starts at one bound only: it should be the nearer one.
        if wanted.prefix is not None:
            values |= {"beyond": min(after, values["beyond"])} if backwards else {"least": max(after, values["least"])}
    values |= {"after": after, "limit": limit, "look": _look(wanted)}
    order = "DESC" if backwards else "ASC"
    candidates = _candidates(con, wanted, values)
    if candidates is None:
        return _walk(con, names, where, values, order)
    query = f"SELECT i.id, i.key FROM ({candidates}) c CROSS JOIN items i ON i.id = c.item WHERE {' AND '.join(where) or 1}"
    rows = con.execute(f"{query} ORDER BY +i.key {order} LIMIT :limit", values).fetchall()
    return Listing(_bare(con, names, [row[0] for row in rows]), rows[-1][1] if len(rows) == limit else None)


def source(con: sqlite3.Connection, wanted: Filter, values: dict[str, Any]) -> tuple[str, str]:
    """What a page is selected from, and what it is ordered by so that SQLite does not walk over all items."""
    candidates = _candidates(con, wanted, values)
    return ("items i", "i.key") if candidates is None else (f"({candidates}) c CROSS JOIN items i ON i.id = c.item", "+i.key")


def _look(wanted: Filter) -> int:
    return LOOK if wanted.changed_after is None and wanted.changed_before is None else LOOK // 2


def _candidates(con: sqlite3.Connection, wanted: Filter, values: dict[str, Any]) -> str | None:
    """A query for a small set of items in which all that are wanted are, if there is one."""
    # Items that no worker has touched are pending without a row.
    if wanted.state not in (None, StageState.COMPLETED, StageState.PENDING):
        stages = "<> 0" if wanted.stage is None else f"= {_NUMBER}"
        counted = f"SELECT coalesce(sum(n), 0) FROM counts WHERE state = :state AND stage {stages}"
        if con.execute(counted, values).fetchone()[0] <= _FEW:
            return f"SELECT DISTINCT item {_OPEN_ROWS} {'IN (SELECT id FROM names)' if wanted.stage is None else f'= {_NUMBER}'}"
    # Who changes a row tells so in the journal; only what tools set by themselves is not found by its age.
    if wanted.changed_after is not None:
        values["since"], last = _since(con, wanted.changed_after - _SLACK)
        if last - values["since"] <= _FEW:
            return "SELECT DISTINCT item FROM events NOT INDEXED WHERE cursor > :since"
    return None


def _since(con: sqlite3.Connection, moment: int) -> tuple[int, int]:
    """The cursor behind which the events of that moment and later are, and the last cursor."""
    low, high = 0, con.execute("SELECT coalesce(max(cursor), 0) FROM events").fetchone()[0]
    last = high
    while low < high:
        middle = (low + high) // 2
        at = con.execute("SELECT at FROM events WHERE cursor > ? ORDER BY cursor LIMIT 1", (middle,)).fetchone()[0]
        low, high = (middle + 1, high) if at < moment else (low, middle)
    return low, last


def _walk(con: sqlite3.Connection, names: Names, where: Sequence[str], values: dict[str, Any], order: str) -> Listing:
    """Items in the order of their ids, each looked at."""
    # What only compares ids narrows the walk; the rest is looked up for those it comes past.
    ranges = [clause for clause in where if clause.startswith(("i.key", "substr(i.key"))]
    rest = [clause for clause in where if clause not in ranges]
    if values.get("phase", PHASE_CODE[ItemPhase.COMPLETED]) != PHASE_CODE[ItemPhase.COMPLETED]:
        ranges.append("i.phase <> 1")
    base = f"FROM items i WHERE {' AND '.join(ranges) or 1} ORDER BY i.key {order}"
    walked = f"SELECT id, key, phase, added, nullif(payload IS NOT NULL, 0) AS payload {base} LIMIT :look"
    found = con.execute(f"SELECT i.id, i.key FROM ({walked}) i WHERE {' AND '.join(rest) or 1} LIMIT :limit", values).fetchall()
    if len(found) == values["limit"]:
        reached = found[-1][1]
    else:
        last = con.execute(f"SELECT i.key {base} LIMIT 1 OFFSET :look - 1", values).fetchone()
        reached = None if last is None else last[0]
    return Listing(_bare(con, names, [row[0] for row in found]), reached)


def _bare(con: sqlite3.Connection, names: Names, keys: Sequence[int]) -> list[ItemState]:
    """Items by their numbers, in that order, without what may be large."""
    wanted = json.dumps(keys)
    found: dict[int, ItemState | StoreCorrupt] = {}
    query = "SELECT id, key, payload IS NOT NULL, phase, added FROM items WHERE id IN (SELECT value FROM json_each(?))"
    rows = {row[0]: row for row in con.execute(query, (wanted,))}
    for key in keys:
        _, identity, is_known, phase, added = rows[key]
        found[key] = ItemState(identity, "" if is_known else None, key=key, phase=PHASES[phase], added=added)
    # Of the columns only those before the artefact: SQLite finds what stands behind a large value by reading it.
    rows_of_stages = con.execute(
        f"SELECT item, stage, state, attempt, updated, started, due, substr(error, 1, {SHOWN}) FROM stages"
        " WHERE item IN (SELECT value FROM json_each(?)) ORDER BY item, stage",
        (wanted,),
    )
    take_stages(con, names, rows_of_stages, found)
    return [listed(item, key) for key, item in found.items()]


def listed(item: ItemState | StoreCorrupt, key: int) -> ItemState:
    """An item for a list: one that cannot be read says why, and the list goes on."""
    if isinstance(item, ItemState):
        return item
    return ItemState(item.item_id or "?", None, key=key, phase=ItemPhase.FAILED, problem=str(item))


def children(con: sqlite3.Connection, item_id: str, stage: str, after: int, limit: int, state: StageState | None) -> Children:
    """A page of the stage's subtasks."""
    values = {"item": item_id, "stage": stage, "after": after, "limit": limit, "state": None if state is None else CODE_OF[state]}
    base = f"FROM subtasks WHERE item = (SELECT id FROM items WHERE key = :item) AND stage = {_NUMBER}"
    only = "" if state is None else "AND state = :state"
    rows = con.execute(
        f"SELECT seq, name, state, attempt, updated, started, due, substr(error, 1, {SHOWN}) {base} AND seq > :after {only}"
        " ORDER BY seq LIMIT :limit",
        values,
    )
    found = []
    for seq, name, code, *rest in rows:
        if problem := unreadable(item_id, f"{stage}, subtask {name}", code, rest[1]):
            raise problem
        found.append(SubtaskRow(stage, seq, name, STATE_OF[code], *rest))
    counted = con.execute(f"SELECT state, count(*) {base} GROUP BY state", values)
    return Children(found, {STATE_OF[code]: n for code, n in counted})
