"""SQLite keeps every promise of the contract, and those of a file."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from treadle import (
    Engine,
    FanOut,
    ReviewPolicy,
    SchemaTooNew,
    SqliteStateStore,
    StageState,
    StageStatus,
    StateStore,
    StoreCorrupt,
    StoreUnavailable,
    SubTask,
    Workflow,
    open_store,
)
from treadle.state import ItemPhase
from treadle.store import Filter
from treadle.testing import StateStoreContract

SEED = """
CREATE TABLE stage_statuses (item_id TEXT NOT NULL, stage TEXT NOT NULL, state TEXT NOT NULL, updated_at TEXT NOT NULL,
    error TEXT, review_data TEXT, PRIMARY KEY (item_id, stage));
CREATE TABLE subtask_statuses (item_id TEXT NOT NULL, stage TEXT NOT NULL, subtask_name TEXT NOT NULL, state TEXT NOT NULL,
    error TEXT, updated_at TEXT NOT NULL, PRIMARY KEY (item_id, stage, subtask_name));
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE INDEX idx_stage_state ON stage_statuses (stage, state);
INSERT INTO schema_version VALUES (1);
"""
WHEN = "2024-05-01T10:00:00.123456789+00:00"


def seed_file(path: Path, *statements: str) -> None:
    con = sqlite3.connect(path)
    con.executescript(SEED)
    for statement in statements:
        con.execute(statement)
    con.commit()
    con.close()


class TestSqlite(StateStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[StateStore]:
        async with open_store(tmp_path / "store.db") as store:
            yield store


class TestSqliteInMemory(StateStoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[StateStore]:
        async with SqliteStateStore.open_in_memory() as store:
            yield store


async def test_a_file_of_the_first_schema_opens_with_nothing_lost(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    review = '{"summary": "look", "details": {"a": 1}, "created_at": "2024-05-01T10:00:00+00:00"}'
    seed_file(
        path,
        f"INSERT INTO stage_statuses VALUES ('doc-1', 'scan', 'completed', '{WHEN}', NULL, NULL)",
        f"INSERT INTO stage_statuses VALUES ('doc-1', 'fetch', 'failed', '{WHEN}', 'timeout', NULL)",
        f"INSERT INTO stage_statuses VALUES ('doc-2', 'ask', 'awaiting_review', '{WHEN}', NULL, '{review}')",
        f"INSERT INTO subtask_statuses VALUES ('doc-1', 'fetch', 'page-1', 'completed', NULL, '{WHEN}')",
    )
    async with open_store(path) as store:
        statuses = await store.get_all_statuses("doc-1")
        assert statuses["scan"].state is StageState.COMPLETED
        assert statuses["scan"].updated_at.isoformat() == "2024-05-01T10:00:00.123456+00:00"
        assert statuses["fetch"].error == "timeout"
        asked = await store.get_status("doc-2", "ask")
        assert asked is not None
        assert asked.review_data is not None
        assert asked.review_data.details == {"a": 1}
        assert [child.name for child in await store.get_subtask_statuses("doc-1", "fetch")] == ["page-1"]
    con = sqlite3.connect(path)
    assert con.execute("SELECT version FROM schema_version").fetchall() == [(8,)]
    assert con.execute("SELECT state FROM stage_statuses WHERE item_id = 'doc-1' AND stage = 'scan'").fetchone() == ("completed",)
    con.close()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (("exploded", WHEN, None), "exploded"),
        (("completed", "yesterday", None), "yesterday"),
        (("awaiting_review", WHEN, "{broken"), "review"),
    ],
)
async def test_an_unreadable_row_is_an_error_that_names_it(
    tmp_path: Path, values: tuple[str, str, str | None], says: str
) -> None:
    path = tmp_path / "old.db"
    seed_file(path)
    con = sqlite3.connect(path)
    con.execute("INSERT INTO stage_statuses VALUES ('bad', 'scan', ?, ?, NULL, ?)", values)
    con.execute("INSERT INTO stage_statuses VALUES ('good', 'scan', 'completed', ?, NULL, NULL)", (WHEN,))
    con.commit()
    con.close()
    async with open_store(path) as store:
        with pytest.raises(StoreCorrupt, match=r"'bad'.*scan.*") as caught:
            await store.get_status("bad", "scan")
        assert says in str(caught.value)
        good = await store.get_status("good", "scan")
        assert good is not None
        assert good.state is StageState.COMPLETED


async def test_a_newer_schema_is_refused_and_not_one_byte_changes(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    seed_file(path, "UPDATE schema_version SET version = 99")
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew, match="99"):
        await open_store(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, this is a letter.")
    with pytest.raises(StoreCorrupt, match=r"letter\.txt is no SQLite database"):
        await open_store(path)
    assert path.read_text().startswith("Dear Sir")


async def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    con = sqlite3.connect(path)
    con.execute("CREATE TABLE customers (id INTEGER)")
    con.close()
    with pytest.raises(StoreCorrupt, match="customers"):
        await open_store(path)


async def elsewhere(path: Path) -> str:
    """What another process reads, which closes the file as its last user if nobody else has it open."""
    said = "import sqlite3, sys; con = sqlite3.connect(sys.argv[1]);"
    said += "print(con.execute('SELECT group_concat(item_id) FROM stage_statuses').fetchone()[0]); con.close()"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", said, str(path), stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode().strip()


async def test_opening_a_store_again_takes_no_lock_away_from_this_process(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_store(path) as first:
        await first.set_status("a", "scan", StageStatus.pending())
        for read_only in (False, True):
            async with open_store(path, read_only=read_only):
                pass
        assert await elsewhere(path) == "a"
        # Into the log, and not into one that the other process has removed.
        await first.set_status("b", "scan", StageStatus.pending())
        assert await elsewhere(path) == "a,b"


async def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="nowhere"):
        await open_store(tmp_path / "nowhere" / "store.db")


async def test_commits_reach_the_disk_before_they_are_acknowledged(tmp_path: Path) -> None:
    async with open_store(tmp_path / "store.db") as store:
        assert isinstance(store, SqliteStateStore)
        assert store._writer._con.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store._writer._con.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._writer._con.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)


async def test_files_belong_to_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_store(path):
        assert path.stat().st_mode & 0o077 == 0


async def test_a_slow_disk_moves_commits_to_a_thread_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import treadle.stores.sqlite_writer as writer
    from treadle import StageStatus

    monkeypatch.setattr(writer, "_SLOW", 0.0)
    monkeypatch.setattr(writer, "_WAL_LIMIT", 1)
    async with open_store(tmp_path / "store.db") as store:
        assert isinstance(store, SqliteStateStore)
        for number in range(5):
            await store.set_status(number, "scan", StageStatus.completed())
        assert store._writer._slow
        assert (tmp_path / "store.db-wal").stat().st_size < 50_000
        monkeypatch.setattr(writer, "_SLOW", 60.0)
        await store.set_status(9, "scan", StageStatus.completed())
        assert not store._writer._slow
        assert len(await store.query_items("scan", StageState.COMPLETED)) == 6
    with pytest.raises(StoreUnavailable, match="has been closed"):
        await store.get_status(1, "scan")


async def test_counters_are_what_counting_the_rows_gives(tmp_path: Path) -> None:
    """Through everything that moves an item: attempts, failures, fan-outs, people, cancelling, reruns, new stages."""

    def flow(*more: str) -> Workflow:
        made = Workflow("counted")

        @made.stage(review=ReviewPolicy.sample(0.3))
        async def first(item: dict[str, Any]) -> int:
            if item["n"] % 5 == 0:
                raise ValueError("five")
            return item["n"]

        @made.stage
        async def second(item: dict[str, Any], first: int) -> FanOut:
            return FanOut([SubTask("a"), SubTask("b")])

        @second.subtask
        async def child(item: dict[str, Any]) -> int:
            return 1

        for name in more:

            async def body(item: dict[str, Any]) -> None:
                return None

            body.__name__ = name
            made.stage(after=["second"])(body)
        return made

    def counted() -> tuple[Any, Any]:
        with closing(sqlite3.connect(path)) as con:
            stages = con.execute("SELECT stage, state, count(*) FROM stages GROUP BY 1, 2 ORDER BY 1, 2").fetchall()
            phases = con.execute("SELECT 0, phase, count(*) FROM items GROUP BY 2").fetchall()
            return sorted(phases + stages), con.execute("SELECT * FROM counts WHERE n <> 0 ORDER BY 1, 2").fetchall()

    path = tmp_path / "c.db"
    async with SqliteStateStore.open(path) as store:
        async with Engine(flow(), store) as engine:
            await engine.run([{"id": str(n), "n": n} for n in range(1, 41)])
            assert [r.item_id async for r in engine.inbox.waiting()]
            async for review in engine.inbox.waiting():
                await engine.approve(review.item_id, review.stage, reviewer="ann")
            await engine.cancel("5")
            await engine.retry("10")
            await engine.run()
            await engine.rerun("1", "first", cascade=True)
        counts = await store.counts()
        assert counts.items == 40
        async with Engine(flow("third"), store) as engine:
            await engine.run()
    rows, counters = counted()
    assert counters == rows


@pytest.mark.parametrize(
    ("damage", "read"),
    [
        ("UPDATE workflow SET definition = '{'", lambda store: store.shape()),
        ("UPDATE events SET data = '{'", lambda store: store.events(0, 10)),
    ],
)
async def test_a_definition_or_event_that_is_no_json_is_told_as_damage(tmp_path: Path, damage: str, read: Any) -> None:
    flow = Workflow("damaged")

    @flow.stage
    async def one(item: dict[str, Any]) -> None:
        return None

    path = tmp_path / "d.db"
    async with SqliteStateStore.open(path) as store, Engine(flow, store) as engine:
        await engine.run([{"id": "x"}])
    with closing(sqlite3.connect(path)) as con:
        con.execute(damage)
        con.commit()
    async with SqliteStateStore.open(path) as store:
        with pytest.raises(StoreCorrupt, match=r"d\.db: something in it cannot be read"):
            await read(store)


@pytest.mark.may_block  # it watches the store's own connection
async def test_a_page_of_what_is_rare_looks_at_little(tmp_path: Path) -> None:
    flow = Workflow("many")

    @flow.stage
    async def work(item: dict[str, Any]) -> None:
        if item["id"] == "i7":
            raise ValueError("no luck")

    async with SqliteStateStore.open(tmp_path / "s.db") as store:
        await Engine(flow, store).run([{"id": f"i{n}"} for n in range(3_000)], concurrency=1000)
        steps = [0]
        assert store._reader is not None
        store._reader.set_progress_handler(lambda: steps.__setitem__(0, steps[0] + 1), 100)
        for wanted, ids in (
            (Filter("work", StageState.SKIPPED), []),
            (Filter("work", StageState.FAILED), ["i7"]),
            (Filter(state=StageState.FAILED), ["i7"]),
            (Filter("work", StageState.COMPLETED), None),
            (Filter(phase=ItemPhase.FAILED), ["i7"]),
        ):
            steps[0] = 0
            found = [item.id for item in await store.page(wanted, None, 50)]
            assert ids is None or found == ids
            assert steps[0] < 100, wanted
