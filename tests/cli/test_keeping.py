"""What a store's keeper is told, and copies made beside whoever works on it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.lab import check_invariants, ran, sql, treadle
from treadle import Engine, SqliteStateStore, StageState, StoreUnavailable, Workflow, open_store, run
from treadle.clock import now_us
from treadle.presence import is_gone
from treadle.store import WorkerIdentity
from treadle.stores.sqlite_backup import back_up
from treadle.stores.sqlite_health import Weight, examine

pytestmark = pytest.mark.may_block  # files are spoiled by the test itself
DAY = 86_400_000_000


def flow() -> Workflow:
    made = Workflow("kept")

    @made.stage
    async def body(item: dict[str, str]) -> str:
        return "done"

    return made


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "s.db"
    run(flow(), [{"id": f"i{n}"} for n in range(50)], store=path)
    return path


def spoil(path: Path, *statements: str) -> None:
    con = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        con.execute(statement)
    con.close()


def problems(path: Path, *, deep: bool = False) -> dict[str, str]:
    return {f.about: f.said for f in examine(str(path), now_us(), is_gone, deep=deep) if f.weight is Weight.PROBLEM}


def test_a_healthy_store_is_told_so(store: Path) -> None:
    done = ran(*treadle("doctor", "--store", store))
    assert done.returncode == 0, done.stdout
    assert "✓ the file is whole" in done.stdout
    assert "×" not in done.stdout
    assert "50 items, 0 attempts, 200 events" in done.stdout


def test_one_of_each_is_no_plural(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    run(flow(), [{"id": "only"}], store=path)
    spoil(path, "DELETE FROM events WHERE cursor > 1", "UPDATE items SET phase = 0, wake = 1 WHERE id = 1")
    said = {f.about: f.said for f in examine(str(path), now_us(), is_gone)}
    assert said["growth"].endswith("; 1 item, 0 attempts, 1 event")
    assert said["waiting"] == "1 item has been ready for more than a minute, taken by nobody: 'only'"


HEARTBEAT = f"INSERT INTO workers (name, host, boot, pid, started, beat) VALUES ('fast', 'far', 'b', 1, '1', {now_us() + DAY})"


@pytest.mark.parametrize(
    ("statement", "about", "says"),
    [
        ("UPDATE stages SET state = 77 WHERE item = 3", "rows", "1 row cannot be read: 'i2' (body)"),
        ("UPDATE items SET phase = 0, wake = NULL WHERE id = 1", "stuck", "1 item waits for nothing: 'i0'"),
        ("UPDATE items SET worker = 99 WHERE id < 6", "stuck", "5 items are held by nobody: 'i0', 'i1', 'i2' and 2 more"),
        (
            "UPDATE stages SET state = 3, interruptions = 3 WHERE item = 1",
            "interrupted",
            "1 stage took a worker down each time",
        ),
        ("UPDATE items SET phase = 2 WHERE id = 1", "failed", "1 failed"),
        (f"UPDATE events SET at = at + {DAY}", "clock", "yet to come"),
        (HEARTBEAT, "clock", "the clock of worker fast is 8"),
        ("INSERT INTO control VALUES (1, 'paused', 'ann', 0)", "workers", "the store is paused by ann"),
        (
            "INSERT INTO reviews (item, stage, revision, asked_by, attempt, opened, question, digest) VALUES (1, 1, 1, 'stage', 1, 0, '{}', '')",
            "reviews",
            "1 review waits for a person, the oldest since 1970-01-01",
        ),
    ],
)
def test_what_is_wrong_is_found(store: Path, statement: str, about: str, says: str) -> None:
    assert problems(store) == {}
    spoil(store, statement)
    assert says in problems(store)[about]
    done = ran(*treadle("doctor", "--store", store, "--format", "json"))
    assert done.returncode == 1
    (found,) = [f for f in json.loads(done.stdout)["findings"] if f["about"] == about and f["weight"] == "problem"]
    assert found["do"]


def _page_of_zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 12)
        file.write(b"\0" * 4096)


def test_a_damaged_file_is_found_and_is_not_copied(store: Path, tmp_path: Path) -> None:
    _page_of_zeros(store)
    done = ran(*treadle("doctor", "--store", store))
    assert done.returncode == 1
    assert "× the file is damaged" in done.stdout
    assert "restore the last backup" in done.stdout
    assert ran(*treadle("backup", tmp_path / "copy.db", "--store", store)).returncode == 3
    assert [file.name for file in tmp_path.iterdir() if "copy" in file.name] == []


def test_an_index_that_does_not_fit_is_found_by_looking_deep(store: Path) -> None:
    spoil(
        store,
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET sql = replace(sql, '(item)', '(kind)') WHERE name = 'events_item'",
    )
    assert "integrity" in problems(store, deep=True)


def test_a_worker_that_is_gone_is_a_note(store: Path) -> None:
    found = examine(str(store), now_us(), lambda who: who == WorkerIdentity("gone", "h", "b", 1, "1"))
    assert not any("gone" in f.said for f in found)
    spoil(store, "INSERT INTO workers (name, host, boot, pid, started, beat) VALUES ('gone', 'h', 'b', 1, '1', 0)")
    found = examine(str(store), now_us(), lambda who: who == WorkerIdentity("gone", "h", "b", 1, "1"))
    assert [f.weight for f in found if "worker gone" in f.said] == [Weight.NOTE]


@pytest.mark.parametrize("moment", range(3))
async def test_a_backup_beside_a_running_engine_is_whole_and_goes_on_by_itself(tmp_path: Path, moment: int) -> None:
    path, copy = tmp_path / "s.db", tmp_path / "copy.db"
    gate = asyncio.Event()
    made = Workflow("kept")

    @made.stage
    async def body(item: dict[str, str]) -> str:
        if item["id"] == "last":
            await gate.wait()
        return "done"

    items = [{"id": f"i{n}"} for n in range(moment * 700)] + [{"id": "last"}]
    async with open_store(path) as store, Engine(made, store) as engine, asyncio.timeout(50):
        moving = asyncio.create_task(engine.run(items))
        while not await store.query_items("body", StageState.RUNNING):  # noqa: ASYNC110 - another connection writes it
            await asyncio.sleep(0.001)
        await asyncio.to_thread(back_up, str(path), copy)
        done = set(await store.query_items("body", StageState.COMPLETED))
        gate.set()
        await moving
        assert copy.stat().st_mode & 0o077 == 0
        # The copy's workers are no more: what they held moves on at once.
        async with SqliteStateStore.open(copy) as second, Engine(flow(), second) as other:
            counts = await second.counts()
            assert len(await second.query_items("body", StageState.COMPLETED)) <= len(done)
            report = await other.run()
            assert report.completed == counts.items
    check_invariants(path)
    check_invariants(copy)


def test_a_backup_takes_nobodys_place(store: Path, tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("Dear Sir")
    done = ran(*treadle("backup", letter, "--store", store))
    assert done.returncode == 3
    assert "is there already" in done.stderr
    assert letter.read_text() == "Dear Sir"
    with pytest.raises(StoreUnavailable, match="cannot be made"):
        back_up(str(store), tmp_path / "nowhere" / "copy.db")
    assert ran(*treadle("backup", tmp_path / "copy.db", "--store", store)).returncode == 0
    assert sql(tmp_path / "copy.db", "SELECT count(*) FROM items") == [(50,)]


def test_one_that_appears_meanwhile_is_left_alone_too(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "copy.db"
    look: Callable[[Path], bool] = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: False if path == target else look(path))
    target.write_text("somebody else's")
    with pytest.raises(StoreUnavailable, match="is there already"):
        back_up(str(store), target)
    assert target.read_text() == "somebody else's"
