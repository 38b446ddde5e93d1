"""A start and its end in one row: told as two events, wherever and however the journal is read."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from treadle import Engine, EventKind, Workflow, open_store
from treadle.event import WorkflowEvent
from treadle.state import EventRow, Transition
from treadle.store import EventFilter, StateStore
from treadle.stores.sqlite_proof import Query, trace_of
from treadle.stores.sqlite_prune import has_leftovers, sweep
from treadle.stores.sqlite_rows import KINDS

PATHS = pytest.mark.may_block
ALL = 1_000
STARTED, COMPLETED = EventKind.STAGE_STARTED, EventKind.STAGE_COMPLETED


def plain() -> Workflow:
    flow = Workflow("plain")

    @flow.stage
    async def one(item: dict[str, Any]) -> int:
        return 1

    @flow.stage
    async def two(item: dict[str, Any], one: int) -> int:
        if item["id"] == "bad":
            raise ValueError("no")
        return 2

    return flow


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    async with open_store(tmp_path / "s.db") as opened:
        async with Engine(plain(), opened) as engine:
            await engine.run([{"id": name} for name in ("a", "b", "bad", "c")])
        yield opened


@pytest_asyncio.fixture
async def everything(store: StateStore) -> list[WorkflowEvent]:
    return await store.events(0, ALL)


def said(events: list[WorkflowEvent], item: str) -> list[tuple[str, str | None]]:
    return [(event.kind.value, event.stage) for event in events if event.item_id == item]


async def read(store: StateStore, wanted: EventFilter, size: int, *, newest_first: bool) -> list[WorkflowEvent]:
    """All pages of that size."""
    found: list[WorkflowEvent] = []
    after: int | None = None
    for _ in range(100):
        page = await store.journal(wanted, after, size, newest_first=newest_first)
        assert len(page.events) <= size
        found += page.events
        if (after := page.reached) is None:
            return found
    raise AssertionError(f"no end after {len(found)} events")


async def test_both_ends_are_one_row_and_two_events(store: StateStore, everything: list[WorkflowEvent], tmp_path: Path) -> None:
    assert said(everything, "a") == [
        ("item_added", None), ("stage_started", "one"), ("stage_completed", "one"), ("stage_started", "two"),
        ("stage_completed", "two"), ("workflow_completed", None),
    ]  # fmt: skip
    cursors = [event.cursor for event in everything]
    assert cursors == list(range(1, len(cursors) + 1))
    with closing(sqlite3.connect(tmp_path / "s.db")) as con:
        both = con.execute("SELECT count(*) FROM events WHERE began IS NOT NULL").fetchone()[0]
        rows = con.execute("SELECT count(*) FROM events").fetchone()[0]
    assert both == 7, "four times one, three times two"
    assert rows + both == len(everything)
    for start, end in itertools.pairwise(everything):
        if end.kind is COMPLETED:
            assert (start.kind, start.item_id, start.stage, start.attempt) == (STARTED, end.item_id, end.stage, 1)
            assert start.at <= end.at


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_pages_of_any_size_tell_each_event_once(store: StateStore, everything: list[WorkflowEvent], size: int) -> None:
    found: list[WorkflowEvent] = []
    while page := await store.events(found[-1].cursor if found else 0, size):
        assert len(page) <= size
        found += page
    assert found == everything


@pytest.mark.parametrize("newest_first", [False, True])
async def test_the_filtered_journal_is_read_both_ways(
    store: StateStore, everything: list[WorkflowEvent], newest_first: bool
) -> None:
    some: list[set[EventKind] | None] = [None, {STARTED}, {COMPLETED}, {STARTED, COMPLETED}, {EventKind.STAGE_FAILED}]
    for size, kinds, item in itertools.product([1, 2, 3], some, [None, "b"]):
        wanted = EventFilter(item_id=item, kinds=None if kinds is None else frozenset(kinds))
        expected = [event for event in everything if item in (None, event.item_id) and (kinds is None or event.kind in kinds)]
        assert await read(store, wanted, size, newest_first=newest_first) == (expected[::-1] if newest_first else expected)


@pytest.mark.parametrize("looked", [2, 3, 4])
async def test_a_page_that_stops_early_between_the_two_loses_neither(
    store: StateStore, everything: list[WorkflowEvent], monkeypatch: pytest.MonkeyPatch, looked: int
) -> None:
    monkeypatch.setattr("treadle.stores.sqlite_recent._LOOK", looked)
    assert await read(store, EventFilter(), ALL, newest_first=False) == everything
    assert await read(store, EventFilter(), ALL, newest_first=True) == everything[::-1]


async def test_counts_of_the_end_count_both(store: StateStore, everything: list[WorkflowEvent]) -> None:
    for newest, kinds in itertools.product(range(1, 9), (None, frozenset({STARTED}), frozenset({COMPLETED}))):
        counted = await store.tally(EventFilter(kinds=kinds), newest, 10**18)
        expected = [event for event in everything[-newest:] if kinds is None or event.kind in kinds]
        assert sum(tallied.n for tallied in counted) == len(expected)
        assert sum(tallied.n for tallied in counted if tallied.kind is STARTED) == sum(
            event.kind is STARTED for event in expected
        )


async def test_an_item_keeps_what_was_told_of_a_stage_that_is_done_anew(store: StateStore) -> None:
    async with Engine(plain(), store) as engine:
        before = await store.events(0, ALL, "a")
        await engine.rerun("a", "one", cascade=True)
        await engine.advance("a")
    everything = await store.events(0, ALL)
    of_item = await store.events(0, ALL, "a")
    assert of_item == [event for event in everything if event.item_id == "a"]
    assert of_item[: len(before)] == before
    assert [event.kind for event in of_item].count(COMPLETED) == 4


async def test_what_tells_of_both_ends_proves_its_transaction(store: StateStore, tmp_path: Path) -> None:
    state = await store.load("a")
    assert state is not None
    row = state.stages["two"]

    def proof(at: int) -> Query:
        found = trace_of([(state, Transition(at, events=[EventRow(COMPLETED, "two", None, 1)]))])
        assert found is not None
        return found

    with closing(sqlite3.connect(tmp_path / "s.db")) as con:
        assert con.execute(*proof(row.updated)).fetchone() == (1,)
        assert con.execute(*proof(row.updated + 1)).fetchone() is None


@PATHS
@pytest.mark.parametrize("rows", [1, 2, 5])
async def test_nothing_is_left_of_a_pruned_item_however_few_rows_go_at_once(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "s.db"
    async with open_store(path) as store, Engine(plain(), store) as engine:
        await engine.run([{"id": name} for name in ("a", "bad", "stays")])
    with closing(sqlite3.connect(path, isolation_level=None)) as con:
        con.execute("INSERT INTO leftovers SELECT id FROM items WHERE key <> 'stays'")
        con.execute("DELETE FROM items WHERE key <> 'stays'")
        for _ in range(100):
            sweep(con, rows)
        assert not has_leftovers(con)
        items = {table: con.execute(f"SELECT DISTINCT item FROM {table}").fetchall() for table in ("stages", "events")}
        assert items == {"stages": [(3,)], "events": [(3,)]}
        assert con.execute("SELECT count(*) FROM attempts").fetchone() == (0,)


@PATHS
async def test_cursors_of_pruned_events_are_not_given_again_even_where_the_sequence_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with open_store(path) as store, Engine(plain(), store) as engine:
        await engine.run([{"id": "a"}])
        last = (await store.events(0, ALL))[-1].cursor
    for damage in ("DELETE FROM events", "DELETE FROM sqlite_sequence WHERE name = 'events'"):
        with closing(sqlite3.connect(path)) as con:
            con.execute(damage)
            con.commit()
        async with open_store(path) as store, Engine(plain(), store) as engine:
            await engine.run([{"id": f"after-{damage[:15]}"}])
            told = await store.events(0, ALL)
        assert told[0].cursor > last
        assert len({event.cursor for event in told}) == len(told)


@PATHS
async def test_sql_tools_read_them_one_by_one(everything: list[WorkflowEvent], tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db")) as con:
        told = con.execute(
            "SELECT cursor, at, item_id, kind, stage, subtask_name, attempt FROM journal ORDER BY cursor"
        ).fetchall()
    assert told == [
        (e.cursor, e.at.isoformat(timespec="microseconds"), e.item_id, e.kind.value, e.stage, e.subtask, e.attempt)
        for e in everything
    ]


@PATHS
async def test_sql_tools_know_every_kind(store: StateStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as con:
        con.execute("BEGIN")
        con.execute("DELETE FROM events")
        con.executemany(
            "INSERT INTO events (cursor, at, item, kind) VALUES (?, 0, 1, ?)", [(n + 1, n) for n in range(len(KINDS))]
        )
        told = [kind for (kind,) in con.execute("SELECT kind FROM journal ORDER BY cursor")]
        con.execute("ROLLBACK")
    assert told == [kind.value for kind in KINDS]
