"""The straight line: an item begins, or a plain stage has completed, and with that others start or the item ends.

It is what ``driving`` would say, said at once. Most of what a pipeline does is this, and putting a draft
together for it costs three times as much (``make bench``, W2): so what is not plain is left to ``driving``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

from treadle.definition import Definition, StageDefinition
from treadle.event import EventKind
from treadle.state import Alike, AttemptRow, Ended, EventRow, ItemPhase, ItemState, Rest, StageRow, StageState, Transition, Unit

_RUNNING, _COMPLETED, _ENDED = StageState.RUNNING, StageState.COMPLETED, Ended.COMPLETED
_FINISHED = frozenset({StageState.COMPLETED, StageState.SKIPPED})
_tuple = tuple.__new__
"""A named tuple with all its fields said; its own constructor, which fills in those that are not, takes twice as long."""
_ARTEFACT = StageRow._fields.index("artefact")
_ENDED_WELL = Rest(ItemPhase.COMPLETED, None)
_DONE, _ITEM_DONE = EventKind.STAGE_COMPLETED, EventRow(EventKind.WORKFLOW_COMPLETED)


def opening(flow: Definition, now: int) -> Transition | None:
    """The beginning of every item that nothing has happened to, the same for all; ``None`` where more has to be thought about."""
    roots = [flow.stages[name] for name in flow.roots]
    if any(stage.asks_leave or stage.priority for stage in roots):
        return None
    stages = tuple(_started(stage, now) for stage in roots)
    told, starts = tuple(stage.first_start for stage in roots), tuple(stage.unit for stage in roots)
    return Transition(now, stages, (), (), told, None, starts, begins=len(starts) == 1)


def is_untouched(state: ItemState) -> bool:
    """Whether nothing has happened to the item yet."""
    return not (state.stages or state.reviews)


def open_all(flow: Definition, states: Sequence[ItemState], opening: Transition) -> Alike:
    """Items that nothing has happened to begin; they stand as ``count`` and ``apply`` would leave them."""
    rows, running = {row.stage: row for row in opening.stages}, len(opening.starts)
    for state in states:
        state.unmet, state.stages, state.running = dict(flow.needed), rows.copy(), running
    return Alike(states, opening)


def straight(flow: Definition, state: ItemState, attempt: AttemptRow, now: int) -> Transition | None:
    """The transition, or ``None`` where more has to be thought about than a result and what waited for it."""
    stage = flow.stages[attempt.stage]
    if attempt.how is not _ENDED or attempt.seq is not None or attempt.metrics is not None or stage.judged or state.reviews:
        return None
    starts: list[Unit] = []
    stages: list[StageRow] = [_done(state.stages[stage.name], attempt, now)]
    told = [stage.first_end if attempt.number == 1 else EventRow(_DONE, stage.name, None, attempt.number)]
    for name in stage.feeds:
        if state.unmet[name] != 1:
            continue
        feed = flow.stages[name]
        if feed.asks_leave or feed.priority or name in state.stages:
            return None
        stages.append(_started(feed, now))
        told.append(feed.first_start)
        starts.append(feed.unit)
    if starts:
        return _tuple(Transition, (now, stages, (), (), told, None, starts, (), (), (), False, False, len(starts) == 1, ()))
    if not _was_last(flow, state, stage):
        return None
    told.append(_ITEM_DONE)
    return Transition(now, stages, (), (), told, _ENDED_WELL)


def apply_straight(flow: Definition, state: ItemState, change: Transition) -> None:
    """``apply`` what ``straight`` said: a stage that ran has completed, and what starts has no row yet."""
    rows, stages = state.stages, change.stages
    for row in stages:
        rows[row[0]] = row
    unmet = state.unmet
    for feed in flow.stages[stages[0][0]].feeds:
        unmet[feed] -= 1
    state.running += len(change.starts) - 1


def alike(states: Sequence[ItemState], change: Transition, artefacts: Iterable[str]) -> Alike:
    """What ``straight`` said of one item, for all that stand as it did and have made these."""
    done = change.stages[0]
    before, after = done[:_ARTEFACT], done[_ARTEFACT + 1 :]
    rows = zip(*map(repeat, before), artefacts, *map(repeat, after), strict=False)
    return Alike(states, change, list(map(_tuple, repeat(StageRow), rows)))


def apply_alike(flow: Definition, said: Alike) -> None:
    """``apply`` to each item what ``alike`` said of it; ``open_all`` has applied what it says."""
    (done, *started), starts = said.change.stages, len(said.change.starts)
    name, feeds = done.stage, flow.stages[done.stage].feeds
    for state, row in zip(said.states, said.made, strict=True):
        rows = state.stages
        rows[name] = row
        for other in started:
            rows[other.stage] = other
        for feed in feeds:
            state.unmet[feed] -= 1
        state.running += starts - 1


def _started(stage: StageDefinition, now: int) -> StageRow:
    return _tuple(StageRow, (stage.name, _RUNNING, 1, now, now, None, None, None, None, None, stage.version, 0, 0, 0, 0, None))


def _done(row: StageRow, attempt: AttemptRow, now: int) -> StageRow:
    return _tuple(StageRow, (
        row.stage, _COMPLETED, attempt.number, now, attempt.started, None, None, attempt.artefact, attempt.summary, None,
        row.version, row.spent, row.interruptions, 0, row.reruns, None,
    ))  # fmt: skip


def _was_last(flow: Definition, state: ItemState, stage: StageDefinition) -> bool:
    """Whether every other stage has finished before."""
    rows = state.stages
    if len(rows) < len(flow.stages) or state.running != 1 or state.asking:
        return False
    return all(name == stage.name or (name in rows and rows[name].state in _FINISHED) for name in flow.stages)
