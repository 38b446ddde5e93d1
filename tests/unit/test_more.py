"""Corners of definition, reading and stopping."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pytest

import treadle
from treadle import (
    AwaitingReview,
    Completed,
    Engine,
    InvalidWorkflow,
    ItemPhase,
    MemoryStateStore,
    ReviewData,
    RunReport,
    Skipped,
    StageContext,
    StoreError,
    StoreUnavailable,
    TreadleError,
    Workflow,
    drawing,
    open_store,
)
from treadle.failure import describe, masked
from treadle.fits import artefact_type, fits
from treadle.membership import Heartbeat
from treadle.presence import identity, is_gone

Item = dict[str, Any]


class Keys(TypedDict):
    a: int


@pytest.mark.parametrize(
    ("made", "declared", "answer"),
    [
        (int, int, True), (int, str, False), (int, float, True), (bool, int, True), (str, Any, True), (Any, str, True),
        (dict[str, int], dict[str, str], False), (dict[str, int], Mapping[str, int], True), (list[int], list, True),
        (int, int | None, True), (int | None, int, True), (None, int, False), (Keys, dict, True), (Keys, list, False),
        (Literal["a"], str, True), (Literal["a"], Literal["b"], False), (str, Literal["a"], True), (Annotated[int, 1], str, False),
        (tuple[int, ...], tuple[int, ...], True), (int, "Later", True),
    ],
)  # fmt: skip
def test_types_fit_unless_it_is_certain_that_they_do_not(made: Any, declared: Any, answer: bool) -> None:
    assert fits(made, declared) is answer


def test_outcomes_are_no_artefacts() -> None:
    assert artefact_type(int | Skipped) is int
    assert artefact_type(Completed) is Any
    assert artefact_type(Completed | AwaitingReview) is Any
    assert artefact_type(int | Completed) is Any


@dataclass
class NoId:
    name: str


def test_problems_of_items_executors_and_signatures() -> None:
    flow = Workflow("corners", item=NoId)

    @flow.stage(executor="process")
    def local(item: NoId) -> None: ...

    @flow.stage(executor="thread", after="local")  # type: ignore[typeddict-item]
    async def threaded(item: NoId, *rest: int) -> None: ...

    @flow.stage(when=3, priority="high", version=2)  # type: ignore[typeddict-item]
    def unknown(item: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    @flow.stage
    def itemless(ctx: StageContext) -> None: ...

    @flow.stage
    def other(item: int) -> None: ...

    with pytest.raises(InvalidWorkflow) as caught:
        flow.validate()
    told = str(caught.value)
    for part in (
        "items of type NoId have no `id`",
        "'local' has executor='process', which needs functions at the top of a module",
        "'threaded' is async and cannot run in a thread",
        "give a list: after=['local']",
        "takes *rest; name each value it wants",
        "has when=3",
        "has priority='high'",
        "has version=2",
        "annotation that cannot be resolved: name 'Nowhere'",
        "'itemless' takes no item",
        "takes its item as int, but items are NoId",
    ):
        assert part in told
    with pytest.raises(InvalidWorkflow, match="it has no stages"):
        Workflow("empty").validate()
    with pytest.raises(InvalidWorkflow, match="cannot be stored as JSON"):
        Workflow("odd", item=Callable[[], int]).validate()


def test_a_tree_names_the_other_needs_of_a_join() -> None:
    graph = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    assert drawing.tree(graph) == "a\n├── b\n└── c\n    └── d  (and after b)"


async def test_a_status_can_be_read_by_people() -> None:
    flow = Workflow("words")

    @flow.stage
    async def ask(item: Item) -> AwaitingReview:
        return AwaitingReview(ReviewData("<b>keep</b> it?"))

    @flow.stage
    async def bad(item: Item) -> None:
        raise ValueError("first\nsecond")

    @flow.stage(after=["bad"])
    async def then(item: Item) -> None: ...

    async with Engine(flow, MemoryStateStore()) as engine:
        report = await engine.run([{"id": "x"}])
        status = await engine.status("x")
    assert str(status).splitlines() == [
        "x: failed, 0 % of 3 stages",
        "  ● ask   awaiting review: <b>keep</b> it?",
        "  × bad   failed: ValueError: first",
        "  · then  pending",
    ]
    assert "&lt;b&gt;keep" in status._repr_html_()
    assert (status.has_failures, status.has_pending_reviews, status.running_stages, status.is_complete) == (True, True, [], False)
    assert status.phase is ItemPhase.FAILED
    with pytest.raises(KeyError):
        status["nope"]
    assert str(report).startswith("1 item: 0 completed, 1 failed; 2 stages run in")
    assert RunReport(awaiting_review=2).items == 2


def test_secrets_are_masked_and_broken_messages_survive() -> None:
    assert masked("postgresql://ann:hunter2@host/db?token=abc&x=1") == "postgresql://ann:***@host/db?token=***&x=1"
    assert masked("Authorization: Bearer abc") == "Authorization: Bearer ***"

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    line, _ = describe(BrokenError())
    assert line == "BrokenError: (its message cannot be shown: RuntimeError)"
    assert describe(ValueError("a\x00\ud800"))[0] == "ValueError: a\ufffd?"


async def test_another_process_may_hold_the_lock_for_a_while(tmp_path: Path) -> None:
    flow = Workflow("locked")

    @flow.stage
    async def body(item: Item) -> int:
        return 1

    async with open_store(tmp_path / "s.db") as store, Engine(flow, store) as engine, asyncio.timeout(20):
        other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        run = asyncio.create_task(engine.run([{"id": "x"}]))
        for _ in range(20):
            await asyncio.sleep(0.005)  # the loop goes on while the lock is held
        assert not run.done()
        other.execute("COMMIT")
        other.close()
        assert (await run).completed == 1


async def test_an_unreadable_item_stops_no_other(tmp_path: Path) -> None:
    flow = Workflow("rows")
    ready = [False]

    @flow.stage
    async def body(item: Item) -> None:
        if not ready[0]:
            raise ValueError("not yet")

    async with open_store(tmp_path / "s.db") as store, Engine(flow, store) as engine:
        await engine.run([{"id": n} for n in range(10)])
        ready[0] = True
        for n in range(10):
            await engine.retry(n)
        con = sqlite3.connect(tmp_path / "s.db")
        con.execute("UPDATE stages SET state = 'exploded' WHERE item = 3")
        con.commit()
        con.close()
        report = await engine.run()
        assert (report.completed, report.failed) == (9, 1)
        with pytest.raises(StoreError, match="item '2', stage body: the stored state 'exploded'"):
            await engine.status(2)


async def test_stopping_lets_running_stages_end(tmp_path: Path) -> None:
    running, go = asyncio.Event(), asyncio.Event()
    flow = Workflow("drain")

    @flow.stage
    async def body(item: Item) -> None:
        running.set()
        await go.wait()

    @flow.stage(after=["body"])
    async def then(item: Item) -> None: ...

    async with open_store(tmp_path / "s.db") as store, Engine(flow, store) as engine, asyncio.timeout(10):
        run = asyncio.create_task(engine.run([{"id": "x"}]))
        await running.wait()
        engine.stop()
        go.set()
        assert (await run).pending == 1
        status = await engine.status("x")
        assert (status["body"].state.value, status["then"].state.value) == ("completed", "pending")


async def test_a_store_that_fails_ends_the_run_and_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStateStore()
    flow = Workflow("broken")
    commit = store.commit

    @flow.stage
    async def body(item: Item) -> None:
        monkeypatch.setattr(store, "commit", refuse)

    def refuse(state: Any, change: Any) -> Any:
        raise StoreUnavailable("the disk is gone")

    async with Engine(flow, store) as engine:
        with pytest.raises(StoreUnavailable, match="the disk is gone"):
            await engine.run([{"id": "x"}])
        monkeypatch.setattr(store, "commit", commit)
        assert (await engine.status("x"))["body"].state.value == "running"


def test_a_heartbeat_ends_when_its_worker_was_taken_for_dead(caplog: pytest.LogCaptureFixture) -> None:
    heartbeat = Heartbeat(MemoryStateStore(), 99, 0.001, lambda: None)
    heartbeat._thread.join(5)
    assert "taken for dead" in caplog.text
    heartbeat.stop()


def test_a_process_knows_who_lives() -> None:
    me = identity()
    assert not is_gone(me)
    assert not is_gone(me._replace(host="elsewhere", pid=1))
    if sys.platform == "linux":
        assert is_gone(me._replace(started="1"))
        assert is_gone(me._replace(boot="another"))


async def test_run_says_what_to_use_inside_a_loop() -> None:
    with pytest.raises(TreadleError, match="async with Engine"):
        treadle.run(Workflow("x"), [])


async def test_addresses_nobody_knows_are_refused() -> None:
    with pytest.raises(StoreUnavailable, match="begin with mongodb://"):
        await open_store("mongodb://somewhere")


SCRIPT = """
import asyncio, sys, treadle
flow = treadle.Workflow("signals")

@flow.stage
async def body(item):
    print("running", flush=True)
    await asyncio.sleep(600)

print(treadle.run(flow, [{"id": "x"}], store=sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_two_signals_put_back_what_runs(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, "script.py", "s.db"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert "1 item: 0 completed, 1 pending" in out
    assert process.returncode == 0
    con = sqlite3.connect(tmp_path / "s.db")
    assert con.execute("SELECT state, attempt FROM stage_statuses").fetchall() == [("pending", 1)]
    assert con.execute("SELECT count(*) FROM attempts WHERE how = 'interrupted'").fetchone() == (1,)
    con.close()
