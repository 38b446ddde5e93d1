"""Rows out of the SQLite store, and the codes that stand for words in it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from treadle.clock import now_us
from treadle.errors import StoreCorrupt
from treadle.event import EventKind
from treadle.state import (
    AskedBy,
    AttemptRow,
    Decided,
    Ended,
    ItemPhase,
    ItemState,
    ReviewRow,
    StageRow,
    StageState,
    SubtaskBoard,
    SubtaskRow,
)
from treadle.store import ReviewFilter, Shape, StoredReview
from treadle.stores.sqlite_migrating import STATES

STATE_OF = [StageState(word) for word in STATES]
CODE_OF = {state: code for code, state in enumerate(STATE_OF)}
PHASES = (ItemPhase.PENDING, ItemPhase.COMPLETED, ItemPhase.FAILED, ItemPhase.AWAITING_REVIEW, ItemPhase.CANCELLED)
PHASE_CODE = {phase: code for code, phase in enumerate(PHASES)}
# Codes are stored: a new kind goes to the end.
KINDS = (
    EventKind.ITEM_ADDED, EventKind.STAGE_STARTED, EventKind.STAGE_PROGRESS, EventKind.STAGE_COMPLETED, EventKind.STAGE_FAILED,
    EventKind.STAGE_SKIPPED, EventKind.STAGE_INTERRUPTED, EventKind.STAGE_RETRIED, EventKind.RETRY_SCHEDULED,
    EventKind.REVIEW_REQUIRED, EventKind.REVIEW_DECIDED, EventKind.FAN_OUT_STARTED, EventKind.SUBTASK_STARTED,
    EventKind.SUBTASK_COMPLETED, EventKind.SUBTASK_FAILED, EventKind.SUBTASK_SKIPPED, EventKind.WORKFLOW_COMPLETED,
    EventKind.ITEM_CANCELLED, EventKind.QUALITY_CHECK_PASSED, EventKind.QUALITY_CHECK_FAILED, EventKind.RETRY_ATTEMPT,
    EventKind.ESCALATED, EventKind.REVIEW_REOPENED, EventKind.STAGE_RERUN, EventKind.ITEMS_PRUNED,
    EventKind.COMMIT_REFUSED,
)  # fmt: skip
KIND_CODE = {kind: code for code, kind in enumerate(KINDS)}

REVIEW = (
    "item, stage, revision, asked_by, attempt, opened, question, digest, gate, verdict, due, due_then, author, holder, held_until, before,"
    " decision, reviewer, decided, note, edited, patch, output, feedback"
)


class Names:
    """Stage names and their numbers."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        """Numbers that are certain, by name."""
        self._name: dict[int, str] = {}

    def read(self, con: sqlite3.Connection) -> None:
        """Learn what is stored; other processes may have added some."""
        for number, name in con.execute("SELECT id, name FROM names"):
            self.known[name], self._name[number] = number, name

    def number(self, con: sqlite3.Connection, name: str) -> int:
        """The number of a name, given now if need be; called inside a write transaction."""
        known = self.known.get(name)
        if known is None:
            con.execute("INSERT OR IGNORE INTO names (name) VALUES (?)", (name,))
            # Only kept once it is certain: a transaction that is taken back takes the number with it.
            return int(con.execute("SELECT id FROM names WHERE name = ?", (name,)).fetchone()[0])
        return known

    def name(self, con: sqlite3.Connection, number: int) -> str:
        """The name of a number."""
        if number not in self._name:
            self.read(con)
        return self._name[number]


STAGE = (
    "item, stage, state, attempt, updated, started, due, error, artefact, summary, review, version, spent, interruptions, fan_out, reruns,"
    " feedback"
)

_ITEM = "SELECT id, key, payload, phase, priority, urgency, fence, news, added, lost FROM items"


def read_items(
    con: sqlite3.Connection, names: Names, keys: Sequence[int], *, subtasks: bool = True, stage: str | None = None
) -> dict[int, ItemState | StoreCorrupt]:
    """Items by their numbers, in that order; an error in place of one that cannot be read. With ``stage``, only its row."""
    found: dict[int, ItemState | StoreCorrupt] = {**_bare_items(con, keys)}
    _read_rows(con, names, keys, found, subtasks=subtasks, stage=stage)
    return found


def read_claimed(con: sqlite3.Connection, names: Names, keys: Sequence[int]) -> dict[int, ItemState | StoreCorrupt]:
    """The same of items that have just been claimed.

    Whoever writes of an item has claimed it, or acts from outside: of one that nobody did that to, there is no more to read.
    """
    items = _bare_items(con, keys)
    found: dict[int, ItemState | StoreCorrupt] = {**items}
    if touched := [key for key, item in items.items() if item.fence > 1 or item.news]:
        _read_rows(con, names, touched, found)
    return found


def _bare_items(con: sqlite3.Connection, keys: Sequence[int]) -> dict[int, ItemState]:
    rows = {row[0]: row for row in con.execute(f"{_ITEM} WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(keys),))}
    found: dict[int, ItemState] = {}
    for key in keys:
        _, identity, payload, phase, priority, urgency, fence, news, added, lost = rows[key]
        found[key] = ItemState(identity, payload, key, fence, news, PHASES[phase], priority, urgency, added, lost)
    return found


def _read_rows(
    con: sqlite3.Connection,
    names: Names,
    keys: Sequence[int],
    found: dict[int, ItemState | StoreCorrupt],
    *,
    subtasks: bool = True,
    stage: str | None = None,
) -> None:
    wanted = json.dumps(keys)
    only = "" if stage is None else "AND stage = (SELECT id FROM names WHERE name = :stage)"
    rows_of_stages = con.execute(
        f"SELECT {STAGE} FROM stages WHERE item IN (SELECT value FROM json_each(:items)) {only} ORDER BY item, stage",
        {"items": wanted, "stage": stage},
    )
    take_stages(con, names, rows_of_stages, found)
    if subtasks:
        _read_subtasks(con, names, wanted, found)
    asked = f"SELECT {REVIEW} FROM reviews WHERE item IN (SELECT value FROM json_each(?)) ORDER BY item, stage, revision"
    for item, number, *fields in con.execute(asked, (wanted,)):
        holder = found[item]
        if isinstance(holder, ItemState):
            review = review_row(names.name(con, number), fields)
            holder.reviews[review.stage] = review


def take_stages(
    con: sqlite3.Connection, names: Names, rows: Iterable[Sequence[Any]], found: dict[int, ItemState | StoreCorrupt]
) -> None:
    """The rows, or their first columns, stand in their items; an item with a row that cannot be read is that error."""
    for item, number, state, *rest in rows:
        holder = found[item]
        if isinstance(holder, ItemState):
            name = names.name(con, number)
            if problem := unreadable(holder.id, name, state, rest[1]):
                found[item] = problem
            else:
                holder.stages[name] = StageRow(name, STATE_OF[state], *rest)
                holder.stored[name] = STATE_OF[state]


def review_row(stage: str, fields: Sequence[Any]) -> ReviewRow:
    """A review from its columns behind item and stage."""
    row = ReviewRow(stage, *fields)
    return row._replace(asked_by=AskedBy(row.asked_by), decision=None if row.decision is None else Decided(row.decision))


def read_reviews(
    con: sqlite3.Connection, names: Names, wanted: ReviewFilter, after: int | None, limit: int, *, newest_first: bool
) -> list[StoredReview]:
    """Reviews behind a cursor."""
    where = ["1"]
    if wanted.is_open is not None:
        where.append("r.decision IS NULL" if wanted.is_open else "r.decision IS NOT NULL")
    if wanted.stage is not None:
        where.append("r.stage = (SELECT id FROM names WHERE name = :stage)")
    if wanted.holder is not None:
        # In nobody's hands is also what somebody had in theirs until then.
        where.append("CASE WHEN r.held_until > :now THEN r.holder ELSE '' END = :holder")
    if wanted.item_id is not None:
        where.append("r.item = (SELECT id FROM items WHERE key = :item_id)")
    where += [f"r.{name} = :{name}" for name in ("asked_by", "verdict") if getattr(wanted, name) is not None]
    if wanted.opened_before is not None:
        where.append("r.opened < :opened_before")
    if after is not None:
        where.append("r.id < :after" if newest_first else "r.id > :after")
    columns = ", ".join(f"r.{column}" for column in REVIEW.split(", ")[1:])
    # Without being told, SQLite reads every review of the stage to find the few that somebody holds.
    filters = (wanted.holder, wanted.asked_by, wanted.verdict, wanted.opened_before)
    picks = wanted.is_open and wanted.item_id is None and any(value is not None for value in filters)
    rows = con.execute(
        f"SELECT r.id, i.key, {columns} FROM reviews r {'INDEXED BY reviews_waiting' if picks else ''}"
        f" JOIN items i ON i.id = r.item WHERE {' AND '.join(where)}"
        f" ORDER BY r.id {'DESC' if newest_first else ''} LIMIT :limit",
        wanted._asdict() | {"after": after, "limit": limit, "now": now_us()},
    )
    return [StoredReview(cursor, key, review_row(names.name(con, stage), rest)) for cursor, key, stage, *rest in rows]


def _read_subtasks(con: sqlite3.Connection, names: Names, wanted: str, found: dict[int, ItemState | StoreCorrupt]) -> None:
    for item, stage, seq, child, state, *rest in con.execute(
        "SELECT * FROM subtasks WHERE item IN (SELECT value FROM json_each(?)) ORDER BY item, stage, seq", (wanted,)
    ):
        holder = found[item]
        if isinstance(holder, ItemState):
            name = names.name(con, stage)
            if problem := unreadable(holder.id, f"{name}, subtask {child}", state, rest[1]):
                found[item] = problem
            else:
                holder.boards.setdefault(name, SubtaskBoard()).put(SubtaskRow(name, seq, child, STATE_OF[state], *rest))


def read_child(con: sqlite3.Connection, key: int, stage: str, seq: int) -> list[SubtaskRow]:
    """That one subtask of an item's stage, if it is there and can be read."""
    rows = con.execute(
        "SELECT * FROM subtasks WHERE item = ? AND stage = (SELECT id FROM names WHERE name = ?) AND seq = ?", (key, stage, seq)
    )
    return [
        SubtaskRow(stage, place, child, STATE_OF[state], *rest)
        for _, _, place, child, state, *rest in rows
        if unreadable("", stage, state, rest[1]) is None
    ]


def unreadable(item_id: str, where: str, state: object, updated: object) -> StoreCorrupt | None:
    """Why a row of the item cannot be read, if so."""
    if not (isinstance(state, int) and 0 <= state < len(STATE_OF)):
        return StoreCorrupt(f"item {item_id!r}, stage {where}: the stored state {state!r} is none that is known", item_id)
    if not isinstance(updated, int):
        return StoreCorrupt(f"item {item_id!r}, stage {where}: the stored time {updated!r} cannot be read", item_id)
    return None


def read_attempts(con: sqlite3.Connection, key: int, stage: str, seq: int | None) -> list[AttemptRow]:
    """Attempts that have a row of their own; with ``seq`` only those of that subtask."""
    only = "" if seq is None else " AND seq = :seq"
    rows = con.execute(
        "SELECT seq, number, started, ended, how, artefact, summary, review, error, failure, metrics, verdict, run FROM attempts"
        f" WHERE item = :key AND stage = (SELECT id FROM names WHERE name = :stage){only}",
        {"key": key, "stage": stage, "seq": seq},
    )
    return [
        AttemptRow(
            stage,
            None if r[0] < 0 else r[0],
            r[1],
            r[2],
            r[3],
            Ended(r[4]),
            r[5],
            r[6],
            r[7],
            error=r[8],
            failure=r[9],
            metrics=r[10],
            verdict=r[11],
            run=r[12],
        )
        for r in rows
    ]


def shape_of(definition: str) -> Shape:
    """The shape in a stored definition."""
    shape = json.loads(definition)
    stages = shape["stages"]
    return Shape(shape["workflow"], {s["name"]: s["needs"] for s in stages}, {s["name"]: s.get("artefact", {}) for s in stages})


def renamed(definition: str, old: str, new: str) -> str:
    """The stored definition with another name for one stage."""
    shape = json.loads(definition)
    for stage in shape["stages"]:
        stage["name"] = new if stage["name"] == old else stage["name"]
        stage["needs"] = [new if need == old else need for need in stage["needs"]]
    return json.dumps(shape, separators=(",", ":"))
