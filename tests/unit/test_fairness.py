"""Who goes first: by priority, then by age; and a slow stage holds up nothing but itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from treadle import Engine, FanOut, InvalidItem, InvalidWorkflow, RetryBudget, StateStore, SubTask, Workflow, decide
from treadle import worker as worker_module
from treadle.arrival import new_item
from treadle.clock import now_us
from treadle.lines import Line

Item = dict[str, Any]


def numbered(count: int, first: int = 0) -> Iterator[Item]:
    return ({"id": f"{n:04}", "n": n} for n in range(first, first + count))


async def add(store: StateStore, flow: Workflow, *items: Any) -> None:
    await store.bind(flow.definition)
    await store.add([new_item(flow.definition, item) for item in items], decide.arrive(flow.definition, now_us()))


@dataclass(frozen=True)
class Letter:
    id: str
    urgency: int


# priorities of items


@pytest.mark.parametrize("priority", ["urgency", lambda letter: letter.urgency])
async def test_the_more_urgent_item_is_claimed_first_and_of_equals_the_older(store: StateStore, priority: Any) -> None:
    flow, ran = Workflow("letters", item=Letter, priority=priority), list[str]()

    @flow.stage(retry=RetryBudget(2, delay=0.001, jitter=False))
    async def read(letter: Letter) -> None:
        ran.append(letter.id)
        if ran.count(letter.id) == 1 and letter.id == "urgent":
            raise ValueError("again")

    @flow.stage
    async def after(letter: Letter, read: None) -> None: ...

    urgencies = {"late": -5, "b": 0, "a": 0, "c": 0, "urgent": 7}
    await add(store, flow, *(Letter(*fields) for fields in urgencies.items()))
    async with Engine(flow, store) as engine:
        await engine.run(concurrency=1)
    assert ran[0] == "urgent"
    assert [name for name in ran if name != "urgent"] == ["b", "a", "c", "late"]
    assert ran.count("urgent") == 2


async def test_an_urgent_item_that_comes_later_overtakes_those_that_wait(store: StateStore) -> None:
    flow, ran = Workflow("rush", priority=lambda item: item["n"]), list[int]()

    @flow.stage
    async def work(item: Item) -> None:
        ran.append(item["n"])
        if len(ran) == 1:
            await add(store, flow, {"id": "rush", "n": 9})

    await add(store, flow, *({"id": str(number), "n": 1} for number in range(5)))
    async with Engine(flow, store) as engine:
        await engine.run(concurrency=1)
    assert ran == [1, 9, 1, 1, 1, 1]


@pytest.mark.parametrize("given", [1.5, "7", None, True, 1_000_001])
async def test_a_priority_that_is_no_whole_number_refuses_that_item_alone(store: StateStore, given: object) -> None:
    flow = Workflow("odd", priority="urgency")

    @flow.stage
    async def work(item: Item) -> None: ...

    async with Engine(flow, store) as engine:
        with pytest.raises(InvalidItem, match=r"the priority of item 'odd' is .*; give a whole number"):
            await engine.run([{"id": "odd", "urgency": given}, {"id": "fine", "urgency": 3}, {"id": "none"}])
        assert (await engine.run()).completed == 2
        with pytest.raises(InvalidItem, match="the priority of item 'odd'"):
            await engine.advance({"id": "odd", "urgency": given})


async def test_a_priority_that_cannot_be_told_refuses_that_item_alone() -> None:
    flow = Workflow("raises", priority=lambda item: 1 // item["n"])

    @flow.stage
    async def work(item: Item) -> None: ...

    with pytest.raises(InvalidItem, match="the priority of item '0000' cannot be told: ZeroDivisionError"):
        new_item(flow.definition, {"id": "0000", "n": 0})


@pytest.mark.parametrize(
    ("given", "says"), [("hurry", "names a field that items of type Letter do not have"), (7, "is neither a field")]
)
def test_a_priority_that_nobody_can_read_is_a_problem_of_the_workflow(given: Any, says: str) -> None:
    flow = Workflow("wrong", item=Letter, priority=given)

    @flow.stage
    async def read(letter: Letter) -> None: ...

    with pytest.raises(InvalidWorkflow, match=says):
        flow.validate()


# lines


async def test_who_waits_for_a_slot_goes_by_priority_then_by_age(store: StateStore) -> None:
    flow, ran = Workflow("line", priority="urgency"), list[str]()
    first, waiting = asyncio.Event(), set[str]()

    @flow.stage(when=lambda item: waiting.add(item["id"]) is None)
    async def come(item: Item) -> None: ...

    @flow.stage(after=["come"], limit=1)
    async def narrow(item: Item) -> None:
        ran.append(item["id"])
        await first.wait()

    items = [{"id": "one"}, {"id": "two"}, {"id": "three"}, {"id": "hot", "urgency": 1}, {"id": "cold", "urgency": -1}]
    async with asyncio.timeout(20), Engine(flow, store) as engine:
        running = asyncio.create_task(engine.run(items[:1]))
        while not ran:  # noqa: ASYNC110 - the stage tells nobody
            await asyncio.sleep(0.001)
        await add(store, flow, *items[1:])
        worker = engine._entered_worker()
        worker.poke()
        while len(worker._limits.leave("narrow").line) < 3:  # type: ignore[union-attr]  # noqa: ASYNC110 - one more stands for the slot
            await asyncio.sleep(0.001)
        first.set()
        await running
    # Whoever came first to the slot stays there; the line behind is in order.
    assert ran[0] == "one"
    assert [name for name in ran if name in ("hot", "three", "cold")] in (["hot", "three", "cold"], ["hot", "cold", "three"])


async def test_lines_let_the_first_go_first_and_send_the_last_away() -> None:
    line, seen = Line(1, room=2), list[str]()
    assert await line.enter((0, 0))

    async def come(name: str, order: tuple[int, int], *, may_leave: bool = True) -> None:
        seen.append(f"{name} {'in' if await line.enter(order, lambda: may_leave) else 'away'}")

    async with asyncio.TaskGroup() as group:
        for name, order in (("b", (0, 5)), ("c", (0, 6)), ("late", (0, 9)), ("a", (0, 1)), ("hot", (-3, 8))):
            group.create_task(come(name, order))
        group.create_task(come("stays", (0, 99), may_leave=False))
        stopped = group.create_task(come("stopped", (-9, 0)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [name for name in seen if name.startswith("stopped")] == []
        stopped.cancel()
        for _ in range(20):
            line.leave()
            await asyncio.sleep(0)
    assert [name for name in seen if name.endswith("away")] == ["late away", "c away", "b away", "a away"]
    assert [name for name in seen if name.endswith("in")] == ["hot in", "stays in"]


# slow stages


def slow_and_fast(gate: asyncio.Event, came: list[str], slow: list[str]) -> Workflow:
    flow = Workflow("slow")

    @flow.stage
    async def fast(item: Item) -> None:
        came.append(item["id"])

    @flow.stage(after=["fast"], limit=1)
    async def narrow(item: Item) -> None:
        slow.append(item["id"])
        await gate.wait()
        await asyncio.sleep(0.002)

    return flow


async def seen(what: Callable[[], bool]) -> None:
    """Return when it is so."""
    async with asyncio.timeout(30):
        while not what():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.002)


async def test_items_that_wait_for_a_slow_stage_take_nobodys_place(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "IN_LINE", 10)
    gate, came, slow, most = asyncio.Event(), list[str](), list[str](), 0
    flow = slow_and_fast(gate, came, slow)
    async with Engine(flow, store) as engine:
        running = asyncio.create_task(engine.run(numbered(300), concurrency=10))
        worker = engine._entered_worker()

        def is_through() -> bool:
            nonlocal most
            most = max(most, len(worker._held))
            return len(came) == 300

        # Not one has come through the slow stage yet.
        await seen(is_through)
        assert len(slow) == 1
        gate.set()
        assert (await running).completed == 300
    # Nor does memory grow with those that wait: ten stand in line, one at the slot, ten move, and some are on their way out.
    assert most <= 40


async def test_of_those_that_wait_for_long_the_older_go_first(store: StateStore) -> None:
    gate, came, slow = asyncio.Event(), list[str](), list[str]()
    gate.set()
    async with Engine(slow_and_fast(gate, came, slow), store) as engine:
        assert (await engine.run(numbered(300), concurrency=10)).completed == 300
    for place, name in enumerate(slow):
        overtaken = sum(other < name for other in slow[place + 1 :])
        # Ten move at once; only those may change places.
        assert overtaken <= 20, f"{name} went before {overtaken} that had come earlier"


async def test_a_crowd_before_one_stage_does_not_empty_another(store: StateStore) -> None:
    gate, done = asyncio.Event(), list[int]()
    flow = Workflow("two")

    @flow.stage(limit=1, when=lambda item: item["n"] % 2 == 0)
    async def shut(item: Item) -> None:
        await gate.wait()

    @flow.stage(limit=2, when=lambda item: item["n"] % 2 == 1)
    async def open_(item: Item) -> None:
        done.append(item["n"])

    shut_name, open_name = flow.stages
    assert (shut_name, open_name) == ("shut", "open_")
    async with Engine(flow, store) as engine:
        running = asyncio.create_task(engine.run(numbered(200), concurrency=10))
        await seen(lambda: len(done) == 100)
        gate.set()
        assert (await running).completed == 200


async def test_subtasks_that_wait_for_slots_take_nobodys_place_either(store: StateStore) -> None:
    gate, came = asyncio.Event(), list[str]()
    flow = Workflow("fans")

    @flow.stage
    async def fast(item: Item) -> None:
        came.append(item["id"])

    @flow.stage(after=["fast"], limit=2)
    async def split(item: Item) -> FanOut:
        return FanOut([SubTask("a"), SubTask("b"), SubTask("c")])

    @split.subtask
    async def child(item: Item) -> None:
        await gate.wait()

    async with Engine(flow, store) as engine:
        running = asyncio.create_task(engine.run(numbered(100), concurrency=10))
        await seen(lambda: len(came) == 100)
        gate.set()
        assert (await running).completed == 100
