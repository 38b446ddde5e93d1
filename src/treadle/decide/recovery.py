"""What was in flight when its worker died: counted, put back, and under suspicion until it ends."""

from __future__ import annotations

from collections.abc import Iterator

from treadle.decide.draft import FINISHED, PENDING, RUNNING
from treadle.decide.settling import Settling
from treadle.definition import Definition
from treadle.state import ItemState, StageRow, SubtaskRow, Transition


def presume(flow: Definition, state: ItemState) -> None:
    """Of an item whose worker died: what was never tried and waits for nothing was in flight, whether it says so or not.

    Stores need not write at once that a stage has started (``Transition.starts``), and the first thing that it does may
    be to take its worker down: it would do so for ever if nobody counted.
    """
    if state.payload is None:
        return
    finished = {name for name, row in state.stages.items() if row.state in FINISHED}
    for name, stage in flow.stages.items():
        if name not in state.stages and not stage.asks_leave and finished.issuperset(stage.needs):
            since = max((state.stages[need].updated for need in stage.needs), default=state.added)
            state.stages[name] = StageRow(name, RUNNING, 1, since, since, version=stage.version)


def was_in_flight(state: ItemState) -> bool:
    """Whether something of an item that was just claimed was running when its last holder died."""
    return any(row.state is RUNNING for row in _units(state))


def recover(flow: Definition, state: ItemState, now: int) -> Transition:
    """What was running is pending again, one interruption richer, or fails if those were too many. Nothing starts."""
    draft = Settling(flow, state, now, 0)
    for name, stage in flow.stages.items():
        row = state.stages.get(name)
        if row is None or row.state is not RUNNING:
            continue
        if row.fan_out:
            draft.resume_fan_out(stage, row)
        else:
            draft.interrupted(stage, row)
    return Transition(now, draft.stages, draft.subtasks, draft.attempts, draft.events, reviews=draft.reviews)


def suspicion(state: ItemState) -> int:
    """How often what is still to do of the item was in flight when a worker died; 0: never."""
    return max((row.interruptions for row in _units(state) if row.state is PENDING or row.state is RUNNING), default=0)


def _units(state: ItemState) -> Iterator[StageRow | SubtaskRow]:
    """Everything that attempts are made at."""
    for row in state.stages.values():
        if not row.fan_out:
            yield row
    for board in state.boards.values():
        yield from board.rows
