"""Commands that only look: status, items, events, export."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import shlex
import sys
from collections.abc import AsyncIterator, Coroutine
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from treadle.cli.common import Format, WrongUse, as_json, clean, existing_store, fitted, store_url, table, terminal_width
from treadle.cli.streaming import artefact_pieces, damage
from treadle.errors import StageNotFound
from treadle.event import EventKind, WorkflowEvent
from treadle.state import ItemPhase, ItemState, StageState
from treadle.status import (
    GLYPHS,
    PHASE_WORDS,
    WORDS,
    PipelineStatus,
    StageEntry,
    ago,
    item_status,
    lasted,
    overview,
    pipeline_status,
)
from treadle.store import Filter, StateStore
from treadle.wording import counted

_PAGE = 50
_MAX_CHILDREN = 20


def _run(work: Coroutine[Any, Any, int]) -> int:
    return asyncio.run(work)


def status(item: str | None = None, *, store: str | None = None, format: Format = "table") -> int:  # noqa: A002 - the flag's name
    """Where all items are, or one of them.

    Args:
        item: an item's id; all items without it.
        store: the store's path or address.
        format: table or json.
    """
    return _run(_status(item, store, format))


async def _status(item: str | None, url: str | None, format: Format) -> int:  # noqa: A002
    async with existing_store(url, read_only=True) as store:
        if item is not None:
            found = await item_status(store, item)
            if format == "json":
                print(
                    as_json({"item_id": found.item_id, "phase": found.phase, "stages": [asdict(entry) for entry in found.stages]})
                )
            else:
                _print_item(found)
            return _code({found.phase: 1})
        counts = await store.counts()
        if format == "json":
            stages = {name: dict(states) for name, states in counts.stages.items()}
            print(as_json({"items": counts.items, "phases": dict(counts.phases), "stages": stages}))
        elif not counts.items:
            print(f"no items yet in {clean(store_url(url))}; `treadle run APP ARGUMENTS...` adds those of the workflow's source")
        else:
            print(overview(counts, terminal_width()))
        return _code(counts.phases)


def _print_item(found: PipelineStatus) -> None:
    """A line a stage: its state, how long it took or since when it stands, and what there is to say; failed subtasks below."""
    now, width = datetime.now(UTC), terminal_width()
    print(clean(str(found).splitlines()[0]))
    names = max((len(entry.name) for entry in found.stages), default=0)
    for entry in found.stages:
        state = WORDS.get(entry.state, entry.state.value)
        line = f"  {GLYPHS[entry.state]} {entry.name:<{names}}  {state:<13}  {_time(entry, now):<16}  {_said(entry, now)}"
        print(fitted(clean(line), width).rstrip())
        told = [child for child in entry.subtasks if child.state in (StageState.FAILED, StageState.RUNNING)]
        for child in told[:_MAX_CHILDREN]:
            print(fitted(clean(f"      {GLYPHS[child.state]} {child.name}  {_first_line(child.error)}"), width).rstrip())
        if len(told) > _MAX_CHILDREN:
            print(f"      and {len(told) - _MAX_CHILDREN:,} more: treadle show {shlex.quote(clean(found.item_id))} {entry.name}")


def _time(entry: StageEntry, now: datetime) -> str:
    if entry.state in (StageState.RUNNING, StageState.AWAITING_REVIEW):
        return f"for {lasted((now - entry.updated_at).total_seconds())}"
    if entry.attempt == 0:
        return ""
    if entry.state is StageState.PENDING or entry.started_at is None:
        return _when(entry.updated_at, now)
    return f"{lasted((entry.updated_at - entry.started_at).total_seconds())}, {_when(entry.updated_at, now)}"


def _when(moment: datetime, now: datetime) -> str:
    said = ago(moment, now)
    return said if said == "now" else f"{said} ago"


def _said(entry: StageEntry, now: datetime) -> str:
    """What else there is to say: tries, subtasks, when the next attempt is due, the error or the question."""
    parts = [f"attempt {entry.attempt}"] if entry.attempt > 1 else []
    if entry.subtasks and entry.state is not StageState.FAILED:  # its error counts them
        done = sum(child.state.is_finished for child in entry.subtasks)
        parts.append(f"{done:,} of {counted(len(entry.subtasks), 'subtask')}")
    if entry.due_at is not None and entry.due_at > now:
        parts.append(f"again in {lasted((entry.due_at - now).total_seconds())}")
    if entry.error:
        parts.append(_first_line(entry.error))
    elif entry.review_data is not None and entry.state is StageState.AWAITING_REVIEW:
        parts.append(entry.review_data.summary)
    return "; ".join(parts)


def _first_line(text: str | None) -> str:
    return text.splitlines()[0] if text else ""


def _code(phases: Any) -> int:
    from treadle.cli import DONE, PEOPLE_MUST_DECIDE, SOME_FAILED

    if phases.get(ItemPhase.FAILED):
        return SOME_FAILED
    return PEOPLE_MUST_DECIDE if phases.get(ItemPhase.AWAITING_REVIEW) else DONE


def items(
    *,
    stage: str | None = None,
    state: StageState | None = None,
    prefix: str | None = None,
    after: str | None = None,
    limit: int = _PAGE,
    store: str | None = None,
    format: Format = "table",  # noqa: A002
) -> int:
    """Items by id, a page at a time.

    Args:
        stage: only those that have this stage in ``--state``.
        state: pending, running, completed, failed, awaiting_review or skipped.
        prefix: only ids that begin so.
        after: only ids behind this one: the last of the page before.
        limit: how many.
        store: the store's path or address.
        format: table or json.
    """
    return _run(_items(Filter(stage, state, prefix=prefix), after, limit, store, format))


async def _items(wanted: Filter, after: str | None, limit: int, url: str | None, format: Format) -> int:  # noqa: A002
    if limit < 1:
        raise WrongUse("--limit is 1 or more")
    async with existing_store(url, read_only=True) as store:
        shape = await store.shape()
        if shape is not None and wanted.stage is not None and wanted.stage not in shape.stages:
            raise StageNotFound(wanted.stage, tuple(shape.stages))
        # One more than asked for shows whether there is a next page.
        page = await store.page(wanted, after, limit + 1)
    shown, more = page[:limit], len(page) > limit
    if format == "json":
        print(as_json([_item_json(pipeline_status(shape, state)) for state in shown]))
        return 0
    if not shown:
        print("no such items")
        return 0
    now = datetime.now(UTC)
    rows: list[list[object]] = []
    for state in shown:
        found = pipeline_status(shape, state)
        changed = max((entry.updated_at for entry in found.stages), default=now)
        glyphs = "".join(GLYPHS[entry.state] for entry in found.stages)
        rows.append([state.id, glyphs, PHASE_WORDS.get(found.phase, found.phase.value), ago(changed, now)])
    print(table(["item", "stages", "stands", "changed"], rows, width=terminal_width()))
    if more:
        print(f"more: {_next_page(wanted, shown[-1].id, limit, url)}")
    return 0


def _next_page(wanted: Filter, after: str, limit: int, url: str | None) -> str:
    given = {"stage": wanted.stage, "state": wanted.state, "prefix": wanted.prefix, "store": url, "after": after}
    words = [f"--{name} {shlex.quote(clean(value))}" for name, value in given.items() if value is not None]
    return " ".join(["treadle items", *words, *([f"--limit {limit}"] if limit != _PAGE else [])])


def _item_json(found: Any) -> dict[str, Any]:
    return {"item_id": found.item_id, "phase": found.phase, "stages": {entry.name: entry.state for entry in found.stages}}


def events(
    *,
    follow: Annotated[bool, Parameter(alias="-f")] = False,
    after: int = 0,
    item: str | None = None,
    store: str | None = None,
    format: Format = "table",  # noqa: A002
) -> int:
    """The journal, in order.

    Args:
        follow: wait for more at its end, until Ctrl-C.
        after: only events behind this cursor.
        item: only this item's.
        store: the store's path or address.
        format: table, or json: one object a line.
    """
    return _run(_events(follow, after, item, store, format))


async def _events(follow: bool, after: int, item: str | None, url: str | None, format: Format) -> int:  # noqa: A002, FBT001
    async with existing_store(url, read_only=True) as store:
        async for event in _read(store, after, item, follow=follow):
            if format == "json":
                print(json.dumps(asdict(event), default=str), flush=follow)
            else:
                what = f"{event.stage or ''}{'/' + event.subtask if event.subtask else ''}"
                said = event.data.get("error") or event.data.get("summary") or event.data.get("reason") or ""
                if event.kind is EventKind.ITEMS_PRUNED:
                    said = f"{event.data['items']:,} by {event.data['by']} {said}"
                line = f"{event.cursor:>8} {event.at:%H:%M:%S} {event.item_id}  {event.kind.value} {what} {said}"
                print(clean(line).rstrip(), flush=follow)
    return 0


async def _read(store: StateStore, after: int, item: str | None, *, follow: bool) -> AsyncIterator[WorkflowEvent]:
    while True:
        page = await store.events(after, 500, item)
        for event in page:
            after = event.cursor
            yield event
        if not page:
            if not follow:
                return
            await asyncio.sleep(0.25)


def export(*, format: Literal["jsonl", "csv"] = "jsonl", store: str | None = None) -> int:  # noqa: A002
    """Every item with its stages' states and artefacts. Ends with 1 if bytes of an artefact are missing or altered.

    Args:
        format: jsonl (with artefacts) or csv (states).
        store: the store's path or address.
    """
    return _run(_export(format, store))


async def _print_item_line(store: StateStore, state: ItemState, found: PipelineStatus) -> bool:
    """One line of JSON, artefacts in pieces; whether all of them were whole."""
    head = _item_json(found) | {"item": json.loads(state.payload or "null")}
    # What a fan-out made is in its subtasks, which pages leave out.
    whole = await store.load(state.id) if any(row.fan_out for row in state.stages.values()) else state
    made = [name for name, row in state.stages.items() if row.artefact is not None or row.fan_out]
    damaged = {name: reason for name in made if (reason := await damage(store, whole or state, name)) is not None}
    print(json.dumps(head | ({"damaged": damaged} if damaged else {}))[:-1], end=', "artefacts": {')
    for place, name in enumerate(name for name in made if name not in damaged):
        print(f"{', ' if place else ''}{json.dumps(name)}: ", end="")
        async for piece in artefact_pieces(store, whole or state, name):
            print(piece, end="")
    print("}}")
    for reason in damaged.values():
        print(clean(reason), file=sys.stderr)
    return not damaged


async def _export(format: str, url: str | None) -> int:  # noqa: A002
    is_whole = True
    async with existing_store(url, read_only=True) as store:
        shape = await store.shape()
        if shape is None:
            raise WrongUse(f"{store_url(url)} has no workflow yet; there is nothing to export")
        names, after = list(shape.stages), None
        if format == "csv":
            print(_csv_line(["item", "phase", *names]))
        while page := await store.page(Filter(), after, 500):
            after = page[-1].id
            for state in page:
                found = pipeline_status(shape, state)
                if format == "csv":
                    print(_csv_line([state.id, found.phase.value, *(entry.state.value for entry in found.stages)]))
                    continue
                is_whole = await _print_item_line(store, state, found) and is_whole
    return 0 if is_whole else 1


def _csv_line(cells: list[str]) -> str:
    """One line; a cell that a spreadsheet would take for a formula is quoted."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(
        ["'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell for cell in cells]
    )
    return out.getvalue()
