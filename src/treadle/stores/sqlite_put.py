"""Rows into the SQLite store: one constant a statement, one statement a table and batch.

Python's driver takes as long to bind a ``None`` as SQLite takes to store a column (it looks for an adapter
first), and most columns of most rows are empty. So rows that have nothing unusual about them are written by
statements which do not mention what they lack, and events bind values that ``nullif`` turns to nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from treadle.errors import LeaseLost
from treadle.state import EventRow, ItemPhase, ItemState, StageRow, StageState, SubtaskRow, Transition
from treadle.stores.shared import no_longer_held, refused
from treadle.stores.sqlite_rows import CODE_OF, KIND_CODE, PHASE_CODE, REVIEW, Names
from treadle.stores.sqlite_starts import Start, Starts, start_in
from treadle.stores.undo import Undo

_FENCES = "SELECT id, fence FROM items WHERE worker IS NOT NULL AND id IN (SELECT value FROM json_each(?))"
_STAGE_SET = (
    " ON CONFLICT DO UPDATE SET state = excluded.state, attempt = excluded.attempt, updated = excluded.updated,"
    " started = excluded.started, due = excluded.due, error = excluded.error, artefact = excluded.artefact,"
    " summary = excluded.summary, review = excluded.review, version = excluded.version, spent = excluded.spent,"
    " interruptions = excluded.interruptions, fan_out = excluded.fan_out, reruns = excluded.reruns, feedback = excluded.feedback"
)
_PUT_STAGE = "INSERT INTO stages VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)" + _STAGE_SET
_PUT_BARE_STAGE = "INSERT INTO stages VALUES (?,?,?,?,?,?,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,NULL)" + _STAGE_SET
_PUT_MADE_STAGE = "INSERT INTO stages VALUES (?,?,?,?,?,?,NULL,NULL,?,NULL,NULL,NULL,0,0,0,0,NULL)" + _STAGE_SET
_SUBTASK_SET = (
    " ON CONFLICT DO UPDATE SET state = excluded.state, attempt = excluded.attempt, updated = excluded.updated,"
    " started = excluded.started, due = excluded.due, error = excluded.error, artefact = excluded.artefact, data = excluded.data,"
    " spent = excluded.spent, interruptions = excluded.interruptions, reruns = excluded.reruns, feedback = excluded.feedback"
)
_PUT_SUBTASK = "INSERT INTO subtasks VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)" + _SUBTASK_SET
_PUT_BARE_SUBTASK = "INSERT INTO subtasks VALUES (?,?,?,?,?,?,?,?,NULL,NULL,NULL,NULL,0,0,0,NULL)" + _SUBTASK_SET
_PUT_MADE_SUBTASK = "INSERT INTO subtasks VALUES (?,?,?,?,?,?,?,?,NULL,NULL,?,NULL,0,0,0,NULL)" + _SUBTASK_SET
_PUT_ATTEMPT = "INSERT OR REPLACE INTO attempts VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_PUT_REVIEW = (
    f"INSERT INTO reviews ({REVIEW}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
    " asked_by = excluded.asked_by, attempt = excluded.attempt, question = excluded.question, digest = excluded.digest,"
    " due = excluded.due, due_then = excluded.due_then, holder = excluded.holder, held_until = excluded.held_until,"
    " decision = excluded.decision, reviewer = excluded.reviewer, decided = excluded.decided, note = excluded.note,"
    " edited = excluded.edited, patch = excluded.patch, output = excluded.output, feedback = excluded.feedback"
)
_CLEAR = "DELETE FROM subtasks WHERE item = ? AND stage = ?"
# No name has the number 0, no attempt either, and neither subtasks nor data are ever an empty text.
_PUT_EVENT = (
    "INSERT INTO events (at, item, stage, kind, attempt, subtask, data)"
    " VALUES (?,?,nullif(?,0),?,nullif(?,0),nullif(?,''),nullif(?,''))"
)
# What happened while the item was held is looked at as soon as it is given back.
_PUT_REST = "UPDATE items SET phase = ?, priority = ?, expiry = ?, wake = CASE WHEN news <> ? THEN ? ELSE ? END, worker = NULL, lost = NULL WHERE id = ?"
_PUT_ENDED = (
    "UPDATE items SET phase = ?, priority = 0, wake = CASE WHEN news <> ? THEN ? END, worker = NULL, lost = NULL WHERE id = ?"
)

_PUT_COUNT = "INSERT INTO counts VALUES (?,?,?) ON CONFLICT DO UPDATE SET n = n + excluded.n"

_NO_DUE_NO_ERROR = (None, None)
_BARE_STAGE = StageRow("", StageState.PENDING, 0, 0)[8:]
_BARE_SUBTASK = SubtaskRow("", 0, "", StageState.PENDING, 0, 0)[10:]


def write_changes(
    con: sqlite3.Connection, names: Names, starts: Starts, changes: Sequence[tuple[ItemState, Transition]]
) -> list[Exception | None]:
    """Write the changes whose claim still holds; an error for each of the others, which the journal tells of."""
    fences = _fences(con, [state for state, _ in changes])
    results: list[Exception | None] = []
    held: list[tuple[ItemState, Transition]] = []
    late: list[tuple[ItemState, Transition]] = []
    for state, change in changes:
        if fences.get(state.key) == state.fence:
            held.append((state, change))
            results.append(None)
        else:
            results.append(LeaseLost(no_longer_held(state.id)))
            late.append((state, refused(state, change)))
            if (start := starts.of(state.key)) is not None and start.state.fence == state.fence:
                # Nor is the start written that waited for this.
                starts.drop(start)
    write_rows(con, names, starts, held + late if late else held)
    ended: list[tuple[Any, ...]] = []
    rests: list[tuple[Any, ...]] = []
    phases = Tally()
    for state, change in held:
        if (rest := change.rest) is None:
            continue
        phases.phase(state, rest.phase)
        if rest.wake is None and rest.expiry is None and rest.priority == 0:
            ended.append((PHASE_CODE[rest.phase], state.news, change.at, state.key))
        else:
            rests.append((PHASE_CODE[rest.phase], rest.priority, rest.expiry, state.news, change.at, rest.wake, state.key))
    for statement, rows in ((_PUT_ENDED, ended), (_PUT_REST, rests)):
        if rows:
            con.executemany(statement, rows)
    phases.write(con)
    return results


def _fences(con: sqlite3.Connection, states: Sequence[ItemState]) -> dict[int, int]:
    """The fences of those that somebody holds, by key."""
    return dict(con.execute(_FENCES, (json.dumps([state.key for state in states]),)))


def write_rows(con: sqlite3.Connection, names: Names, starts: Starts, changes: Iterable[tuple[ItemState, Transition]]) -> None:
    """Write stages, subtasks, attempts, events and reviews."""
    rows = _Rows(con, names, starts)
    for state, change in changes:
        rows.take(state, change)
    rows.write()


def write_starts(con: sqlite3.Connection, names: Names, starts: Starts, due: Sequence[Start]) -> None:
    """Write starts that have waited long enough; of an item that is somebody else's by now there is nothing to tell."""
    fences = _fences(con, [start.state for start in due])
    rows = _Rows(con, names, starts)
    for start in due:
        if fences.get(start.state.key) == start.state.fence:
            rows.start(start)
        else:
            starts.drop(start)
    rows.write()


class Tally:
    """What a transaction changes in the table ``counts``: counting the rows of a large store takes seconds."""

    def __init__(self) -> None:
        self._changes: dict[tuple[int, int], int] = {}

    def add(self, stage: int, state: int, n: int) -> None:
        """So many more (or fewer) have the stage in this state."""
        self._changes[stage, state] = self._changes.get((stage, state), 0) + n

    def stage(self, state: ItemState, number: int, row: StageRow, undo: Undo) -> None:
        """The item's stage came to another state, which it has as stored now. Items whose content is not known do not count."""
        before, now = state.stored.get(row[0]), row[1]
        if before is now:
            return
        undo.put(state.stored, row[0], now)
        if state.payload is not None:
            changes = self._changes
            if before is not None:
                place = (number, CODE_OF[before])
                changes[place] = changes.get(place, 0) - 1
            place = (number, CODE_OF[now])
            changes[place] = changes.get(place, 0) + 1

    def phase(self, state: ItemState, phase: ItemPhase) -> None:
        """The item came to another phase."""
        if state.payload is not None and phase is not state.phase:
            self.add(0, PHASE_CODE[state.phase], -1)
            self.add(0, PHASE_CODE[phase], 1)

    def write(self, con: sqlite3.Connection) -> None:
        """Bring the table up to date."""
        if rows := [(stage, state, n) for (stage, state), n in self._changes.items() if n]:
            con.executemany(_PUT_COUNT, rows)


class _Rows:
    """The rows of a batch by the statements that write them."""

    def __init__(self, con: sqlite3.Connection, names: Names, starts: Starts) -> None:
        self._con = con
        self._names = names
        self._starts = starts
        self._stages: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        self._subtasks: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        self._attempts: list[tuple[Any, ...]] = []
        self._events: list[tuple[Any, ...]] = []
        self._reviews: list[tuple[Any, ...]] = []
        self._tally = Tally()

    def take(self, state: ItemState, change: Transition) -> None:
        stages, events = change.stages, change.events
        if (before := self._starts.of(state.key)) is not None:
            if before.state is state:
                self.start(before, row=not stages or stages[0][0] != before.row[0])
            else:
                # Of an earlier claim, which others have ended meanwhile.
                self._starts.drop(before)
        if (start := start_in(state, change)) is not None:
            self._starts.hold(start)
            stages, events = stages[:-1], events[:-1]
        for row in stages:
            self._stage(state, row)
        for event in events:
            self._event(state.key, change[0], event)
        if change.subtasks:
            self._take_subtasks(state.key, change.subtasks)
        if change.attempts or change.reviews or change.cleared:
            self._take_rest(state.key, change)

    def start(self, start: Start, *, row: bool = True) -> None:
        """A start that waited is told; its ``row`` is written unless what comes next takes its place."""
        if row:
            self._stage(start.state, start.row)
        self._event(start.state.key, start.row.updated, start.event)
        self._starts.drop(start)

    def _stage(self, state: ItemState, row: StageRow) -> None:
        stage = self._names.number(self._con, row[0])
        self._tally.stage(state, stage, row, self._starts.undo)
        bare, made, whole = self._stages
        if row[5:7] != _NO_DUE_NO_ERROR or row[8:] != _BARE_STAGE or row[4] is None:
            whole.append((state.key, stage, CODE_OF[row[1]], *row[2:]))
        elif row[7] is None:
            bare.append((state.key, stage, CODE_OF[row[1]], row[2], row[3], row[4]))
        else:
            made.append((state.key, stage, CODE_OF[row[1]], row[2], row[3], row[4], row[7]))

    def _event(self, key: int, at: int, event: EventRow) -> None:
        kind, name, subtask, attempt, data = event
        stage = 0 if name is None else self._names.number(self._con, name)
        self._events.append((at, key, stage, KIND_CODE[kind], attempt or 0, subtask or "", data or ""))

    def _take_subtasks(self, key: int, rows: Sequence[SubtaskRow]) -> None:
        con, number = self._con, self._names.number
        bare, made, whole = self._subtasks
        for row in rows:
            stage = number(con, row[0])
            if row[7:9] != _NO_DUE_NO_ERROR or row[10:] != _BARE_SUBTASK or row[6] is None:
                whole.append((key, stage, row[1], row[2], CODE_OF[row[3]], *row[4:]))
            elif row[9] is None:
                bare.append((key, stage, row[1], row[2], CODE_OF[row[3]], row[4], row[5], row[6]))
            else:
                made.append((key, stage, row[1], row[2], CODE_OF[row[3]], row[4], row[5], row[6], row[9]))

    def _take_rest(self, key: int, change: Transition) -> None:
        con, number = self._con, self._names.number
        if change.cleared:
            con.executemany(_CLEAR, [(key, number(con, stage)) for stage in change.cleared])
        for a in change.attempts:
            self._attempts.append(
                (key, number(con, a.stage), a.run, -1 if a.seq is None else a.seq, a.number, a.started, a.ended, a.how.value,
                 a.artefact, a.summary, a.review, a.error, a.failure, a.metrics, a.verdict)
            )  # fmt: skip
        for review in change.reviews:
            self._reviews.append((key, number(con, review.stage), *review[1:]))

    def write(self) -> None:
        for statement, rows in (
            *zip((_PUT_BARE_STAGE, _PUT_MADE_STAGE, _PUT_STAGE), self._stages, strict=True),
            *zip((_PUT_BARE_SUBTASK, _PUT_MADE_SUBTASK, _PUT_SUBTASK), self._subtasks, strict=True),
            (_PUT_ATTEMPT, self._attempts), (_PUT_EVENT, self._events), (_PUT_REVIEW, self._reviews),
        ):  # fmt: skip
            if rows:
                self._con.executemany(statement, rows)
        self._tally.write(self._con)
