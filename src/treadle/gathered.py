"""What takes several looks into a store: artefacts with their large parts, attempts with what people said of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from treadle.artefact import StoredArtefact
from treadle.readable import stage_artefact
from treadle.state import AttemptRow, ItemState
from treadle.store import ReviewFilter, StateStore

_MAX_REVISIONS = 1000


async def whole_artefact(store: StateStore, state: ItemState, stage: str) -> Any:
    """What the stage made, as ``stage_artefact``, with everything in its place, however large.

    Raises:
        StoreCorrupt: some of its bytes are missing or altered.
    """

    async def whole(value: Any) -> Any:
        if isinstance(value, StoredArtefact):
            return json.loads(await stored_text(store, state.id, stage, value.reference))
        return value

    made, row = stage_artefact(state, stage), state.stages.get(stage)
    if row is not None and row.fan_out and isinstance(made, dict):
        return {name: await whole(value) for name, value in made.items()}
    return await whole(made)


async def stored_text(store: StateStore, item_id: str, stage: str, reference: str) -> str:
    """The JSON text that a reference in a row of that stage stands for; raises ``StoreCorrupt`` as ``pieces`` does."""
    pieces = [piece async for piece in store.pieces(item_id, stage, reference)]
    return await asyncio.to_thread(lambda: b"".join(pieces).decode())


async def told_attempts(
    store: StateStore, item_id: str, stage: str, *, seq: int | None = None
) -> list[tuple[str | None, AttemptRow]]:
    """``store.attempts``, each with what a person wanted done better about it."""
    attempts = await store.attempts(item_id, stage, seq=seq)
    found = await store.reviews(ReviewFilter(stage, item_id=item_id, is_open=None), None, _MAX_REVISIONS)
    for asked in (stored.row for stored in found if stored.row.feedback is not None):
        last = {a.seq: place for place, (_, a) in enumerate(attempts) if a.ended <= (asked.decided or 0)}
        latest = {a.seq: place for place, (_, a) in enumerate(attempts)}
        for unit, place in last.items():
            # A child that was not tried again was not told either.
            if unit is None or place != latest[unit]:
                name, attempt = attempts[place]
                attempts[place] = (name, attempt._replace(feedback=asked.feedback))
    return attempts
