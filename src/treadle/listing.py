"""Read model: a page of items, a cell a stage, forwards and backwards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from treadle.clock import from_us
from treadle.errors import StageNotFound, TreadleError
from treadle.state import ItemPhase, ItemState, StageState
from treadle.store import Filter, Shape, StateStore

PAGE = 100
_AGE = re.compile(r"([<>])(\d{1,6})(s|m|h|d)")
_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_OF_ITEMS = {StageState.PENDING: ItemPhase.PENDING, StageState.COMPLETED: ItemPhase.COMPLETED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One stage of one item."""

    stage: str
    state: StageState
    attempt: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRow:
    """One item with a cell for each stage of the workflow.

    Args:
        changed_at: when a stage of it last changed, or when it came.
        problem: why its rows cannot be read.
    """

    id: str
    phase: ItemPhase
    cells: Sequence[Cell]
    changed_at: datetime
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPage:
    """Some items in the order of their ids.

    Args:
        before, after: the ids that the pages before and after this one begin at; ``None``: there is none.
        reached: where looking for rare items stopped, when it did before the page was full.
    """

    items: Sequence[ItemRow]
    before: str | None
    after: str | None
    reached: str | None = None


def aged(wanted: Filter, age: str, now: int) -> Filter:
    """The filter for items that changed less (``<1h``) or more (``>2d``) than so long ago: s, m, h or d.

    Raises:
        TreadleError: it does not read so.
    """
    if (found := _AGE.fullmatch(age)) is None:
        raise TreadleError(
            f"age {age!r:.40} is none; write <1h for what changed within an hour, >2d for what has not for two days"
        )
    sign, number, unit = found.groups()
    moment = now - int(number) * _UNIT[unit] * 1_000_000
    return wanted._replace(changed_after=moment) if sign == "<" else wanted._replace(changed_before=moment)


def of_items(wanted: Filter) -> Filter:
    """The filter as people mean it: without a stage, an item that is pending or completed is so as a whole."""
    if wanted.stage is None and wanted.phase is None and wanted.state in _OF_ITEMS:
        return wanted._replace(state=None, phase=_OF_ITEMS[wanted.state])
    return wanted


async def item_page(
    store: StateStore, wanted: Filter, *, after: str | None = None, before: str | None = None, limit: int = PAGE
) -> ItemPage:
    """The items behind ``after``, or those before ``before``; raises ``StageNotFound`` for a stage that is none."""
    shape = await store.shape()
    if wanted.stage is not None and (shape is None or wanted.stage not in shape.stages):
        raise StageNotFound(wanted.stage, () if shape is None else tuple(shape.stages))
    backwards = before is not None
    # One more than is shown tells whether there is another page.
    found = await store.browse(of_items(wanted), before if backwards else after, limit + 1, backwards=backwards)
    rows = [item_row(shape, state) for state in found.items[:limit]]
    more = len(found.items) > limit
    if backwards:
        rows.reverse()
    came_from = before if backwards else after
    first, last = (rows[0].id, rows[-1].id) if rows else (came_from, came_from)
    return ItemPage(
        items=rows,
        before=first if (more if backwards else after is not None) else None,
        after=last if backwards or more else None,
        reached=None if more else found.reached,
    )


def item_row(shape: Shape | None, state: ItemState) -> ItemRow:
    """A bare item in the order of the workflow; stages it does not have (any more) are left out."""
    changed = max((row.updated for row in state.stages.values()), default=state.added)
    names = shape.stages if shape is not None else state.stages
    return ItemRow(
        id=state.id,
        phase=state.phase,
        cells=[_cell(state, name) for name in names],
        changed_at=from_us(changed),
        problem=state.problem,
    )


def _cell(state: ItemState, stage: str) -> Cell:
    row = state.stages.get(stage)
    if row is None:
        return Cell(stage=stage, state=StageState.PENDING)
    return Cell(stage=stage, state=row.state, attempt=row.attempt, error=row.error)
