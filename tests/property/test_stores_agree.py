"""Every store is the same store: after the same acts, whatever they are, rows, reviews, attempts and journal are equal."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
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

pytestmark = pytest.mark.may_block  # the machine runs a loop of its own, and does nothing beside it

ITEMS, STAGES = ("x", "y"), ("split", "work", "last")
CLOCKED = ("treadle.inbox", "treadle.store", "treadle.stores.memory", "treadle.stores.sqlite", "treadle.stores.sqlite_rows")
SEEDS = st.integers(0, 2**32)
"""What a rule does in detail is drawn from a seed: choice by choice, hypothesis would hardly get anywhere."""
SEEN: Counter[str] = Counter()
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
        SEEN.update(event.kind.value for event in self.loop.run_until_complete(self.stores[0].events(0, 10_000)))
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

    @rule(item=st.sampled_from(ITEMS), window=st.integers(1, 3), attempts=st.integers(1, 8), seed=SEEDS)
    def work(self, item: str, window: int, attempts: int, seed: int) -> None:
        """Claim the item, unless it is held already, and end some of what runs."""
        if item not in self.held:
            self._claim(item, window)
        chance = random.Random(seed)
        for _ in range(attempts):
            if self._running(item):
                self._end(item, chance)

    def _claim(self, item: str, window: int) -> None:
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

    def _end(self, item: str, chance: random.Random) -> None:
        stage, seq, number, run = chance.choice(self._running(item))
        how = chance.choice([Ended.COMPLETED, Ended.COMPLETED, Ended.COMPLETED, Ended.FAILED, Ended.TIMED_OUT, Ended.SKIPPED])
        if stage == "split" and seq is None and chance.random() < 0.8:
            how = Ended.FAN_OUT
        verdict = chance.choice(VERDICTS) if how is Ended.COMPLETED else None
        attempt = AttemptRow(
            stage, seq, number, self.now, self.now, how, run=run,
            artefact=chance.choice([None, "1", '{"a":"\u00e9"}']) if how is Ended.COMPLETED else None,
            error="ValueError: e" if how in (Ended.FAILED, Ended.TIMED_OUT) else None,
            subtasks=[(f"s{n}", None) for n in range(chance.randrange(4))] if how is Ended.FAN_OUT else (),
            verdict=None if verdict is None else json.dumps(verdict_data(verdict, "g")),
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

    @rule(seed=SEEDS, who=st.sampled_from(["ann", "bo", "cy"]), acts=st.integers(1, 4))
    def person(self, seed: int, who: str, acts: int) -> None:
        """Somebody works through what waits, and now and then on what does not."""
        chance = random.Random(seed)
        for _ in range(acts):
            waiting = self.same(lambda store, _: store.reviews(ReviewFilter(), None, 10))
            where = [(stored.item_id, stored.row.stage) for stored in waiting]
            if not where or chance.random() < 0.3:
                where = [(item, stage) for item in ITEMS for stage in STAGES]
            item, stage = chance.choice(where)
            self.same(self._act(chance, who, item, stage))

    def _act(self, chance: random.Random, who: str, item: str, stage: str) -> Callable[[StateStore, int], Awaitable[Any]]:
        act, decision, knows = chance.choice("dddddcru"), chance.choice(DECISIONS), chance.random() < 0.5

        async def one(store: StateStore, _: int) -> None:
            inbox = Inbox(store, self.workflow if knows else None)
            if act == "d":
                await inbox.decide(item, stage, decision, reviewer=who)
            elif act == "c":
                await inbox.claim(item, stage, reviewer=who, minutes=5)
            elif act == "r":
                await inbox.release(item, stage, reviewer=who)
            else:
                await inbox.undo(item, stage)

        return one

    @rule(
        decision=st.sampled_from([Approve(), Reject("no"), RequestChanges("more")]), verdict=st.sampled_from([None, "uncertain"])
    )
    def bulk(self, decision: Any, verdict: str | None) -> None:
        self.same(lambda store, _: Inbox(store).decide_all(ReviewFilter(verdict=verdict), decision, reviewer="cy"))

    @rule(
        item=st.sampled_from(ITEMS),
        stage=st.sampled_from(STAGES),
        act=st.sampled_from(["reopen", "rerun", "retry", "retry", "cancel"]),
    )
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
        for stage in STAGES:
            # Children and delays are for the decision that follows, and are not stored with the attempt.
            attempts = await store.attempts(state.id, stage)
            found.append([(name, a._replace(subtasks=(), retry=True, retry_after=None)) for name, a in attempts])
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


class TestStoresAgree(Stores.TestCase):  # type: ignore[name-defined,misc]
    """What hypothesis makes of the machine."""


def walk(seed: int, steps: int) -> None:
    """The machine's acts in a long row: hypothesis prefers short ones."""
    chance, machine = random.Random(seed), Stores()
    try:
        machine.bound()
        for _ in range(steps):
            item, stage, number = chance.choice(ITEMS), chance.choice(STAGES), chance.randrange(2**32)
            match chance.choice("wwwwwwpppppphhebodr"):
                case "w":
                    machine.work(item=item, window=chance.randint(1, 3), attempts=chance.randint(1, 8), seed=number)
                case "p":
                    machine.person(seed=number, who=chance.choice(["ann", "bo", "cy"]), acts=chance.randint(1, 4))
                case "h":
                    machine.heed(item=item)
                case "e":
                    machine.expire(item=item)
                case "b":
                    machine.bulk(decision=Approve(), verdict=chance.choice([None, "uncertain"]))
                case "o":
                    machine.operated(item=item, stage=stage, act=chance.choice(["reopen", "rerun", "cancel"]))
                case "r":
                    machine.operated(item=item, stage=stage, act="retry")
                case _:
                    machine.die()
            machine.stores_agree()
            machine.who_waits_has_been_asked()
    finally:
        machine.teardown()


def test_stores_agree_after_long_walks() -> None:
    SEEN.clear()
    for seed in range(25):
        walk(seed, 80)
    for kind in (
        "review_decided",
        "review_reopened",
        "stage_rerun",
        "stage_retried",
        "escalated",
        "subtask_completed",
        "item_cancelled",
    ):
        assert SEEN[kind] > 10, f"{kind} was seen {SEEN[kind]} times: {SEEN}"
