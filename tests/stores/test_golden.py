"""Stores of every earlier schema are brought to the present one, and nothing in them is lost.

The file of schema 1 is the seed's. Each other one was left by a run of seven items that died, under the last Treadle that wrote
that schema; the commit stands in its first line. Schema 2 took its form in several commits before another one followed it; stores
of those in between lack tables, columns or indexes that no step adds, so none of them is here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from treadle import Engine, FanOut, ItemPhase, SubTask, Workflow, open_store
from treadle.stores import sqlite_migrating
from treadle.stores.sqlite_migrating import VERSION

GOLDEN = {int(path.stem.removeprefix("schema-")): path for path in Path(__file__).with_name("golden").glob("schema-*.sql")}
OURS = sorted(set(GOLDEN) - {1})
TABLES = ("names", "workflow", "items", "stages", "counts", "subtasks", "attempts", "reviews", "events")

pytestmark = pytest.mark.may_block  # files are looked at before and after


def left(folder: Path, version: int) -> Path:
    """A file as it was left."""
    path = folder / "s.db"
    with closing(sqlite3.connect(path)) as con:
        con.executescript(GOLDEN[version].read_text())
    return path


def read(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as con:
        return con.execute(query).fetchall()


def statuses(path: Path) -> list[list[tuple[object, ...]]]:
    return [
        read(path, "SELECT item_id, stage, state, error FROM stage_statuses ORDER BY 1, 2"),
        read(path, "SELECT item_id, stage, subtask_name, state, error FROM subtask_statuses ORDER BY 1, 2, 3"),
    ]


def columns(path: Path, table: str) -> str:
    return ", ".join(str(row[1]) for row in read(path, f"PRAGMA table_info({table})"))


def rows(path: Path, selects: Sequence[str]) -> dict[str, list[tuple[object, ...]]]:
    return {select: sorted(read(path, select), key=repr) for select in selects}


def structure(path: Path) -> dict[object, object]:
    found = read(path, "SELECT type || ' ' || name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    return {name: " ".join(str(text).replace('"', "").split()) for name, text in found}


def papers() -> Workflow:
    """The workflow that the items are in."""
    flow = Workflow("golden")

    @flow.stage
    async def scan(item: dict[str, str]) -> str:
        return item["id"].upper()

    @flow.stage
    async def split(item: dict[str, str], scan: str) -> FanOut:
        return FanOut([SubTask("x"), SubTask("y")])

    @split.subtask
    async def part(item: dict[str, str], subtask: SubTask) -> str:
        return subtask.name

    @flow.stage
    async def ask(item: dict[str, str], scan: str) -> None: ...

    @flow.stage
    async def last(item: dict[str, str], split: dict[str, str], ask: None) -> int:
        return len(split)

    return flow


def test_there_is_a_file_of_every_earlier_schema() -> None:
    assert sorted(GOLDEN) == list(range(1, VERSION))


@pytest.mark.parametrize("version", sorted(GOLDEN))
async def test_the_schema_is_that_of_a_new_store_and_every_status_is_kept(tmp_path: Path, version: int) -> None:
    path = left(tmp_path, version)
    before = statuses(path)
    for store in (path, tmp_path / "new.db"):
        async with open_store(store):
            pass
    assert structure(path) == structure(tmp_path / "new.db")
    assert read(path, "SELECT version FROM schema_version") == [(VERSION,)]
    assert statuses(path) == before


@pytest.mark.parametrize("version", OURS)
async def test_every_row_is_kept(tmp_path: Path, version: int) -> None:
    path = left(tmp_path, version)
    selects = [f"SELECT {columns(path, table)} FROM {table}" for table in TABLES]
    before = rows(path, selects)
    assert all(before.values())
    async with open_store(path):
        pass
    assert rows(path, selects) == before


@pytest.mark.parametrize("version", OURS)
async def test_each_event_is_found_by_its_item(tmp_path: Path, version: int) -> None:
    async with open_store(left(tmp_path, version)) as store:
        everything = await store.events(0, 1_000)
        items = {event.item_id for event in everything}
        assert len(items) == 7
        for item in items:
            assert await store.events(0, 1_000, item) == [event for event in everything if event.item_id == item]


@pytest.mark.parametrize("version", OURS)
async def test_its_items_are_found_and_go_on(tmp_path: Path, version: int) -> None:
    async with open_store(left(tmp_path, version)) as store, Engine(papers(), store) as engine:
        phases = (await store.counts()).phases
        assert phases == {
            ItemPhase.COMPLETED: 2,
            ItemPhase.FAILED: 1,
            ItemPhase.AWAITING_REVIEW: 1,
            ItemPhase.CANCELLED: 1,
            ItemPhase.PENDING: 2,
        }
        await engine.approve("asked", "ask", reviewer="ben")
        assert (await engine.advance("asked")).is_complete
        await engine.retry("failed", "split")
        assert (await engine.advance("failed")).is_complete


@pytest.mark.parametrize("between", ["changes_by_others", "check_version"])
def test_somebody_else_upgrades_it_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: str) -> None:
    """Just before, or just after, this process looks whether others have written or which version it is."""
    path = left(tmp_path, 1)
    before = statuses(path)
    looks = getattr(sqlite_migrating, between)

    def beaten(*given: Any) -> int:
        monkeypatch.setattr(sqlite_migrating, between, looks)
        seen = looks(*given) if between == "check_version" else 0
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            sqlite_migrating.migrate(other, str(path))
        return int(seen or looks(*given))

    monkeypatch.setattr(sqlite_migrating, between, beaten)
    with closing(sqlite3.connect(path, isolation_level=None)) as con:
        sqlite_migrating.migrate(con, str(path))
    assert statuses(path) == before
    assert read(path, "SELECT version FROM schema_version") == [(VERSION,)]
