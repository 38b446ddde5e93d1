"""Rows into the SQLite store: one constant a statement, one statement a table and batch.

Python's driver takes as long to bind a ``None`` as SQLite takes to store a column (it looks for an adapter
first), and most columns of most rows are empty. So rows that have nothing unusual about them are written by
statements which do not mention what they lack, and in place of what may be missing or not they bind a value that ``nullif``
turns to nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

from treadle.errors import LeaseLost
from treadle.state import Alike, Change, EventRow, ItemState, StageRow, StageState, SubtaskRow, Transition
from treadle.stores.shared import no_longer_held, refused
from treadle.stores.sqlite_claims import Claims, fences_of
from treadle.stores.sqlite_events import (
    is_plain_end,
    last_cursor,
    write_both,
    write_both_of_all,
    write_event_of_all,
    write_events,
)
from treadle.stores.sqlite_many import Many
from treadle.stores.sqlite_rests import write_rests
from treadle.stores.sqlite_rows import CODE_OF, REVIEW, STAGE, Names
from treadle.stores.sqlite_starts import Start, Starts
from treadle.stores.sqlite_tally import Moved, Tally

_STAGE_SET = (
    " ON CONFLICT DO UPDATE SET state = excluded.state, attempt = excluded.attempt, updated = excluded.updated,"
    " started = excluded.started, due = excluded.due, error = excluded.error, artefact = excluded.artefact,"
    " summary = excluded.summary, review = excluded.review, version = excluded.version, spent = excluded.spent,"
    " interruptions = excluded.interruptions, fan_out = excluded.fan_out, reruns = excluded.reruns, feedback = excluded.feedback,"
    " told = coalesce(excluded.told, told)"
)
_STAGES = f"INSERT INTO stages ({STAGE}, told)"
_PUT_STAGE = Many(_STAGES, "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,nullif(?,0))", _STAGE_SET)
_PUT_BARE_STAGE = Many(_STAGES, "(?,?,?,?,?,?,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,NULL,nullif(?,0))", _STAGE_SET)
_PUT_MADE_STAGE = Many(_STAGES, "(?,?,?,?,?,?,NULL,NULL,?,NULL,NULL,NULL,0,0,0,0,NULL,nullif(?,0))", _STAGE_SET)
_SUBTASK_SET = (
    " ON CONFLICT DO UPDATE SET state = excluded.state, attempt = excluded.attempt, updated = excluded.updated,"
    " started = excluded.started, due = excluded.due, error = excluded.error, artefact = excluded.artefact, data = excluded.data,"
    " spent = excluded.spent, interruptions = excluded.interruptions, reruns = excluded.reruns, feedback = excluded.feedback"
)
_SUBTASKS = "INSERT INTO subtasks"
_PUT_SUBTASK = Many(_SUBTASKS, "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", _SUBTASK_SET)
_PUT_BARE_SUBTASK = Many(_SUBTASKS, "(?,?,?,?,?,?,?,nullif(?,''),NULL,NULL,NULL,NULL,0,0,0,NULL)", _SUBTASK_SET)
_PUT_MADE_SUBTASK = Many(_SUBTASKS, "(?,?,?,?,?,?,?,nullif(?,''),NULL,NULL,?,NULL,0,0,0,NULL)", _SUBTASK_SET)
_PUT_ATTEMPT = Many("INSERT OR REPLACE INTO attempts", "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")
_PUT_REVIEW = Many(
    f"INSERT INTO reviews ({REVIEW})",
    "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    " ON CONFLICT DO UPDATE SET"
    " asked_by = excluded.asked_by, attempt = excluded.attempt, question = excluded.question, digest = excluded.digest,"
    " due = excluded.due, due_then = excluded.due_then, holder = excluded.holder, held_until = excluded.held_until,"
    " decision = excluded.decision, reviewer = excluded.reviewer, decided = excluded.decided, note = excluded.note,"
    " edited = excluded.edited, patch = excluded.patch, output = excluded.output, feedback = excluded.feedback",
)
_CLEAR = "DELETE FROM subtasks WHERE item = ? AND stage = ?"
_NO_DUE_NO_ERROR = (None, None)
_BARE_STAGE = StageRow("", StageState.PENDING, 0, 0)[8:]
_BARE_SUBTASK = SubtaskRow("", 0, "", StageState.PENDING, 0, 0)[10:]


def write_changes(
    con: sqlite3.Connection, names: Names, claims: Claims, starts: Starts, changes: Sequence[Change]
) -> list[Exception | None]:
    """Write the changes whose claim still holds; an error for each of the others, which the journal tells of."""
    if not claims.all_hold(con, changes):
        return _write_held(con, names, claims, starts, changes)
    write_rows(con, names, starts, changes)
    write_rests(con, claims, changes)
    return [None] * len(changes)


def _write_held(
    con: sqlite3.Connection, names: Names, claims: Claims, starts: Starts, changes: Sequence[Change]
) -> list[Exception | None]:
    """``write_changes``, looking at each claim."""
    fences = fences_of(con, [state for state, _ in changes])
    results: list[Exception | None] = []
    held: list[Change] = []
    late: list[Change] = []
    given_back: set[int] = set()
    for pair in changes:
        state, change = pair
        if fences.get(state.key) == state.fence and state.key not in given_back:
            held.append(pair)
            results.append(None)
            if change.rest is not None:
                given_back.add(state.key)
        else:
            results.append(LeaseLost(no_longer_held(state.id)))
            late.append((state, refused(state, change)))
            start = None if state.key in given_back else starts.of(state.key)
            if start is not None and start[0].fence == state.fence:
                # Nor is the start written that waited for this.
                starts.drop(state.key)
    write_rows(con, names, starts, held + late)
    write_rests(con, claims, held)
    return results


def write_rows(con: sqlite3.Connection, names: Names, starts: Starts, changes: Iterable[Change]) -> None:
    """Write stages, subtasks, attempts, events and reviews."""
    rows = _Rows(con, names, starts)
    if not (type(changes) is Alike and rows.take_alike(changes)):
        for change in changes:
            rows.take(change)
    rows.write()


def write_starts(con: sqlite3.Connection, names: Names, starts: Starts, due: Sequence[Start]) -> None:
    """Write starts that have waited long enough; of an item that is somebody else's by now there is nothing to tell."""
    fences = fences_of(con, [state for state, _ in due])
    rows = _Rows(con, names, starts)
    for start in due:
        if fences.get(start[0].key) == start[0].fence:
            rows.start(start)
        starts.drop(start[0].key)
    rows.write()


class _Rows:
    """The rows of a batch by the statements that write them."""

    def __init__(self, con: sqlite3.Connection, names: Names, starts: Starts) -> None:
        self._con = con
        self._names = names
        self._starts = starts
        self._stages: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        self._subtasks: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        self._attempts: list[tuple[Any, ...]] = []
        self._events: list[tuple[int, int, EventRow]] = []
        self._both: list[tuple[int, int, int, int, int]] = []
        """Written before all other events, so that nothing of the same item may have happened in this batch before."""
        self._cursor = 0
        """The last one that was given; 0 if none has been needed yet."""
        self._begun: set[int] = set()
        """Items whose start came with this batch."""
        self._reviews: list[tuple[Any, ...]] = []
        self._number_of = names.known
        """Looked at before ``names`` is asked: this is done for every row."""
        self._moved: list[Moved] = []
        """What the table ``counts`` is to know. Items whose content is not known do not count."""

    def take(self, pair: Change) -> None:
        state, change = pair
        key = state.key
        at, stages, subtasks, attempts, events, _, _, _, reviews, cleared, _, _, begins, _ = change
        before = self._starts.of(key)
        # What another claim of the item had started, others have ended meanwhile.
        if before is not None and before[0] is state:
            began = before[1].stages[-1][0]
            is_over = bool(stages) and stages[0][0] == began
            if is_over and events and is_plain_end(events[0], began) and key not in self._begun:
                self._cursor = (self._cursor or last_cursor(self._con)) + 2
                number = self._number_of.get(began) or self._names.number(self._con, began)
                self._both.append((self._cursor, at, key, number, before[1].at))
                self._stage(state, stages[0], self._cursor)
                stages, events = stages[1:], events[1:]
            else:
                self.start(before, row=not is_over)
        if begins and stages[-1][0] not in state.stored:
            self._starts.hold(pair)
            self._begun.add(key)
            stages, events = stages[:-1], events[:-1]
        elif before is not None and before[0].fence <= state.fence:
            # A change that comes late, and is refused, says nothing of what a newer claim has begun.
            self._starts.drop(key)
        for row in stages:
            self._stage(state, row)
        for event in events:
            self._events.append((at, key, event))
        if subtasks:
            self._take_subtasks(key, subtasks)
        if attempts or reviews or cleared:
            self._take_rest(key, change)

    def take_alike(self, said: Alike) -> bool:
        """``take`` all of these, with a statement for each event: if they stand alike in what waits of their starts. Whether they do."""
        con, names, starts, states, change = self._con, self._names, self._starts, said.states, said.change
        if change.subtasks or change.attempts or change.reviews or change.cleared:
            return False
        at, stages, events = change.at, change.stages, change.events
        made = said.made
        told: Iterable[int] = repeat(0)
        keys = [state.key for state in states]
        waiting = starts.of_all(keys)
        if waiting[0] is not None:
            begun = waiting[0][1]
            began = begun.stages[-1].stage
            is_over = bool(stages and events) and stages[0].stage == began and is_plain_end(events[0], began)
            if not is_over or waiting != list(zip(states, repeat(begun), strict=False)):
                return False
            told = write_both_of_all(con, last_cursor(con) + 2, at, keys, names.number(con, began), begun.at)
            starts.drop_all(keys)
            events = events[1:]
        elif any(waiting):
            return False
        if change.begins:
            starts.hold_all(dict(zip(keys, zip(states, repeat(change), strict=False), strict=False)))
            stages, events = stages[:-1], events[:-1]
        for row in stages:
            self._stage_of_all(states, keys, made or [row] * len(keys), told)
            made, told = (), repeat(0)
        for event in events:
            write_event_of_all(con, names, at, keys, event)
        return True

    def start(self, start: Start, *, row: bool = True) -> None:
        """A start that waited is told; its ``row`` is written unless what comes next takes its place."""
        state, change = start
        if row:
            self._stage(state, change.stages[-1])
        self._events.append((change.at, state.key, change.events[-1]))

    def _stage(self, state: ItemState, row: StageRow, told: int = 0) -> None:
        name, now = row[0], row[1]
        stage = self._number_of.get(name) or self._names.number(self._con, name)
        before = state.stored.get(name)
        if before is not now:
            self._starts.undo.put(state.stored, name, now)
            if state.payload is not None:
                self._moved.append((stage, before, now))
        bare, made, whole = self._stages
        # Asked in place, and of fields by their numbers: a call for every row would cost a hundredth of W1.
        if row[4] is None or row[5] is not None or row[6] is not None or row[8:] != _BARE_STAGE:
            whole.append((state.key, stage, CODE_OF[now], *row[2:], told))
        elif row[7] is None:
            bare.append((state.key, stage, CODE_OF[now], row[2], row[3], row[4], told))
        else:
            made.append((state.key, stage, CODE_OF[now], row[2], row[3], row[4], row[7], told))

    def _stage_of_all(
        self, states: Sequence[ItemState], keys: Sequence[int], rows: Sequence[StageRow], told: Iterable[int]
    ) -> None:
        """``_stage`` of rows that differ in nothing but their artefacts."""
        row, artefacts = rows[0], [row.artefact for row in rows]
        name, now = row.stage, row.state
        stage, code = self._names.number(self._con, name), CODE_OF[now]
        self._moved += [(stage, state.stored.get(name), now) for state in states if state.payload is not None]
        self._starts.undo.put_in_each([state.stored for state in states], name, now)
        _, made, whole = self._stages
        if row.started is not None and row[5:7] == _NO_DUE_NO_ERROR and row[8:] == _BARE_STAGE:
            made += zip(keys, *map(repeat, (stage, code, *row[2:5])), artefacts, told, strict=False)
        else:
            whole += zip(keys, *map(repeat, (stage, code, *row[2:7])), artefacts, *map(repeat, row[8:]), told, strict=False)

    def _take_subtasks(self, key: int, rows: Sequence[SubtaskRow]) -> None:
        con, number = self._con, self._names.number
        bare, made, whole = self._subtasks
        for row in rows:
            stage, began = number(con, row[0]), "" if row[6] is None else row[6]
            if row[7:9] != _NO_DUE_NO_ERROR or row[10:] != _BARE_SUBTASK:
                whole.append((key, stage, row[1], row[2], CODE_OF[row[3]], *row[4:]))
            elif row[9] is None:
                bare.append((key, stage, row[1], row[2], CODE_OF[row[3]], row[4], row[5], began))
            else:
                made.append((key, stage, row[1], row[2], CODE_OF[row[3]], row[4], row[5], began, row[9]))

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
            (_PUT_ATTEMPT, self._attempts), (_PUT_REVIEW, self._reviews),
        ):  # fmt: skip
            statement.write(self._con, rows)
        write_both(self._con, self._both)
        write_events(self._con, self._names, self._events)
        tally = Tally()
        tally.moved(self._moved)
        tally.write(self._con)
