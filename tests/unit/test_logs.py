"""The log says what went wrong, with its item, stage and attempt as fields, and nothing about what went well."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from treadle import (
    Approve,
    AwaitingReview,
    Engine,
    FanOut,
    MemoryStateStore,
    RetryBudget,
    ReviewData,
    StageContext,
    StoreUnavailable,
    SubTask,
    Workflow,
)
from treadle.logs import JsonFormatter

Item = dict[str, Any]


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str | None, str | None, int | None]]:
    """Level, item, stage and attempt of the records about items."""
    return [
        (record.levelname, record.item, getattr(record, "stage", None), getattr(record, "attempt", None))
        for record in caplog.records
        if hasattr(record, "item")
    ]


def flow() -> Workflow:
    flow = Workflow("logs")

    @flow.stage(retry=RetryBudget(max_attempts=2))
    async def shaky(item: Item, ctx: StageContext) -> int:
        if item["id"] == "bad" or (item["id"] == "shaky" and ctx.attempt == 1):
            raise ValueError("token=abc is wrong")
        return 1

    return flow


async def test_success_is_silent_and_failure_is_told_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "treadle")
    async with Engine(flow(), MemoryStateStore()) as engine:
        await engine.run([{"id": "good"}])
        assert told(caplog) == []
        await engine.run([{"id": "shaky"}])
        assert told(caplog) == [("WARNING", "shaky", "shaky", 1)]
        await engine.run([{"id": "bad"}])
    assert told(caplog)[1:] == [("WARNING", "bad", "shaky", 1), ("ERROR", "bad", "shaky", 2)]
    assert "stage failed: item 'bad', stage 'shaky', attempt 2: ValueError: token=*** is wrong" in caplog.text


async def test_who_debugs_sees_every_step(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "treadle")
    async with Engine(flow(), MemoryStateStore()) as engine:
        await engine.run([{"id": "good"}])
    assert [record.event for record in caplog.records if hasattr(record, "event")] == [
        "stage_started", "stage_completed", "workflow_completed",
    ]  # fmt: skip


async def test_subtasks_reviews_and_operators_acts_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "treadle")
    flow = Workflow("acts")

    @flow.stage
    async def split(item: Item) -> FanOut:
        return FanOut([SubTask("a")])

    @split.subtask
    async def child(item: Item) -> None:
        raise ValueError("bad part")

    @flow.stage
    async def ask(item: Item) -> AwaitingReview:
        return AwaitingReview(ReviewData("keep it?"))

    async with Engine(flow, MemoryStateStore()) as engine:
        await engine.run([{"id": "x"}])
        failed = next(record for record in caplog.records if getattr(record, "event", "") == "subtask_failed")
        assert (failed.levelname, failed.subtask) == ("ERROR", "a")  # type: ignore[attr-defined]  # from ``extra``
        await engine.resolve_review("x", "ask", Approve(), reviewer="ann")
        await engine.retry("x", "split")
        await engine.cancel("x", "no use")
    for words in (
        "review required: item 'x'",
        "review of stage 'ask' of item 'x': Approve by ann",
        "to be tried again",
        "no use",
    ):
        assert words in caplog.text


async def test_stopping_and_what_it_puts_back_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "treadle")
    inside, flow = asyncio.Event(), Workflow("stops")

    @flow.stage
    async def body(item: Item) -> None:
        inside.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(10), Engine(flow, MemoryStateStore()) as engine:
        run = asyncio.create_task(engine.run([{"id": "x"}]))
        await inside.wait()
        engine.stop(now=True)
        await run
    assert "stopping at once" in caplog.text
    assert told(caplog) == [("WARNING", "x", "body", 1)]


async def test_a_store_that_refuses_is_told_with_the_item(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, flow = MemoryStateStore(), Workflow("broken")

    @flow.stage
    async def body(item: Item) -> None:
        monkeypatch.setattr(store, "commit", refuse)

    def refuse(state: Any, change: Any) -> Any:
        raise StoreUnavailable("the disk is gone")

    async with Engine(flow, store) as engine:
        with pytest.raises(StoreUnavailable):
            await engine.run([{"id": "x"}])
    assert told(caplog) == [("ERROR", "x", None, None)]
    assert "item 'x' cannot go on, so the run ends: the disk is gone" in caplog.text


def test_a_json_line_holds_every_field_and_cannot_be_broken_by_data() -> None:
    record = logging.LogRecord("treadle.driver", logging.ERROR, "x.py", 1, "failed: %s", ("a\nb\x1b",), None)
    vars(record).update(item="x\n", stage="read", attempt=2, subtask=None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    fields = json.loads(line)
    assert fields.pop("at").endswith("+00:00")
    assert fields == {
        "level": "error", "logger": "treadle.driver", "message": "failed: a\nb\x1b", "item": "x\n", "stage": "read", "attempt": 2,
    }  # fmt: skip


def test_a_json_line_shows_a_trace() -> None:
    try:
        raise LookupError("no such thing")
    except LookupError:
        record = logging.LogRecord("treadle", logging.ERROR, "x.py", 1, "failed", None, sys.exc_info())
    assert "LookupError: no such thing" in json.loads(JsonFormatter().format(record))["error"]


def test_nothing_is_printed_unless_somebody_asks() -> None:
    code = (
        "import treadle\nflow = treadle.Workflow('quiet')\n@flow.stage\nasync def body(item): raise ValueError\n"
        "treadle.run(flow, [{'id': 'x'}], store='memory:')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
