"""What is said once of many items is, in every store, what would have come of it item by item."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle import MemoryStateStore, SqliteStateStore, StateStore, decide
from treadle.definition import Definition
from treadle.state import Alike, AttemptRow, Change, Ended, ItemState, Transition
from treadle.store import Filter, NewItem
from treadle.testing.contract_acts import ME, alive

pytestmark = pytest.mark.may_block  # a loop of its own, with nothing beside it

ITEMS = [f"i{n}" for n in range(5)]
SHAPES: list[dict[str, list[str]]] = [
    {"a": []},
    {"a": [], "b": ["a"]},
    {"a": [], "b": ["a"], "c": ["b"]},
    {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]},
]
ACTS = st.sampled_from(["open", "open", "end", "end", "end", "look", "revise", "cancel", "put off", "claim"])
SOME = st.sampled_from([set(ITEMS), set(ITEMS[:3]), set(ITEMS[2:]), {ITEMS[1]}, {ITEMS[2]}])
WHEN = {None: 1, "a": 2, "b": 3, "c": 4, "d": 5}
"""Everybody does the same at the same time, whenever that is, so that items come to stand alike in different ways."""


class Side:
    """A store that is told of many items at once, or of one after the other."""

    def __init__(self, store: StateStore, flow: Definition, *, at_once: bool) -> None:
        self.store, self.flow, self.at_once = store, flow, at_once
        self.worker = 0
        self.held: dict[str, ItemState] = {}
        self.told: list[Any] = []

    async def begin(self) -> None:
        await self.store.bind(self.flow)
        await self.store.add([NewItem(item, "{}") for item in ITEMS], decide.arrive(self.flow, 0))
        self.worker = await self.store.enlist(ME)
        await self.act("claim", set())

    async def act(self, act: str, some: set[str]) -> None:
        """What of these items it can be done to."""
        if act == "look":
            await self.store.page(Filter(), None, 1)
        elif act == "claim":
            for state in (await self.store.claim(self.worker, 9, 9, is_dead=alive)).items:
                decide.count(self.flow, state)
                self.held[state.id] = state
        elif act in ("revise", "cancel"):
            for item in some:
                await self.store.revise(item, self._revision(act))
        else:
            for states in self._alike(some):
                await self._commit(self._said(act, states))

    def _revision(self, act: str) -> Callable[[ItemState], Transition]:
        def change(found: ItemState) -> Transition:
            may_be = act == "cancel" and found.phase not in ("completed", "cancelled")
            return decide.cancel(self.flow, found, "why", 7) if may_be else Transition(7)

        return change

    def _alike(self, some: set[str]) -> list[list[ItemState]]:
        groups: dict[Any, list[ItemState]] = {}
        for item in ITEMS:
            if item in some and item in self.held:
                groups.setdefault(tuple(self.held[item].stages.values()), []).append(self.held[item])
        return list(groups.values())

    def _said(self, act: str, states: Sequence[ItemState]) -> Sequence[Change]:
        running = [row.stage for row in states[0].stages.values() if row.state == "running"]
        if act == "open" and not states[0].stages:
            opening = decide.opening(self.flow, WHEN[None])
            assert opening is not None
            return decide.open_all(self.flow, states, opening)
        if act == "put off":
            return Alike(states, Transition(8, rest=decide.arrive(self.flow, 8).rest))
        if act == "end" and running:
            at = WHEN[running[0]]
            attempt = AttemptRow(running[0], None, 1, at, at, Ended.COMPLETED, "0")
            said = decide.settle_alike(self.flow, states, attempt, [_artefact(state) for state in states], 9)
            if said is not None:
                decide.apply_alike(self.flow, said)
                return said
            return [(state, self._settled(state, attempt._replace(artefact=_artefact(state)))) for state in states]
        return []

    def _settled(self, state: ItemState, attempt: AttemptRow) -> Transition:
        change = decide.settle(self.flow, state, attempt, attempt.ended, 0.5, 9)
        decide.apply(self.flow, state, change)
        return change

    async def _commit(self, said: Sequence[Change]) -> None:
        refusals = await self.store.commit_all(said if self.at_once else list(said))
        self.told.append([str(refused) for refused in refusals])
        for (state, change), refused in zip(said, refusals, strict=True):
            if refused is not None or change.rest is not None:
                del self.held[state.id]

    async def standing(self) -> Any:
        """Everything that can be read of it."""
        items: list[Any] = []
        for item in ITEMS:
            state = await self.store.load(item)
            assert state is not None
            told = [(e.kind, e.stage, e.attempt, e.at, e.data) for e in await self.store.events(0, 100, item)]
            rows = sorted(state.stages.items())
            items.append([item, state.phase, state.priority, state.fence, state.news, rows, told])
        counts = await self.store.counts()
        cursors = [event.cursor for event in await self.store.events(0, 1_000)]
        assert sorted(set(cursors)) == cursors
        due = sorted(state.id for state in (await self.store.claim(self.worker, 9, 10**18, is_dead=alive)).items)
        phases = {phase: n for phase, n in counts.phases.items() if n}
        stages = {stage: {state: n for state, n in states.items() if n} for stage, states in counts.stages.items()}
        return items, phases, stages, due, len(cursors), self.told


def _artefact(state: ItemState) -> str:
    """One of two, so that items may stand alike afterwards too."""
    return '"even"' if int(state.id[1:]) % 2 == 0 else '"odd"'


async def _came_of(flow: Definition, acts: Sequence[tuple[str, set[str]]], open_: Callable[[], Awaitable[StateStore]]) -> Any:
    found: list[Any] = []
    for at_once in (True, False):
        side = Side(await open_(), flow, at_once=at_once)
        await side.begin()
        for act, some in acts:
            await side.act(act, some)
        found.append(await side.standing())
        await side.store.close()
    return found


async def _memory() -> StateStore:
    return MemoryStateStore()


async def _sqlite() -> StateStore:
    return await SqliteStateStore.open_in_memory()


@settings(max_examples=150)
@given(st.sampled_from(SHAPES), st.lists(st.tuples(ACTS, SOME), min_size=3, max_size=14))
def test_what_is_said_at_once_comes_to_what_is_said_of_each(
    shape: dict[str, list[str]], acts: list[tuple[str, set[str]]]
) -> None:
    async def compare() -> None:
        flow = Definition.from_shape("alike", shape)
        memory, each_in_memory = await _came_of(flow, acts, _memory)
        sqlite, each_in_sqlite = await _came_of(flow, acts, _sqlite)
        assert memory == each_in_memory
        assert sqlite == each_in_sqlite
        assert sqlite == memory

    asyncio.run(compare())
