"""Read models: one item, however much it holds: its stages, its timeline, what each stage made and how that came about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from treadle.artefact import shown
from treadle.clock import from_us, now_us
from treadle.errors import ItemNotFound, StageNotFound, StoreCorrupt
from treadle.gathered import told_attempts, whole_artefact
from treadle.history import Attempt, Review, read_attempt, read_review
from treadle.readable import subtask_status
from treadle.state import AttemptRow, ItemPhase, ItemState, StageState, SubtaskRow, SubTaskStatus
from treadle.status import PipelineStatus, StageEntry, pipeline_status
from treadle.store import OWN, Filter, Shape, StateStore

BARS = 200
"""Subtasks of a stage that a timeline shows."""
CHILDREN = 100
"""Subtasks on a page."""
ATTEMPTS = 50
"""Attempts that are shown, the last ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A stretch of an item's time.

    Args:
        what: how it ended, or ``running`` or ``awaiting_review`` while it goes on.
    """

    stage: str
    subtask: str | None
    number: int
    started_at: datetime
    ended_at: datetime
    what: str
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """An item as a whole, without what its stages made.

    Args:
        item: its content as JSON text; ``None`` if only statuses of it are known.
        needs: what each stage waits for.
        lost: who held it last and did not give it back.
    """

    status: PipelineStatus
    item: str | None
    needs: Mapping[str, Sequence[str]]
    added_at: datetime
    lost: Mapping[str, Any] | None = None

    @property
    def changed_at(self) -> datetime:
        """When a stage of it last changed, or when it came."""
        return max((entry.updated_at for entry in self.status.stages if entry.attempt), default=self.added_at)

    @property
    def is_over(self) -> bool:
        """Whether nobody can cancel it any more."""
        return self.status.phase in (ItemPhase.COMPLETED, ItemPhase.CANCELLED)


async def dossier(store: StateStore, item_id: str) -> Dossier:
    """The item; raises ``ItemNotFound``, ``StoreCorrupt``."""
    bare, shape = await _bare(store, item_id), await store.shape()
    # No stage has the empty name, so that this reads the item alone.
    whole = await store.load(item_id, stage="")
    if whole is None:
        raise ItemNotFound(item_id)
    return Dossier(
        status=pipeline_status(shape, bare),
        item=whole.payload,
        needs={} if shape is None else shape.stages,
        added_at=from_us(bare.added),
        lost=None if whole.lost is None else json.loads(whole.lost),
    )


async def _bare(store: StateStore, item_id: str) -> ItemState:
    # Of all ids that begin so, the id itself is the first.
    found = (await store.browse(Filter(prefix=item_id), None, 1)).items
    if not found or found[0].id != item_id:
        raise ItemNotFound(item_id)
    if found[0].problem is not None:
        raise StoreCorrupt(found[0].problem, item_id)
    return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What took how long, in the order of the stages and their beginnings.

    Args:
        left_out: how many subtasks are not shown.
    """

    bars: Sequence[Bar]
    left_out: int = 0


async def timeline(store: StateStore, found: Dossier) -> Timeline:
    """A bar for every attempt and subtask of the item."""
    bars: list[Bar] = []
    left_out = 0
    for entry in found.status.stages:
        if not entry.attempt:
            continue
        attempts = await store.attempts(found.status.item_id, entry.name, seq=OWN)
        bars += [_ended(attempt) for _, attempt in attempts[-ATTEMPTS:]]
        children = await store.children(found.status.item_id, entry.name, -1, BARS)
        left_out += sum(children.states.values()) - len(children.rows)
        bars += [bar for row in children.rows if (bar := _child(row)) is not None]
        if not children.rows and (bar := _going_on(entry)) is not None:
            bars.append(bar)
    return Timeline(bars=bars, left_out=left_out)


def _ended(attempt: AttemptRow) -> Bar:
    return Bar(
        stage=attempt.stage,
        subtask=None,
        number=attempt.number,
        started_at=from_us(attempt.started),
        ended_at=from_us(max(attempt.ended, attempt.started)),
        what=attempt.how,
        error=attempt.error,
    )


def _child(row: SubtaskRow) -> Bar | None:
    if row.started is None:
        return None
    ended = now_us() if row.state is StageState.RUNNING else row.updated
    return Bar(
        stage=row.stage,
        subtask=row.name,
        number=row.attempt,
        started_at=from_us(row.started),
        ended_at=from_us(max(ended, row.started)),
        what=row.state,
        error=row.error,
    )


def _going_on(entry: StageEntry) -> Bar | None:
    """What the stage does now, or waits for."""
    since = entry.started_at or entry.updated_at if entry.state is StageState.RUNNING else entry.updated_at
    if entry.state not in (StageState.RUNNING, StageState.AWAITING_REVIEW):
        return None
    return Bar(
        stage=entry.name, subtask=None, number=entry.attempt, started_at=since, ended_at=from_us(now_us()), what=entry.state
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePart:
    """What one stage of an item made, and how that came about.

    Args:
        artefact: as JSON values, a ``StoredArtefact`` in place of a large one; ``None``: nothing, or those of its subtasks.
        schema: the JSON schema of the artefact; empty where any value will do.
        attempts: the last ones, oldest first; of a fan-out, those of the expansion.
        left_out: how many earlier ones there are.
        children: how many subtasks stand in each state.
    """

    entry: StageEntry
    artefact: Any
    schema: Mapping[str, Any]
    attempts: Sequence[Attempt]
    left_out: int
    review: Review | None
    children: Mapping[StageState, int]


async def stage_part(store: StateStore, item_id: str, stage: str) -> StagePart:
    """One stage of an item; raises ``ItemNotFound``, ``StageNotFound``."""
    shape, state = await store.shape(), await _one_stage(store, item_id, stage)
    attempts = await told_attempts(store, item_id, stage, seq=OWN)
    row, review = state.stages.get(stage), state.reviews.get(stage)
    entry = next(entry for entry in pipeline_status(shape, state).stages if entry.name == stage)
    return StagePart(
        entry=entry,
        artefact=None if row is None else shown(row.artefact),
        schema={} if shape is None else shape.artefacts.get(stage, {}),
        attempts=[read_attempt(attempt) for _, attempt in attempts[-ATTEMPTS:]],
        left_out=max(len(attempts) - ATTEMPTS, 0),
        review=None if review is None else read_review(item_id, review),
        children=(await store.children(item_id, stage, -1, 0)).states,
    )


async def _one_stage(store: StateStore, item_id: str, stage: str) -> ItemState:
    shape, state = await store.shape(), await store.load(item_id, stage=stage)
    if state is None:
        raise ItemNotFound(item_id)
    _check_stage(shape, state, stage)
    return state


def _check_stage(shape: Shape | None, state: ItemState, stage: str) -> None:
    known = () if shape is None else tuple(shape.stages)
    if stage not in known and stage not in state.stages:
        raise StageNotFound(stage, known)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildPage:
    """Some subtasks; ``after`` is where the next page begins (``None``: there is none)."""

    children: Sequence[tuple[int, SubTaskStatus]]
    after: int | None


async def child_page(
    store: StateStore, item_id: str, stage: str, *, after: int = -1, state: StageState | None = None, limit: int = CHILDREN
) -> ChildPage:
    """The stage's subtasks by their places."""
    found = await store.children(item_id, stage, after, limit + 1, state=state)
    rows = found.rows[:limit]
    return ChildPage(
        children=[(row.seq, subtask_status(row)) for row in rows], after=rows[-1].seq if len(found.rows) > limit else None
    )


async def child_attempts(store: StateStore, item_id: str, stage: str, seq: int) -> list[Attempt]:
    """Every attempt at one subtask, oldest first."""
    return [read_attempt(row, name) for name, row in await told_attempts(store, item_id, stage, seq=seq)]


async def artefact_of(store: StateStore, item_id: str, stage: str) -> Any:
    """What the stage made, as JSON values, however large; raises ``ItemNotFound``, ``StageNotFound``, ``StoreCorrupt``."""
    state = await _one_stage(store, item_id, stage)
    row = state.stages.get(stage)
    if row is not None and row.fan_out and row.artefact is None:
        state = await store.load(item_id) or state
    return await whole_artefact(store, state, stage)
