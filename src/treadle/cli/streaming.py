"""Artefacts on standard output, a piece at a time, however large."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import AsyncIterator

from treadle.artefact import is_reference
from treadle.errors import StoreCorrupt
from treadle.state import ItemState
from treadle.store import StateStore

_FOREIGN = re.compile(r"[^\x00-\x7f]")


async def artefact_pieces(store: StateStore, state: ItemState, stage: str) -> AsyncIterator[str]:
    """The JSON of what the stage made, in ASCII, so that any terminal and any pipe can take it.

    Raises:
        StoreCorrupt: bytes of it are missing or altered; what came until then is worth nothing.
    """
    row, board = state.stages.get(stage), state.boards.get(stage)
    if row is None or not row.fan_out or row.artefact is not None or board is None:
        async for piece in _text(store, state.id, stage, None if row is None else row.artefact):
            yield piece
        return
    for place, child in enumerate(board.rows):
        yield f"{', ' if place else '{'}{json.dumps(child.name)}: "
        async for piece in _text(store, state.id, stage, child.artefact):
            yield piece
    yield "}" if board.rows else "{}"


async def damage(store: StateStore, state: ItemState, stage: str) -> str | None:
    """Why the artefact cannot be written out whole, if it cannot: known before the first piece is."""
    row, board = state.stages.get(stage), state.boards.get(stage)
    texts = [row.artefact if row is not None else None, *(child.artefact for child in (board.rows if board else ()))]
    if not any(map(is_reference, texts)):
        return None
    try:
        async for _ in artefact_pieces(store, state, stage):
            pass
    except StoreCorrupt as error:
        return str(error)
    return None


async def _text(store: StateStore, item_id: str, stage: str, text: str | None) -> AsyncIterator[str]:
    if text is None or not is_reference(text):
        yield "null" if text is None else _ascii(text)
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    async for piece in store.pieces(item_id, stage, text):
        yield _ascii(decoder.decode(piece))


def _ascii(text: str) -> str:
    """JSON as it is, with escapes for what is not ASCII: that stands in its strings only."""
    return text if text.isascii() else _FOREIGN.sub(lambda found: json.dumps(found[0])[1:-1], text)
