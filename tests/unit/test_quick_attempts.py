"""An attempt at a stage that is one call with the item says what the whole way says."""

from __future__ import annotations

import asyncio
import copy
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.unit.things import Item
from treadle import (
    AwaitingReview,
    Completed,
    Engine,
    FanOut,
    MemoryStateStore,
    PermanentError,
    RetryLater,
    ReviewData,
    ReviewPolicy,
    Skipped,
    SubTask,
    Workflow,
)
from treadle.attempt import Call, Subject, Surroundings, attempted
from treadle.breadth import Bodies
from treadle.clock import now_us
from treadle.executor import Threads
from treadle.state import AttemptRow, Ended, ItemState, StageRow, StageState

ROW = StageRow("one", StageState.RUNNING, 1, 5, 5, version="v1")


class Odd:
    """A value that is no JSON."""

    def __iter__(self) -> Any:
        raise OSError("iterated")


def _raising(error: Callable[[], BaseException]) -> Callable[[], Any]:
    def body() -> Any:
        raise error()

    return body


QUESTION = AwaitingReview(ReviewData("look"), {"n": 1})
BODIES: dict[str, tuple[Ended, Callable[[], Any]]] = {
    "a value": (Ended.COMPLETED, lambda: {"n": 1}),
    "a text": (Ended.COMPLETED, lambda: "ü\n"),
    "nothing": (Ended.COMPLETED, lambda: None),
    "a value with a summary": (Ended.COMPLETED, lambda: Completed({"n": 1}, "one")),
    "a summary alone": (Ended.COMPLETED, lambda: Completed(summary="one")),
    "a large value": (Ended.COMPLETED, lambda: "x" * 2_000_000),
    "skipped": (Ended.SKIPPED, lambda: Skipped("no need")),
    "a question": (Ended.AWAITING_REVIEW, lambda: QUESTION),
    "subtasks": (Ended.FAN_OUT, lambda: FanOut([SubTask("a"), SubTask("b", {"n": 1})])),
    "subtasks of one name": (Ended.FAILED, lambda: FanOut([SubTask("a"), SubTask("a")])),
    "no JSON": (Ended.FAILED, object),
    "no number": (Ended.FAILED, lambda: float("nan")),
    "code of its own": (Ended.FAILED, Odd),
    "an error": (Ended.FAILED, _raising(lambda: ValueError("broken"))),
    "a permanent error": (Ended.FAILED, _raising(lambda: PermanentError("broken"))),
    "later": (Ended.FAILED, _raising(lambda: RetryLater(3.0))),
    "its own time limit": (Ended.TIMED_OUT, _raising(lambda: TimeoutError("timed out after 3 s"))),
    "its own cancellation": (Ended.FAILED, _raising(asyncio.CancelledError)),
    "an exit": (Ended.FAILED, _raising(lambda: SystemExit(3))),
    "a generator's exit": (Ended.FAILED, _raising(GeneratorExit)),
}


def _surroundings(body: Callable[[], Any]) -> Surroundings:
    workflow = Workflow("quick")

    @workflow.stage(version="v1")
    async def one(item: Item) -> Any:
        await asyncio.sleep(0)
        return body()

    flow = workflow.definition
    assert flow.stages["one"].quick
    return Surroundings(flow, None, Threads(), None, Bodies())


def _state(payload: str | None = '{"id":"x","n":1}') -> ItemState:
    state = ItemState("x", payload)
    state.stages = {"one": ROW}
    return state


def _told(attempt: AttemptRow) -> AttemptRow:
    """Without its times."""
    assert attempt.started <= attempt.ended
    return attempt._replace(started=0, ended=0)


async def _both(surroundings: Surroundings, state: ItemState) -> tuple[AttemptRow, AttemptRow]:
    ways: list[Callable[[Subject], Awaitable[AttemptRow]]] = [
        lambda subject: attempted(surroundings, subject, "one"),
        lambda subject: Call(surroundings, subject, ("one", None), ROW).run(),
    ]
    quick, whole = [_told(await way(Subject(surroundings.flow, copy.deepcopy(state)))) for way in ways]
    assert surroundings.bodies.now == 0
    return quick, whole


@pytest.mark.parametrize("name", BODIES)
async def test_it_says_what_a_call_says(name: str) -> None:
    how, body = BODIES[name]
    quick, whole = await _both(_surroundings(body), _state())
    assert quick == whole
    assert quick.how is how


async def test_an_item_that_cannot_be_read_fails_the_attempt() -> None:
    quick, whole = await _both(_surroundings(lambda: 1), _state("{broken"))
    assert quick == whole
    assert (quick.how, quick.artefact) == (Ended.FAILED, None)


async def test_it_begins_before_the_body_and_ends_after_it() -> None:
    surroundings = _surroundings(now_us)
    began = now_us()
    attempt = await attempted(surroundings, Subject(surroundings.flow, _state()), "one")
    assert began <= attempt.started <= int(attempt.artefact or 0) <= attempt.ended <= now_us()


async def test_an_error_goes_with_its_attempt() -> None:
    """And with it all that the body had in hand, without waiting for the garbage collector."""
    known: list[weakref.ref[BaseException]] = []

    class Broken(Exception):
        def __init__(self) -> None:
            known.append(weakref.ref(self))

    surroundings = _surroundings(_raising(Broken))
    gc.disable()
    try:
        attempt = await attempted(surroundings, Subject(surroundings.flow, _state()), "one")
        assert (attempt.how, [error() for error in known]) == (Ended.FAILED, [None])
    finally:
        gc.enable()


@pytest.mark.parametrize("batch", [None, 4])
async def test_what_cannot_be_stored_is_encoded_once(batch: int | None) -> None:
    """The second time, what is left of an iterator would do."""
    workflow = Workflow("once")

    def values() -> Iterator[Any]:
        yield 1
        yield "no number"
        yield 3

    if batch is None:

        @workflow.stage
        async def one(item: Item) -> list[int]:
            return values()  # type: ignore[return-value]

    else:

        @workflow.stage(batch=batch, batch_wait=0.001)
        async def one(items: list[Item]) -> list[list[int]]:
            return [values() for _ in items]  # type: ignore[misc]

    store = MemoryStateStore()
    async with Engine(workflow, store) as engine:
        await engine.run([{"id": "x"}])
    state = await store.load("x")
    assert state is not None
    assert (state.stages["one"].state, state.stages["one"].artefact) == (StageState.FAILED, None)
    assert "the artefact of stage 'one' of item 'x': 1: Input should be a valid integer" in (state.stages["one"].error or "")


def test_whoever_closes_it_is_heard() -> None:
    """As when what is left of a loop is cleared away."""
    surroundings = _surroundings(lambda: 1)

    async def chain() -> None:
        await attempted(surroundings, Subject(surroundings.flow, _state()), "one")
        await asyncio.sleep(0)

    closed = chain()
    closed.send(None)
    assert surroundings.bodies.now == 1
    closed.close()
    assert surroundings.bodies.now == 0


async def test_whoever_cancels_it_from_outside_is_heard() -> None:
    surroundings = _surroundings(lambda: 1)
    task = asyncio.create_task(attempted(surroundings, Subject(surroundings.flow, _state()), "one"))
    await asyncio.sleep(0)
    assert surroundings.bodies.now == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert surroundings.bodies.now == 0


@pytest.mark.parametrize("options", [{"timeout": 5.0}, {"batch": 4}, {"gate": lambda made: True}])
def test_what_is_more_than_one_call_is_not_quick(options: dict[str, Any]) -> None:
    workflow = Workflow("more")

    @workflow.stage(**options)
    async def one(item: Any) -> Any:
        return item

    assert not workflow.definition.stages["one"].quick


def test_what_takes_more_than_the_item_is_not_quick() -> None:
    workflow = Workflow("more")

    @workflow.stage
    async def one(item: Item) -> int:
        return 1

    @workflow.stage
    async def two(item: Item, one: int) -> int:
        return one

    @workflow.stage(after=["one"])
    def three(item: Item) -> int:
        return 1

    stages = workflow.definition.stages
    assert [stage.quick for stage in stages.values()] == [True, False, False]


async def test_the_first_attempt_after_a_rerun_is_of_that_run() -> None:
    workflow, wanted = Workflow("again"), [False, True]

    @workflow.stage(when=lambda item: wanted.pop(0), review=ReviewPolicy.ALWAYS)
    async def one(item: Item) -> int:
        return 1

    assert workflow.definition.stages["one"].quick
    store = MemoryStateStore()
    async with Engine(workflow, store) as engine:
        await engine.run([{"id": "x"}])
        await engine.rerun("x", "one")
        await engine.run()
        assert [(row.run, row.number) for _, row in await store.attempts("x", "one")] == [(1, 1)]


async def test_an_item_that_is_wanted_by_name_is_given_by_name() -> None:
    workflow = Workflow("named")

    @workflow.stage
    async def one(*, item: Item) -> int:
        return int(item["n"])

    store = MemoryStateStore()
    async with Engine(workflow, store) as engine:
        assert (await engine.run([{"id": "x", "n": 3}])).completed == 1
