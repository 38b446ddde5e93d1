"""Artefacts that are too large for a row: seen by stages as ever, kept beside the rows, and never half there."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle import (
    Approve,
    ApproveWithEdits,
    AwaitingReview,
    Engine,
    FanOut,
    Inbox,
    Rejected,
    RetryBudget,
    ReviewData,
    ReviewFilter,
    ReviewPolicy,
    SqliteStateStore,
    StageContext,
    StageState,
    StateStore,
    StoreCorrupt,
    StoredArtefact,
    StoreFull,
    SubTask,
    Uncertain,
    Workflow,
    open_store,
    validation,
)
from treadle.artefact import MAX_INLINE, is_reference, parse
from treadle.gates import GateContext, StageOutput
from treadle.stores.artefact_files import ArtefactFiles
from treadle.testing import FaultyStore

Item = dict[str, Any]
LARGE = ['ä"\\\n' * 100] * 1500


processed = Workflow("processed")


@processed.stage(executor="process")
def doubled(item: Item) -> list[str]:
    return LARGE + LARGE


@processed.stage(executor="process")
def counted(item: Item, doubled: list[str], ctx: StageContext) -> bool:
    return doubled == LARGE + LARGE == ctx.upstream["doubled"]


@pytest.fixture(params=["memory", "sqlite", "sqlite in memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateStore]:
    if request.param == "sqlite in memory":
        async with SqliteStateStore.open_in_memory() as store:
            yield store
    else:
        async with open_store("memory:" if request.param == "memory" else tmp_path / "s.db") as store:
            yield store


async def artefact_row(store: StateStore, item: str, stage: str) -> str | None:
    state = await store.load(item)
    assert state is not None
    return state.stages[stage].artefact


def pair(made: Any, seen: list[Any]) -> Workflow:
    flow = Workflow("pair")

    @flow.stage
    async def make(item: Item):  # type: ignore[no-untyped-def]
        return made

    @flow.stage
    async def use(item: Item, make):  # type: ignore[no-untyped-def]
        seen.append(make)
        return len(make)

    return flow


async def test_dependents_see_it_whole_and_the_row_only_speaks_of_it(store: StateStore) -> None:
    flow, seen = Workflow("whole"), dict[str, Any]()

    @flow.stage
    async def make(item: Item) -> list[str]:
        return LARGE

    @flow.stage
    async def named(item: Item, make: list[str]) -> None:
        seen["named"] = make

    @flow.stage(after=["make"])
    async def context(item: Item, ctx: StageContext) -> None:
        seen["context"] = ctx.upstream["make"]

    @flow.stage(when=lambda item, make: seen.setdefault("when", make) == LARGE)
    def threaded(item: Item, make: list[str]) -> None:
        seen["threaded"] = make

    report = await Engine(flow, store).run([{"id": "x"}])
    assert report.completed == 1
    assert seen == dict.fromkeys(("named", "context", "when", "threaded"), LARGE)
    row = await artefact_row(store, "x", "make")
    assert row is not None
    assert is_reference(row)
    assert len(row) < 200


async def test_only_what_is_too_large_for_a_row_leaves_it(store: StateStore) -> None:
    for size, leaves in ((MAX_INLINE - 2, False), (MAX_INLINE - 1, True)):
        for letter in "xä":
            text = letter * (size // len(letter.encode()))
            seen: list[Any] = []
            item = {"id": f"{size}{letter}"}
            await Engine(pair(text + "x" * (size - len(text.encode())), seen), store).run([item])
            assert is_reference(await artefact_row(store, item["id"], "make")) is leaves
            assert len(json.dumps(seen[0], ensure_ascii=False).encode()) == size + 2


async def test_nothing_that_a_stage_returns_passes_for_a_reference(store: StateStore) -> None:
    await Engine(pair(LARGE, []), store).run([{"id": "real"}])
    real = await artefact_row(store, "real", "make")
    for number, forged in enumerate([real, {"@": real}, [real], {"digest": "0" * 64, "size": 1, "type": "application/json"}]):
        seen: list[Any] = []
        item = {"id": f"forged-{number}"}
        await Engine(pair(forged, seen), store).run([item])
        assert seen == [forged]
        case = await store.load(item["id"])
        assert case is not None
        assert not is_reference(case.stages["make"].artefact)


async def test_children_and_those_who_join_them(store: StateStore) -> None:
    flow, seen = Workflow("fan"), list[Any]()

    @flow.stage
    async def split(item: Item) -> FanOut:
        return FanOut([SubTask("small"), SubTask("large")])

    @split.subtask
    async def child(item: Item, subtask: SubTask) -> list[str]:
        return LARGE if subtask == "large" else ["little"]

    @flow.stage
    async def join(item: Item, split: dict[str, list[str]]) -> None:
        seen.append(split)

    assert (await Engine(flow, store).run([{"id": "x"}])).completed == 1
    assert seen == [{"small": ["little"], "large": LARGE}]
    case = await store.load("x")
    assert case is not None
    assert [is_reference(row.artefact) for row in case.boards["split"].rows] == [False, True]


async def test_one_beyond_the_upper_bound_says_what_to_do(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "MAX_ARTEFACT", 1_000_000)
    engine = Engine(pair("x" * 1_000_000, []), store)
    assert (await engine.run([{"id": "x"}])).failed == 1
    error = (await engine.status("x"))["make"].error or ""
    assert "stage 'make' of item 'x'" in error
    assert "it has 1,000,002 bytes as JSON; at most 1,000,000 are stored: keep the bytes in a file and return its path" in error


@pytest.mark.parametrize("harm", ["missing", "altered"])
async def test_bytes_that_are_harmed_stop_the_item_that_needs_them_and_no_other(tmp_path: Path, harm: str) -> None:
    flow, tries = Workflow("harmed"), list[str]()

    @flow.stage
    async def make(item: Item) -> list[str]:
        return [item["id"], *LARGE]

    @flow.stage(review=ReviewPolicy.ALWAYS)
    async def asked(item: Item) -> None: ...

    @flow.stage(after=["asked"], retry=RetryBudget(3))
    async def use(item: Item, make: list[str]) -> int:
        tries.append(item["id"])
        return len(make)

    async with open_store(tmp_path / "s.db") as store:
        engine = Engine(flow, store)
        await engine.run([{"id": "bad"}, {"id": "good"}])
        row = await artefact_row(store, "bad", "make")
        assert row is not None
        path, whole = spoiled(ArtefactFiles.of(tmp_path / "s.db"), row, harm)
        for item in ("bad", "good"):
            await engine.approve(item, "asked", reviewer="ann")
        report = await engine.run()
        assert (report.completed, report.failed, tries) == (1, 1, ["good"])
        error = (await engine.status("bad"))["use"].error or ""
        assert error.startswith("StoreCorrupt: the artefact of stage 'make' of item 'bad': its file ")
        assert "put it back from a backup" in error
        with pytest.raises(StoreCorrupt, match="stage 'make' of item 'bad'"):
            await engine.inbox.artefact("bad", "make")
        restore(path, whole)
        await engine.retry("bad")
        assert (await engine.run()).completed == 2


def spoiled(files: ArtefactFiles, reference: str, harm: str) -> tuple[Path, bytes]:
    path = files.path(parse(reference))
    whole = path.read_bytes()
    path.unlink() if harm == "missing" else path.write_bytes(whole[:-3] + b"x]\n")
    return path, whole


def restore(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)


async def judged(store: StateStore) -> tuple[Engine, Inbox]:
    flow = Workflow("judged")

    @flow.stage
    async def work(item: Item) -> AwaitingReview:
        return AwaitingReview(ReviewData("look"), artefact=LARGE)

    engine = Engine(flow, store)
    assert (await engine.run([{"id": "x"}])).awaiting_review == 1
    return engine, engine.inbox


async def test_a_person_sees_that_it_is_large_and_may_edit_it(store: StateStore) -> None:
    engine, inbox = await judged(store)
    case = await inbox.show("x", "work")
    assert isinstance(case.artefact, StoredArtefact)
    assert (case.artefact.size, case.artefact.type) == (
        len(json.dumps(LARGE, ensure_ascii=False, separators=(",", ":")).encode()),
        "application/json",
    )
    assert await inbox.artefact("x", "work") == LARGE
    edited = [*LARGE, "one more"]
    assert await inbox.preview("x", "work", edited) == [{"op": "add", "path": f"/{len(LARGE)}", "value": "one more"}]
    await inbox.decide("x", "work", ApproveWithEdits(edited), reviewer="ann")
    assert await inbox.artefact("x", "work") == edited
    review = (await inbox.show("x", "work")).review
    assert isinstance(review.edited, StoredArtefact)
    assert review.patch is not None
    await inbox.reopen("x", "work", operator="ann", reason="hm")
    assert await inbox.artefact("x", "work") == LARGE
    await inbox.decide("x", "work", ApproveWithEdits("small"), reviewer="ann")
    assert (await inbox.artefact("x", "work"), (await engine.status("x"))["work"].state) == ("small", StageState.COMPLETED)


async def test_an_edit_that_changes_nothing_puts_nothing_else_in_its_place(store: StateStore) -> None:
    _, inbox = await judged(store)
    await inbox.decide("x", "work", ApproveWithEdits(LARGE), reviewer="ann")
    ((_, _, row),) = await store.reviews(ReviewFilter(is_open=None), None, 9)
    assert row.output is None


async def test_gates_judge_the_value_and_see_that_earlier_ones_were_large(store: StateStore) -> None:
    seen: list[Any] = []

    def judge(item: Item, output: StageOutput, ctx: GateContext) -> Rejected | Uncertain:
        seen.append((output.artefact, [attempt.artefact for attempt in ctx.previous_attempts]))
        return Rejected("no") if ctx.attempt == 1 else Uncertain("hm")

    flow = Workflow("gated")

    @flow.stage(gate=judge, retry=RetryBudget(2))
    async def work(item: Item) -> list[str]:
        return LARGE

    engine = Engine(flow, store)
    assert (await engine.run([{"id": "x"}])).awaiting_review == 1
    assert [value for value, _ in seen] == [LARGE, LARGE]
    assert [type(past) for past in seen[1][1]] == [StoredArtefact]
    await engine.inbox.decide("x", "work", Approve(attempt=1), reviewer="ann")
    assert await engine.inbox.artefact("x", "work") == LARGE


async def test_a_disk_that_is_full_for_a_while_costs_no_attempt(store: StateStore) -> None:
    faulty, full, seen = FaultyStore(store), StoreFull("no room"), list[Any]()
    full.may_pass = True
    faulty.plan("keep", error=full)
    report = await Engine(pair(LARGE, seen), faulty).run([{"id": "x"}])
    assert (report.completed, faulty.calls["keep"], len(seen)) == (1, 2, 1)
    assert [attempt.number for _, attempt in await store.attempts("x", "make")] == [1]


async def test_worker_processes_make_and_take_them(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.db") as store:
        assert (await Engine(processed, store).run([{"id": "x"}])).completed == 1
        assert await artefact_row(store, "x", "counted") == "true"
        assert is_reference(await artefact_row(store, "x", "doubled"))


async def test_what_a_when_raised_counts_beside_a_large_artefact(store: StateStore) -> None:
    flow = pair(LARGE, [])

    def refuse(item: Item) -> bool:
        raise ValueError("cannot say")

    @flow.stage(after=["use"], when=refuse)
    async def last(item: Item, make: Any) -> int:
        return len(make)

    assert (await Engine(flow, store).run([{"id": "x"}])).failed == 1
    state = await store.load("x")
    assert state is not None
    assert state.stages["last"].error == "ValueError: cannot say"


async def test_stopping_while_a_large_artefact_is_read_puts_its_reader_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, goes_on, pieces = threading.Event(), threading.Event(), ArtefactFiles.pieces

    def held_up(files: ArtefactFiles, artefact: StoredArtefact) -> Iterator[bytes]:
        for piece in pieces(files, artefact):
            reads.set()
            assert goes_on.wait(30)
            yield piece

    monkeypatch.setattr(ArtefactFiles, "pieces", held_up)
    async with open_store(tmp_path / "s.db") as store, Engine(pair(LARGE, []), store) as engine:
        running = asyncio.create_task(engine.run([{"id": "x"}]))
        try:
            assert await asyncio.to_thread(reads.wait, 30)
            engine.stop(now=True)
            assert (await asyncio.wait_for(running, 30)).pending == 1
        finally:
            goes_on.set()
        state = await store.load("x")
        assert state is not None
        assert (state.stages["use"].state, state.stages["use"].interruptions) == (StageState.PENDING, 0)
