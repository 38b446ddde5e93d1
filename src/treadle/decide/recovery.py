"""What was in flight when its worker died: counted, put back, and under suspicion until it ends."""

from __future__ import annotations

from collections.abc import Iterator

from treadle.decide.draft import PENDING, RUNNING
from treadle.decide.settling import Settling
from treadle.definition import Definition
from treadle.state import ItemState, StageRow, SubtaskRow, Transition


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
