"""``treadle work`` goes on until it is told to stop, and sees within a second what other processes do."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from tests.crash.lab import check_invariants, ran, sql, started, states, treadle, until
from treadle import Engine, Workflow, open_store

pytestmark = pytest.mark.may_block  # other processes are what is tested: this one only waits for them

APP = """
import asyncio, os
from pathlib import Path
from treadle import AwaitingReview, ReviewData, RetryBudget, ReviewPolicy, Workflow

flow = Workflow("shop")

@flow.stage(retry=RetryBudget(2, delay=0.2, jitter=False))
async def pack(item):
    if item.get("flaky") and not Path(item["flaky"]).exists():
        Path(item["flaky"]).touch()
        raise RuntimeError("not yet")
    if item.get("slow"):
        Path(item["slow"]).touch()
        while not Path(item["slow"] + ".go").exists():
            await asyncio.sleep(0.01)
    return "packed"

@flow.stage(review=ReviewPolicy.NEVER.due(minutes=0.005, then="approve"))
async def ask(item, pack):
    return AwaitingReview(ReviewData("send it?")) if item.get("ask") else "sent"
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "app.py"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def add(store: Path, *items: dict[str, object]) -> None:
    """Items put into the store by this process, which moves none of them."""
    from treadle import decide
    from treadle.clock import now_us
    from treadle.store import NewItem

    async def do() -> None:
        async with open_store(store) as opened:
            shape = await opened.shape()
            assert shape is not None
            flow = decide_with(shape)
            await opened.add([NewItem(str(i["id"]), json.dumps(i)) for i in items], decide.arrive(flow, now_us()))

    def decide_with(shape):  # type: ignore[no-untyped-def]
        from treadle.definition import Definition

        return Definition.from_shape(shape.workflow, shape.stages)

    asyncio.run(do())


def working(app: Path, store: Path, *more: str):  # type: ignore[no-untyped-def]
    return started(*treadle("work", app, "--store", store, *more), text=store.parent / "errors")


def is_up(store: Path, number: int = 1) -> None:
    until(lambda: store.exists() and sql(store, "SELECT 1 FROM sqlite_master WHERE name = 'control'"))
    until(lambda: sql(store, "SELECT count(*) FROM workers")[0][0] == number)


def test_new_items_retries_and_expired_reviews_are_seen_within_a_second(app: Path, store: Path, tmp_path: Path) -> None:
    with working(app, store) as process:
        is_up(store)
        began = time.monotonic()
        add(store, {"id": "plain"}, {"id": "flaky", "flaky": str(tmp_path / "once")}, {"id": "asked", "ask": True})
        until(lambda: states(store, "ask").get("plain") == "completed")
        assert time.monotonic() - began < 2  # a second, and the time to start the process that added
        until(lambda: states(store, "ask").get("flaky") == "completed", 3)
        until(lambda: states(store, "ask").get("asked") == "completed", 3)  # by itself, when its time was over
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    check_invariants(store)


def test_sigterm_lets_what_runs_end_and_a_second_one_puts_it_back(app: Path, store: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    with working(app, store) as process:
        is_up(store)
        add(store, {"id": "a", "slow": str(slow)})
        until(slow.exists)
        process.send_signal(signal.SIGTERM)
        add(store, {"id": "b"})
        Path(f"{slow}.go").touch()
        assert process.wait(5) == 0
    # What ran came to its end; nothing new was begun, neither of the same item nor of others.
    assert states(store, "pack") == {"a": "completed"}
    assert states(store, "ask") == {}
    other = tmp_path / "other"
    with working(app, store) as process:
        is_up(store)
        add(store, {"id": "c", "slow": str(other)})
        until(other.exists)
        process.send_signal(signal.SIGTERM)
        until(lambda: "stopping" in (tmp_path / "errors").read_text().splitlines()[-1])
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(5) == 0
        assert time.monotonic() - began < 3
    assert states(store, "pack")["c"] == "pending"
    assert sql(store, "SELECT spent, interruptions FROM stages WHERE state = 0") == [(0, 0)]
    check_invariants(store)


def test_pausing_stops_the_claims_and_draining_ends_the_workers(app: Path, store: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    with working(app, store, "--name", "one") as first, working(app, store, "--name", "two") as second:
        is_up(store, 2)
        add(store, {"id": "a", "slow": str(slow)})
        until(slow.exists)
        assert "paused" in ran(*treadle("pause", "--store", store, "--reviewer", "ann")).stdout
        add(store, {"id": "b"})
        said = json.loads(ran(*treadle("workers", "--store", store, "--format", "json")).stdout)
        assert said["mode"] == "paused"
        assert {row["name"] for row in said["workers"]} == {"one", "two"}
        assert sorted(row["holds"] for row in said["workers"]) == [0, 1]
        assert "one" in ran(*treadle("workers", "--store", store)).stdout
        # Several looks at the store later, nobody has taken what was added.
        before = sql(store, "SELECT max(beat) FROM workers")
        assert states(store, "pack").get("b") is None
        ran(*treadle("resume", "--store", store))
        until(lambda: states(store, "ask").get("b") == "completed", 3)
        assert "draining by ann" in ran(*treadle("drain", "--store", store, "--reviewer", "ann")).stdout
        until(lambda: first.poll() is not None or second.poll() is not None, 5)
        Path(f"{slow}.go").touch()
        assert (first.wait(5), second.wait(5)) == (0, 0)
        assert before
    # The held item went as far as it could, not only to the end of its stage.
    assert states(store, "ask")["a"] == "completed"
    add(store, {"id": "late"})
    with working(app, store) as third:
        assert third.wait(10) == 0
    assert "late" not in states(store, "pack")
    check_invariants(store)


ASKING = """
from treadle import ReviewPolicy, Workflow

flow = Workflow("asking")

@flow.stage(review=ReviewPolicy.ALWAYS)
async def work(item):
    return 1

@flow.stage
async def then(item, work):
    return work
"""
PERSON = """
import asyncio, sys
from treadle import Approve, Inbox, open_store

async def main():
    async with open_store(sys.argv[1]) as store:
        await Inbox(store).decide("x", "work", Approve(), reviewer="ann")

asyncio.run(main())
"""


def test_a_person_in_one_process_sets_work_in_another_free_within_a_second(store: Path, tmp_path: Path) -> None:
    app, person = tmp_path / "asking.py", tmp_path / "person.py"
    app.write_text(ASKING)
    person.write_text(PERSON)
    with working(app, store) as process:
        is_up(store)
        add(store, {"id": "x"})
        until(lambda: states(store, "work").get("x") == "awaiting_review")
        assert ran(person, store).returncode == 0
        until(lambda: states(store, "then").get("x") == "completed")
        ((decided, went_on),) = sql(
            store, "SELECT r.decided, s.updated FROM reviews r, stages s JOIN names n ON n.id = s.stage WHERE n.name = 'then'"
        )  # fmt: skip
        assert 0 < went_on - decided < 1_000_000
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    check_invariants(store)


async def test_a_worker_that_was_taken_for_dead_comes_back_as_a_new_one(tmp_path: Path) -> None:
    flow = Workflow("back")

    @flow.stage
    async def body(item: dict[str, str]) -> str:
        return "done"

    async with open_store(tmp_path / "s.db") as store, Engine(flow, store, lease=0.5) as engine:
        (row,) = await store.workers()
        await store.retire(row.number)
        report = await engine.run([{"id": "x"}])
        assert report.completed == 1
        (again,) = await store.workers()
        assert again.number > row.number
        assert await asyncio.to_thread(store.beat, again.number)
