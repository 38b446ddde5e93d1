"""``treadle show``: what an item's stages made, and how it came about."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter

from treadle.artefact import StoredArtefact
from treadle.cli.common import Format, WrongUse, as_json, clean, existing_store
from treadle.cli.streaming import artefact_pieces
from treadle.errors import ItemNotFound, StageNotFound
from treadle.history import Attempt, feedback_from_json, read_attempt, read_review, word_of
from treadle.readable import stage_artefact
from treadle.state import ItemState, StageState
from treadle.status import GLYPHS, lasted, pipeline_status
from treadle.store import StateStore


def show(
    item: str,
    stage: str | None = None,
    *,
    artefact: Annotated[bool, Parameter(negative="")] = False,
    store: str | None = None,
    format: Format = "table",  # noqa: A002
) -> int:
    """What an item's stages made, and every attempt at them.

    Args:
        item: an item's id.
        stage: one stage; all of them without it.
        artefact: only what this stage made, as JSON, however large.
        store: the store's path or address.
        format: table or json.
    """
    if artefact:
        if stage is None:
            raise WrongUse("--artefact of which stage? Give an item and a stage")
        return asyncio.run(_write_artefact(item, stage, store))
    return asyncio.run(_show(item, stage, store, format))


async def _write_artefact(item: str, stage: str, url: str | None) -> int:
    async with existing_store(url, read_only=True) as store:
        state, _ = await _found(store, item, stage)
        async for piece in artefact_pieces(store, state, stage):
            print(piece, end="")
    print()
    return 0


async def _found(store: StateStore, item: str, stage: str | None) -> tuple[ItemState, list[str]]:
    """The item, and the names of its stages."""
    state = await store.load(item)
    if state is None:
        raise ItemNotFound(item)
    names = [entry.name for entry in pipeline_status(await store.shape(), state).stages]
    if stage is not None and stage not in names:
        raise StageNotFound(stage, names)
    return state, names


async def _show(item: str, stage: str | None, url: str | None, format: Format) -> int:  # noqa: A002
    async with existing_store(url, read_only=True) as store:
        state, names = await _found(store, item, stage)
        shown = [await _stage_json(store, state, name) for name in ([stage] if stage is not None else names)]
    if format == "json":
        print(as_json({"item_id": item, "item": None if state.payload is None else json.loads(state.payload), "stages": shown}))
        return 0
    print(clean(f"{item}: {state.payload or ''}"))
    for one in shown:
        print()
        for line in _stage_lines(one):
            print(clean(line, lines=True))
    return 0


async def _stage_json(store: StateStore, state: ItemState, name: str) -> dict[str, Any]:
    row, review = state.stages.get(name), state.reviews.get(name)
    attempts = [read_attempt(attempt, subtask) for subtask, attempt in await store.attempts(state.id, name)]
    return {
        "stage": name,
        "state": row.state if row is not None else StageState.PENDING,
        "error": row.error if row else None,
        "artefact": stage_artefact(state, name),
        "review": None if review is None else asdict(read_review(state.id, review)),
        "feedback": None if row is None or row.feedback is None else asdict(feedback_from_json(row.feedback)),
        "attempts": [_attempt_json(attempt) for attempt in attempts],
    }


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    said = attempt.verdict
    return {
        "subtask": attempt.subtask,
        "number": attempt.number,
        "run": attempt.run,
        "how": attempt.outcome,
        "started_at": attempt.started_at,
        "seconds": attempt.seconds,
        "error": attempt.error,
        "failure": attempt.failure,
        "metrics": attempt.metrics or None,
        "verdict": None if said is None else {"verdict": word_of(said)} | asdict(said),
    }


def _stage_lines(one: dict[str, Any]) -> Iterator[str]:
    yield f"{GLYPHS[one['state']]} {one['stage']}  {one['state'].replace('_', ' ')}"
    if (review := one["review"]) is not None:
        yield f"  asked: {review['review']['summary']}"
        if review["decision"] is not None:
            yield f"  {review['decision'].replace('_', ' ')} by {review['reviewer'] or 'nobody'}{_after(review['note'])}"
    if isinstance(one["artefact"], StoredArtefact):
        yield f"  {one['artefact']}; `treadle show ITEM {one['stage']} --artefact` writes them out"
    elif one["artefact"] is not None:
        yield json.dumps(one["artefact"], default=str, indent=2, ensure_ascii=False)
    for attempt in one["attempts"]:
        yield from _attempt_lines(attempt)
    if (feedback := one["feedback"]) is not None:
        yield f"  the next attempt is told: {feedback['summary']}{_after(feedback['guidance'])}"


def _attempt_lines(attempt: dict[str, Any]) -> Iterator[str]:
    who = f" {attempt['subtask']}" if attempt["subtask"] else ""
    run = f" (run {attempt['run'] + 1})" if attempt["run"] else ""
    how = f"{attempt['how'].replace('_', ' ')} in {lasted(attempt['seconds'])}"
    yield f"  attempt {attempt['number']}{who}{run}: {how}{_after(attempt['error'])}"
    for frame in (attempt["failure"] or {}).get("frames", []):
        yield f"    {frame['file']}:{frame['line']} in {frame['function']}"
    if (verdict := attempt["verdict"]) is not None:
        feedback = verdict.get("feedback") or {}
        yield f"    gate: {verdict['verdict']}{_after(verdict.get('reason') or feedback.get('summary'))}"
        for criterion in verdict["criteria"]:
            shape = "✓" if criterion["passed"] else "×"
            yield f"    {shape} {criterion['name']}: {criterion['actual']}  ({criterion['expected']})"
        if feedback.get("guidance"):
            yield f"    guidance: {feedback['guidance']}"


def _after(text: str | None) -> str:
    return f": {text}" if text else ""
