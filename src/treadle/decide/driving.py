"""What whoever holds an item does with it: begin, start, settle, until it rests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from treadle.decide.draft import (
    COMPLETED,
    FAILED,
    FINISHED,
    PENDING,
    REVIEW,
    RUNNING,
    SKIPPED,
)
from treadle.decide.recovery import presume
from treadle.decide.settling import Settling
from treadle.decide.straight import alike, apply_straight, straight
from treadle.definition import Definition
from treadle.state import (
    Alike,
    AttemptRow,
    ItemState,
    StageRow,
    SubtaskBoard,
    SubtaskRow,
    Transition,
)


def count(flow: Definition, state: ItemState) -> None:
    """Fill the counters that ``apply`` keeps up to date; done when an item has been claimed."""
    state.asking = frozenset()
    if state.lost is not None:
        presume(flow, state)
    if not state.stages:
        state.unmet, state.running = dict(flow.needed), 0
        return
    finished = {name for name, row in state.stages.items() if row.state in FINISHED}
    state.unmet = {name: sum(need not in finished for need in stage.needs) for name, stage in flow.stages.items()}
    # What a dead worker left running is counted until ``begin`` takes it over.
    state.running = sum(row.state is RUNNING and not row.fan_out for row in state.stages.values())
    state.running += sum(board.running for board in state.boards.values())


def apply(flow: Definition, state: ItemState, change: Transition) -> None:
    """Make ``state`` what it is after ``change``; later decisions may build on it before it is durable."""
    rows = state.stages
    for row in change.stages:
        name, now = row.stage, row.state
        before = rows.get(name)
        rows[name] = row
        if before is not None and before.state is RUNNING and not before.fan_out:
            state.running -= 1
        if now is COMPLETED or now is SKIPPED:
            for feed in flow.stages[name].feeds:
                state.unmet[feed] -= 1
    state.running += len(change.starts)
    if change.subtasks:
        _apply_subtasks(state, change.subtasks)
    if state.asking:
        state.asking = state.asking.difference([row.stage for row in change.stages], change.forgone)
    if change.ready:
        state.asking = state.asking.union(change.ready)
    for review in change.reviews:
        state.reviews[review.stage] = review


def _apply_subtasks(state: ItemState, rows: Sequence[SubtaskRow]) -> None:
    for child in rows:
        board = state.boards.get(child.stage)
        if board is None:
            state.boards[child.stage] = board = SubtaskBoard()
        replaced = board.put(child)
        if replaced is not None and replaced.state is RUNNING:
            state.running -= 1


def begin(flow: Definition, state: ItemState, now: int, window: int, *, alone: bool = False) -> Transition:
    """What happens when an item has just been claimed.

    Whatever was running lost its worker: it is counted as interrupted and starts again, or fails after
    ``MAX_INTERRUPTIONS``. Everything that can start, starts; of a fan-out's children up to ``window``.
    ``alone``, of several stages only the one under most suspicion.
    """
    draft = Settling(flow, state, now, window)
    suspect = _prime_suspect(flow, state, now) if alone else None
    names: Iterable[str] = flow.stages if state.stages else flow.roots
    for name in names if suspect is None else (suspect,):
        stage, row = flow.stages[name], state.stages.get(name)
        if row is None or row.state is PENDING:
            if state.unmet[name] == 0 and (row is None or row.due is None or row.due <= now):
                draft.ready_or_started(stage, row)
        elif row.state is RUNNING:
            if row.fan_out:
                draft.resume_fan_out(stage, row)
            else:
                draft.interrupted(stage, row)
    return draft.finish()


def _prime_suspect(flow: Definition, state: ItemState, now: int) -> str | None:
    """Of the stages that can go on now, the one that was in flight at the most deaths; ``None`` if none was."""
    found, most = None, 0
    for name in flow.stages:
        row = state.stages.get(name)
        if row is None or state.unmet[name] or (row.due is not None and row.due > now):
            continue
        rows = state.boards[name].rows if row.fan_out and name in state.boards else [row]
        deaths = max((one.interruptions for one in rows if one.state is PENDING or one.state is RUNNING), default=0)
        if deaths > most:
            found, most = name, deaths
    return found


def heed(flow: Definition, state: ItemState, stored: ItemState) -> None:
    """What others decided of a held item becomes part of ``state``; ``wake`` then starts what may start because of it.

    ``stored`` may be older than ``state`` in everything that only the holder writes.
    """
    for name, row in stored.stages.items():
        mine = state.stages.get(name)
        if mine is None or not (_was_decided(mine, state, stored) or _was_retried(mine, row)):
            continue
        board, known = stored.boards.get(name), state.boards.get(name)
        children = [] if board is None or known is None else [c for c in board.rows if known.rows[c.seq] != c]
        reviews = [stored.reviews[name]] if name in stored.reviews else []
        apply(flow, state, Transition(row.updated, stages=[row], subtasks=children, reviews=reviews))
        state.stored[name] = row.state


def _was_decided(mine: StageRow, state: ItemState, stored: ItemState) -> bool:
    asked, now = state.reviews.get(mine.stage), stored.reviews.get(mine.stage)
    if mine.state is not REVIEW or asked is None or now is None:
        return False
    return asked.decision is None and now.decision is not None and now.revision == asked.revision


def _was_retried(mine: StageRow, row: StageRow) -> bool:
    return mine.state is FAILED and row.state is PENDING and row.attempt == mine.attempt


def wake(flow: Definition, state: ItemState, now: int, window: int) -> Transition:
    """Start what waited for a time that has come, or for a person, in an item whose other parts are still moving."""
    draft = Settling(flow, state, now, window)
    for name, stage in flow.stages.items():
        row = state.stages.get(name)
        if row is None or row.state is PENDING:
            if state.unmet[name] == 0 and name not in state.asking and (row is None or row.due is None or row.due <= now):
                draft.ready_or_started(stage, row)
        elif row.state is RUNNING and row.fan_out:
            board = state.boards[name]
            for child in board.next(max(draft.room(stage) - board.running, 0), now):
                draft.start_subtask(child)
    return draft.finish()


def next_due(state: ItemState) -> int | None:
    """The earliest time that something of the item waits for, if anything does."""
    dues = [row.due for row in state.stages.values() if row.due is not None and row.state is PENDING]
    dues += [board.later[0][0] for board in state.boards.values() if board.later]
    return min(dues, default=None)


def start(flow: Definition, state: ItemState, stage: str, now: int, window: int) -> Transition:
    """Start a stage that asked for leave and got it."""
    draft = Settling(flow, state, now, window)
    draft.started(flow.stages[stage], state.stages.get(stage))
    return draft.finish()


def skip(flow: Definition, state: ItemState, stage: str, reason: str, now: int, window: int) -> Transition:
    """Skip a stage that asked for leave, and start what waited for it."""
    draft = Settling(flow, state, now, window)
    before = state.stages.get(stage) or StageRow(stage, PENDING, 0, now)
    draft.skipped(before._replace(version=flow.stages[stage].version), reason, None)
    return draft.finish()


def forgo(flow: Definition, state: ItemState, stage: str, now: int) -> Transition:
    """Take back a stage's question for leave; the item rests if nothing else of it moves."""
    draft = Settling(flow, state, now, 0)
    draft.forgone = stage
    return draft.finish()


def settle(flow: Definition, state: ItemState, attempt: AttemptRow, now: int, chance: float, window: int) -> Transition:
    """What follows from an attempt's end.

    ``chance`` in [0, 1) is the random number for its jitter; with a ``window`` of 0 nothing new starts.
    """
    change = straight(flow, state, attempt, now) if window else None
    return _weighed(flow, state, attempt, now, chance, window) if change is None else change


def settle_in_place(flow: Definition, state: ItemState, attempt: AttemptRow, now: int, chance: float, window: int) -> Transition:
    """``settle``, and ``apply`` what follows."""
    change = straight(flow, state, attempt, now) if window else None
    if change is not None:
        apply_straight(flow, state, change)
        return change
    change = _weighed(flow, state, attempt, now, chance, window)
    apply(flow, state, change)
    return change


def settle_alike(
    flow: Definition, states: Sequence[ItemState], attempt: AttemptRow, artefacts: Sequence[str], window: int
) -> Alike | None:
    """``settle`` for items whose rows are equal, when attempts like this one succeed: each has made an artefact of its own.

    ``None``: each has to be thought about by itself.
    """
    change = straight(flow, states[0], attempt, attempt.ended) if window else None
    return None if change is None else alike(states, change, artefacts)


def _weighed(flow: Definition, state: ItemState, attempt: AttemptRow, now: int, chance: float, window: int) -> Transition:
    stage, draft = flow.stages[attempt.stage], Settling(flow, state, now, window)
    if attempt.seq is None:
        draft.settle_stage(stage, state.stages[attempt.stage], attempt, chance)
    else:
        row = state.boards[attempt.stage].rows[attempt.seq]
        draft.settle_subtask(stage, row, attempt, chance)
    return draft.finish()
