"""What the tests of every store begin with: items that were added, claimed, moved."""

from __future__ import annotations

from typing import Any

from treadle import decide
from treadle.clock import now_us
from treadle.definition import Definition
from treadle.state import AttemptRow, Ended, ItemPhase, ItemState, Transition
from treadle.store import NewItem, Pruning, StateStore, WorkerIdentity, WorkerRow

FLOW = Definition.from_shape("contract", {"a": [], "b": ["a"]})
ME = WorkerIdentity("me", "here", "boot", 1, "1")


def alive(_: WorkerRow) -> bool:
    """Nobody is taken for dead."""
    return False


async def held(store: StateStore, *ids: str) -> list[ItemState]:
    """Items that were added and claimed, ready to be decided on."""
    await store.bind(FLOW)
    await store.add([NewItem(i, f'{{"id":"{i}"}}') for i in ids], decide.arrive(FLOW, now_us()))
    worker = await store.enlist(ME)
    claimed = await store.claim(worker, 100, now_us(), is_dead=alive)
    for state in claimed.items:
        decide.count(FLOW, state)
    return list(claimed.items)


async def write(store: StateStore, state: ItemState, change: Transition) -> None:
    """The change is made here and in the store."""
    decide.apply(FLOW, state, change)
    await store.commit(state, change)


async def finish(store: StateStore, state: ItemState) -> None:
    """Both stages complete, each with an artefact."""
    change = decide.begin(FLOW, state, now_us(), 10)
    await write(store, state, change)
    while change.starts:
        stage = change.starts[0][0]
        attempt = AttemptRow(stage, None, state.stages[stage].attempt, now_us(), now_us(), Ended.COMPLETED, artefact='{"n":1}')
        change = decide.settle(FLOW, state, attempt, now_us(), 0.0, 10)
        await write(store, state, change)


async def prune(
    store: StateStore, *, before: int | None = None, dry_run: bool = False, phases: Any = frozenset({ItemPhase.COMPLETED})
) -> int:
    """How many items a whole walk in small steps pruned."""
    now = now_us()
    wanted = Pruning(phases, now + 1 if before is None else before, now, "ann", "old", dry_run)
    items, after = 0, 0
    while True:
        step = await store.prune(wanted, after, 1)
        items += step.items
        if step.after is None:
            return items
        after = step.after
