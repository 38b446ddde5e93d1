"""What people look at in the store of this process: pages, the journal, samples of rows."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence

from treadle.event import WorkflowEvent
from treadle.state import EventRow, ItemPhase, ItemState, StageRow, StageState, SubtaskBoard
from treadle.store import Children, EventFilter, Filter, Journal, Listing, Tallied
from treadle.stores.memory_journal import MemoryJournal
from treadle.stores.memory_record import Record
from treadle.stores.shared import bare_child, bare_row, lowered, workflow_event

LOOK = 20_000
"""A page looks at no more items, or events, than this."""


def matches(record: Record, wanted: Filter) -> bool:
    """Whether the filter finds the item."""
    if wanted.prefix is not None and not record.id.startswith(wanted.prefix):
        return False
    if wanted.phase is not None and (record.phase is not wanted.phase or record.payload is None):
        return False
    if not (_says(record, wanted.text) and _stands(record, wanted)):
        return False
    changed = max((row.updated for row in record.stages.values()), default=record.added)
    is_later = wanted.changed_after is None or changed >= wanted.changed_after
    return is_later and (wanted.changed_before is None or changed < wanted.changed_before)


def _stands(record: Record, wanted: Filter) -> bool:
    if wanted.stage is not None:
        row = record.stages.get(wanted.stage)
        stands = row.state if row is not None else StageState.PENDING if record.payload is not None else None
        return stands is not None and wanted.state in (None, stands)
    return wanted.state is None or any(row.state is wanted.state for row in record.stages.values())


def _says(record: Record, text: str | None) -> bool:
    if text is None:
        return True
    open_rows = record.stages.values() if record.phase is not ItemPhase.COMPLETED else ()
    told = [record.id, *(row.error for row in open_rows if row.error is not None)]
    return any(lowered(text) in lowered(line) for line in told)


def _bare(record: Record) -> ItemState:
    payload = None if record.payload is None else ""
    bare = ItemState(record.id, payload, key=record.key, phase=record.phase, added=record.added)
    bare.stages = {name: bare_row(row) for name, row in record.stages.items()}
    return bare


def listing(
    ids: Sequence[str], record_of: Callable[[str], Record], wanted: Filter, after: str | None, limit: int, *, backwards: bool
) -> Listing:
    """A page of the sorted ids."""
    before = range((len(ids) if after is None else bisect_left(ids, after)) - 1, -1, -1)
    places = before if backwards else range(0 if after is None else bisect_right(ids, after), len(ids))
    found: list[ItemState] = []
    for looked, place in enumerate(places, 1):
        record = record_of(ids[place])
        if matches(record, wanted):
            found.append(_bare(record))
        if len(found) == limit or looked == LOOK:
            return Listing(found, record.id if looked < len(places) else None)
    return Listing(found, None)


def children(board: SubtaskBoard, after: int, limit: int, state: StageState | None) -> Children:
    """A page of the board's rows."""
    rows = [row for row in board.rows[after + 1 :] if state in (None, row.state)]
    return Children([bare_child(row) for row in rows[:limit]], Counter(row.state for row in board.rows))


def recent(
    items: Sequence[Record], events: MemoryJournal, wanted: StageState, limit: int, stage: str | None
) -> list[tuple[str, StageRow]]:
    """Rows of that state, those of the journal's end or of the last items first."""
    order: dict[str, Record] = {state.id: state for state in reversed(items)}
    if wanted is StageState.COMPLETED:
        told = dict.fromkeys(event.item_id for event in events.newest(LOOK))
        order = {identity: order[identity] for identity in told if identity in order} | order
    taken: Counter[str] = Counter()
    found = []
    for identity, state in order.items():
        for row in state.stages.values():
            if row.state is wanted and stage in (None, row.stage) and taken[row.stage] < limit:
                taken[row.stage] += 1
                found.append((identity, bare_row(row)))
    return found


def _is_wanted(identity: str, row: EventRow, wanted: EventFilter) -> bool:
    return (
        wanted.item_id in (None, identity)
        and wanted.stage in (None, row.stage)
        and (wanted.kinds is None or row.kind in wanted.kinds)
    )


def journal(events: MemoryJournal, wanted: EventFilter, after: int | None, limit: int, *, newest_first: bool) -> Journal:
    """A page of the journal."""
    before = range((len(events) if after is None else events.place_after(after - 1)) - 1, -1, -1)
    places = before if newest_first else range(events.place_after(after or 0), len(events))
    found: list[WorkflowEvent] = []
    for looked, place in enumerate(places, 1):
        cursor, identity, at, row = events[place]
        if _is_wanted(identity, row, wanted):
            found.append(workflow_event(cursor, at, identity, row))
        if len(found) == limit or looked == LOOK:
            return Journal(found, cursor if looked < len(places) else None)
    return Journal(found, None)


def tally(events: MemoryJournal, wanted: EventFilter, newest: int, width: int) -> list[Tallied]:
    """Counts of the journal's end."""
    counted = Counter(
        (at - at % width, row.stage, row.kind)
        for _, identity, at, row in events.newest(newest)
        if _is_wanted(identity, row, wanted)
    )
    ordered = sorted(counted, key=lambda key: (key[0], key[1] or "", key[2]))
    return [Tallied(*key, counted[key]) for key in ordered]
