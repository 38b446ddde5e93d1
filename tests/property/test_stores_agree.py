"""Every store is the same store: after the same acts, whatever they are, rows, reviews, attempts and journal are equal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from treadle import (
    Accepted,
    Approve,
    ApproveWithEdits,
    ExhaustedAction,
    FanOut,
    Inbox,
    MemoryStateStore,
    QualityFeedback,
    Reject,
    Rejected,
    RequestChanges,
    RetryBudget,
    ReviewFilter,
    ReviewPolicy,
    StateStore,
    SubTask,
    TreadleError,
    Uncertain,
    Workflow,
    decide,
)
from treadle.history import verdict_data
from treadle.state import AttemptRow, Ended, ItemState
from treadle.store import Filter, NewItem, WorkerIdentity
from treadle.stores.sqlite import SqliteStateStore

ITEMS, STAGES = ("x", "y"), ("split", "work", "last")
CLOCKED = ("treadle.inbox", "treadle.store", "treadle.stores.memory", "treadle.stores.sqlite", "treadle.stores.sqlite_rows")
VERDICTS = (None, Accepted(), Rejected(QualityFeedback("no", guidance="more")), Uncertain("hm"))
DECISIONS = (
    Approve(),
    Approve(attempt=1),
    Reject("no"),
    ApproveWithEdits(7),
    ApproveWithEdits({"s0": 5}),
    RequestChanges("more"),
)


def flow() -> Workflow:
    workflow = Workflow("agree")
    budget = RetryBudget(max_attempts=2, on_exhausted=ExhaustedAction.ESCALATE)

    @workflow.stage(retry=budget, review=ReviewPolicy.ALWAYS.excluding("author"))
    async def split(item: dict[str, Any]) -> FanOut:
        return FanOut([SubTask("s0")])

    @workflow.stage(retry=budget, review=ReviewPolicy.sample(0.5).due(hours=1, then="reject"))
    async def work(item: dict[str, Any]):  # type: ignore[no-untyped-def]
        return 1

    @workflow.stage(after=["split", "work"], review=ReviewPolicy.ON_ESCALATION.due(hours=1, then="approve"))
    async def last(item: dict[str, Any]):  # type: ignore[no-untyped-def]
        return 2

    return workflow


class Stores(RuleBasedStateMachine):
    """One worker, some people and an operator; each act is done to both stores at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000_000_000
        self.loop = asyncio.new_event_loop()
        self.workflow = flow()
        self.flow = self.workflow.definition
        self.clocks = [mock.patch(f"{module}.now_us", self._time) for module in CLOCKED]
        for clock in self.clocks:
            clock.start()
        self.stores: list[StateStore] = [MemoryStateStore(), self.loop.run_until_complete(_opened())]
        self.held: dict[str, list[ItemState]] = {}
        self.workers: list[int] = []

    def _time(self) -> int:
        return self.now

    def teardown(self) -> None:
        for store in self.stores:
            self.loop.run_until_complete(store.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        for clock in self.clocks:
            clock.stop()

    def both(self, act: Callable[[StateStore, int], Awaitable[Any]]) -> list[Any]:
        """What the act comes to; an error of ours is an answer like any other, and any other error is a bug."""
        self.now += 1_000

        async def one(place: int) -> Any:
            try:
                return await act(self.stores[place], place)
            except (TreadleError, ValueError) as error:
                return f"{type(error).__name__}: {error}"

        return [self.loop.run_until_complete(one(place)) for place in (0, 1)]

    def same(self, act: Callable[[StateStore, int], Awaitable[Any]]) -> Any:
        memory, sqlite = self.both(act)
        assert memory == sqlite
        return memory

    @initialize()
    def bound(self) -> None:
        async def start(store: StateStore, _: int) -> int:
            await store.bind(self.flow)
            items = [NewItem(i, json.dumps({"id": i, "author": "ann"})) for i in ITEMS]
            assert await store.add(items, decide.arrive(self.flow, self.now)) == []
            return await store.enlist(WorkerIdentity("me", "here", "boot", 1, "1"))

        self.workers.append(self.same(start))

    # the worker

    @rule(item=st.sampled_from(ITEMS), window=st.integers(1, 3))
    def claim(self, item: str, window: int) -> None:
        async def take(store: StateStore, _: int) -> Any:
            claimed = await store.claim(self.workers[-1], 1, self.now, is_dead=lambda _: False, only=item)
            return list(claimed.items)

        memory, sqlite = self.both(take)
        assert len(memory) == len(sqlite)
        if memory:
            self.held[item] = [memory[0], sqlite[0]]
            for state in self.held[item]:
                decide.count(self.flow, state)
            self._commit(item, lambda state: decide.begin(self.flow, state, self.now, window))

    @rule(
        item=st.sampled_from(ITEMS),
        which=st.integers(0, 5),
        how=st.sampled_from([Ended.COMPLETED, Ended.COMPLETED, Ended.FAILED, Ended.TIMED_OUT, Ended.SKIPPED, Ended.FAN_OUT]),
        made=st.sampled_from([None, "1", '{"a":"\\u00e9"}']),
        verdict=st.sampled_from(VERDICTS),
        children=st.integers(0, 3),
    )
    def end(self, item: str, which: int, how: Ended, made: str | None, verdict: Any, children: int) -> None:
        units = self._running(item)
        if not units:
            return
        stage, seq, number, run = units[which % len(units)]
        if how is Ended.FAN_OUT and (seq is not None or stage != "split"):
            how = Ended.COMPLETED
        attempt = AttemptRow(
            stage, seq, number, self.now, self.now, how, made if how is Ended.COMPLETED else None, run=run,
            error="ValueError: e" if how in (Ended.FAILED, Ended.TIMED_OUT) else None,
            subtasks=[(f"s{n}", None) for n in range(children)] if how is Ended.FAN_OUT else (),
            verdict=json.dumps(verdict_data(verdict, "g")) if verdict is not None and how is Ended.COMPLETED else None,
        )  # fmt: skip
        self._commit(item, lambda state: decide.settle(self.flow, state, attempt, self.now, 0.5, 3))

    @rule()
    def die(self) -> None:
        """The worker is gone, and another comes."""

        async def replace(store: StateStore, _: int) -> int:
            await store.retire(self.workers[-1])
            return await store.enlist(WorkerIdentity("me", "here", "boot", 1, "1"))

        self.workers.append(self.same(replace))

    @rule(item=st.sampled_from(ITEMS))
    def heed(self, item: str) -> None:
        async def news(store: StateStore, place: int) -> Any:
            held = await store.revised(self.workers[-1])
            if item in self.held and item in held:
                stored = await store.load(item)
                assert stored is not None
                decide.heed(self.flow, self.held[item][place], stored)
            return held

        self.same(news)
        if item in self.held and self._running(item):
            self._commit(item, lambda state: decide.wake(self.flow, state, self.now, 3))

    @rule(item=st.sampled_from(ITEMS))
    def expire(self, item: str) -> None:
        self.now += 3_600_000_000
        self.same(lambda store, _: store.revise(item, lambda state: decide.expire(self.flow, state, self.now)))

    def _running(self, item: str) -> list[tuple[str, int | None, int, int]]:
        if item not in self.held:
            return []
        state = self.held[item][0]
        units: list[tuple[str, int | None, int, int]] = [
            (row.stage, None, row.attempt, row.reruns)
            for row in state.stages.values()
            if row.state == "running" and not row.fan_out
        ]
        for board in state.boards.values():
            units += [(child.stage, child.seq, child.attempt, child.reruns) for child in board.rows if child.state == "running"]
        return units

    def _commit(self, item: str, made: Callable[[ItemState], Any]) -> None:
        states = self.held[item]
        changes = [made(state) for state in states]
        assert changes[0] == changes[1]
        for state, change in zip(states, changes, strict=True):
            decide.apply(self.flow, state, change)

        async def write(store: StateStore, place: int) -> None:
            await store.commit(states[place], changes[place])

        if self.same(write) is not None or changes[0].rest is not None:
            del self.held[item]

    # people

    @rule(
        item=st.sampled_from(ITEMS), stage=st.sampled_from(STAGES), decision=st.sampled_from(DECISIONS),
        who=st.sampled_from(["ann", "bo", "cy"]), code=st.booleans(),
    )  # fmt: skip
    def decided(self, item: str, stage: str, decision: Any, who: str, code: bool) -> None:
        self.same(lambda store, _: Inbox(store, self.workflow if code else None).decide(item, stage, decision, reviewer=who))

    @rule(
        item=st.sampled_from(ITEMS), stage=st.sampled_from(STAGES), who=st.sampled_from(["bo", "cy"]), act=st.sampled_from("cru")
    )
    def handled(self, item: str, stage: str, who: str, act: str) -> None:
        async def one(store: StateStore, _: int) -> None:
            inbox = Inbox(store)
            if act == "c":
                await inbox.claim(item, stage, reviewer=who, minutes=5)
            elif act == "r":
                await inbox.release(item, stage, reviewer=who)
            else:
                await inbox.undo(item, stage)

        self.same(one)

    @rule(
        decision=st.sampled_from([Approve(), Reject("no"), RequestChanges("more")]), verdict=st.sampled_from([None, "uncertain"])
    )
    def bulk(self, decision: Any, verdict: str | None) -> None:
        self.same(lambda store, _: Inbox(store).decide_all(ReviewFilter(verdict=verdict), decision, reviewer="cy"))

    @rule(item=st.sampled_from(ITEMS), stage=st.sampled_from(STAGES), act=st.sampled_from(["reopen", "rerun", "retry", "cancel"]))
    def operated(self, item: str, stage: str, act: str) -> None:
        async def one(store: StateStore, _: int) -> None:
            if act == "reopen":
                await Inbox(store).reopen(item, stage, operator="root", reason="why")
                return
            change = {
                "rerun": lambda state: decide.rerun(self.flow, state, stage, self.now, cascade=True),
                "retry": lambda state: decide.retry(self.flow, state, stage, self.now),
                "cancel": lambda state: decide.cancel(self.flow, state, "why", self.now),
            }[act]
            await store.revise(item, change)

        self.same(one)

    # what must be equal

    @invariant()
    def stores_agree(self) -> None:
        self.same(_everything)

    @invariant()
    def who_waits_has_been_asked(self) -> None:
        async def look(store: StateStore, _: int) -> None:
            for item in ITEMS:
                state = await store.load(item)
                for name, row in state.stages.items() if state is not None else ():
                    review = state.reviews.get(name)
                    is_open = review is not None and review.decision is None
                    assert is_open == (row.state == "awaiting_review"), f"{name} is {row.state}, its review {review}"

        self.both(look)


async def _opened() -> StateStore:
    return await SqliteStateStore.open_in_memory()


async def _everything(store: StateStore, _: int) -> Any:
    found: list[Any] = []
    for state in await store.page(Filter(), None, 10):
        loaded = await store.load(state.id)
        assert loaded is not None
        boards = {name: board.rows for name, board in loaded.boards.items()}
        found.append(
            [
                loaded.id,
                loaded.phase,
                loaded.news,
                loaded.fence,
                sorted(loaded.stages.items()),
                boards,
                sorted(loaded.reviews.items()),
            ]
        )
        found.append(sorted(state.stages.items()))
        found += [await store.attempts(state.id, stage) for stage in STAGES]
    for wanted in (
        ReviewFilter(),
        ReviewFilter(is_open=None),
        ReviewFilter(holder="bo"),
        ReviewFilter(holder=""),
        ReviewFilter("work", verdict="rejected"),
    ):
        found.append(await store.reviews(wanted, None, 100))
        found.append(await store.reviews(wanted, None, 100, newest_first=True))
    found.append(await store.events(0, 10_000))
    counts = await store.counts()
    found.append(
        [{k: v for k, v in counts.phases.items() if v}, {s: {k: v for k, v in c.items() if v} for s, c in counts.stages.items()}]
    )
    return found


Stores.TestCase.settings = settings(stateful_step_count=40, max_examples=40)


@pytest.mark.may_block  # the machine runs its own loop, and does nothing beside it
class TestStoresAgree(Stores.TestCase):  # type: ignore[name-defined,misc]
    pass
