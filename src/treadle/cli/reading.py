"""Commands that only look: status, items, events, export, doctor."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
from collections.abc import AsyncIterator, Coroutine
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from treadle.cli.common import Format, WrongUse, as_json, clean, existing_store, store_url, table, terminal_width
from treadle.errors import StageNotFound
from treadle.event import WorkflowEvent
from treadle.state import ItemPhase, StageState
from treadle.status import GLYPHS, ago, item_status, pipeline_status
from treadle.store import Filter, StateStore

_ORDER = (
    StageState.COMPLETED, StageState.RUNNING, StageState.AWAITING_REVIEW, StageState.FAILED, StageState.SKIPPED, StageState.PENDING,
)  # fmt: skip
_WORDS = {StageState.AWAITING_REVIEW: "need a person"}


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
    async with existing_store(url) as store:
        if item is not None:
            found = await item_status(store, item)
            if format == "json":
                print(
                    as_json({"item_id": found.item_id, "phase": found.phase, "stages": [asdict(entry) for entry in found.stages]})
                )
            else:
                print(clean(str(found), lines=True))
                for entry in found.stages:
                    for child in [c for c in entry.subtasks if c.state is StageState.FAILED][:20]:
                        print(clean(f"    {GLYPHS[child.state]} {entry.name}/{child.name}: {child.error}"))
            return _code({found.phase: 1})
        counts = await store.counts()
        if format == "json":
            print(
                as_json(
                    {
                        "items": counts.items,
                        "phases": dict(counts.phases),
                        "stages": {k: dict(v) for k, v in counts.stages.items()},
                    }
                )
            )
        else:
            print(f"{counts.items:,} items: " + ", ".join(f"{n:,} {_phase_words(phase)}" for phase, n in counts.phases.items()))
            used = [state for state in _ORDER if any(states.get(state) for states in counts.stages.values())]
            head = ["stage", *(f"{GLYPHS[state]} {_WORDS.get(state, state.value)}" for state in used)]
            rows: list[list[object]] = [
                [name, *(f"{states.get(state, 0):,}" for state in used)] for name, states in counts.stages.items()
            ]
            print(table(head, rows, width=terminal_width()))
        return _code(counts.phases)


def _phase_words(phase: ItemPhase) -> str:
    return "need a person" if phase is ItemPhase.AWAITING_REVIEW else phase.value


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
    limit: int = 50,
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
    async with existing_store(url) as store:
        shape = await store.shape()
        if shape is not None and wanted.stage is not None and wanted.stage not in shape.stages:
            raise StageNotFound(wanted.stage, tuple(shape.stages))
        page = await store.page(wanted, after, max(limit, 1))
        if format == "json":
            print(as_json([_item_json(pipeline_status(shape, state)) for state in page]))
            return 0
        now = datetime.now(UTC)
        rows: list[list[object]] = []
        for state in page:
            found = pipeline_status(shape, state)
            changed = max((entry.updated_at for entry in found.stages), default=now)
            rows.append(
                [state.id, "".join(GLYPHS[entry.state] for entry in found.stages), _phase_words(found.phase), ago(changed, now)]
            )
        print(table(["item", "stages", "", "changed"], rows, width=terminal_width()))
        if len(page) == limit:
            print(f"more: treadle items --after {clean(page[-1].id)}")
    return 0


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
    async with existing_store(url) as store:
        async for event in _read(store, after, item, follow=follow):
            if format == "json":
                print(json.dumps(asdict(event), default=str), flush=follow)
            else:
                what = f"{event.stage or ''}{'/' + event.subtask if event.subtask else ''}"
                said = event.data.get("error") or event.data.get("summary") or event.data.get("reason") or ""
                print(
                    clean(f"{event.cursor:>8} {event.at:%H:%M:%S} {event.item_id}  {event.kind.value} {what} {said}"),
                    flush=follow,
                )
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
    """Every item with its stages' states and artefacts.

    Args:
        format: jsonl (with artefacts) or csv (states).
        store: the store's path or address.
    """
    return _run(_export(format, store))


async def _export(format: str, url: str | None) -> int:  # noqa: A002
    async with existing_store(url) as store:
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
                made = {name: json.loads(row.artefact) for name, row in state.stages.items() if row.artefact is not None}
                print(json.dumps(_item_json(found) | {"item": json.loads(state.payload or "null"), "artefacts": made}))
    return 0


def _csv_line(cells: list[str]) -> str:
    """One line; a cell that a spreadsheet would take for a formula is quoted."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(
        ["'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell for cell in cells]
    )
    return out.getvalue()


def doctor(*, store: str | None = None) -> int:
    """What is wrong with the store or this machine, each with what to do.

    Args:
        store: the store's path or address.
    """
    return _run(_doctor(store))


async def _doctor(url: str | None) -> int:
    print(
        f"SQLite {sqlite3.sqlite_version}"
        + ("" if sqlite3.sqlite_version_info >= (3, 51, 3) else ": checkpoints are kept apart from commits")
    )
    async with existing_store(url) as store:
        shape = await store.shape()
        print(clean(f"store {store_url(url)}: workflow {shape.workflow if shape else 'none yet'}"))
        counts = await store.counts()
        print(f"{counts.items:,} items")
        if failed := counts.phases.get(ItemPhase.FAILED):
            print(f"× {failed:,} failed: `treadle items --state failed`, then `treadle retry --state failed`")
        if waiting := counts.phases.get(ItemPhase.AWAITING_REVIEW):
            print(f"● {waiting:,} need a person: `treadle review list`")
    return 0
