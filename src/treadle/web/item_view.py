"""What the page of one item shows."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Annotated, Any, ClassVar
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict

from treadle.artefact import StoredArtefact
from treadle.dossier import Dossier, StagePart, child_attempts, child_page, dossier, stage_part, timeline
from treadle.errors import StoreCorrupt
from treadle.history import Attempt, word_of
from treadle.outcome import CriterionResult
from treadle.state import StageState
from treadle.store import EventFilter, StateStore
from treadle.web.artefacts import View, view
from treadle.web.asked import Blank
from treadle.web.charts import lanes
from treadle.web.dag import item_nodes
from treadle.web.telling import tell

_EVENTS = 40
_FIRST = (StageState.FAILED, StageState.AWAITING_REVIEW, StageState.RUNNING)
_MOST_VALUE = 200


class Asked(BaseModel):
    """Which part of the item a page shows."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")
    stage: Annotated[str | None, Blank] = None
    children: Annotated[StageState | None, Blank] = None
    behind: int = -1
    child: int | None = None
    events: int | None = None


async def item_values(store: StateStore, item_id: str, asked: Asked) -> dict[str, Any]:
    """Everything the template needs; raises ``ItemNotFound``, ``StageNotFound``."""
    found = await dossier(store, item_id)
    times = await timeline(store, found)
    stage = asked.stage or _telling(found)
    part = None if stage is None else await stage_part(store, item_id, stage)
    journal = await store.journal(EventFilter(item_id), asked.events, _EVENTS, newest_first=True)
    chosen = asked.model_dump(mode="json", exclude_defaults=True)
    given = {name: value for name, value in chosen.items() if name != "events"} | ({"stage": stage} if stage else {})

    def query(**place: Any) -> str:
        """The page with something else chosen; what belongs to another stage is forgotten with it."""
        kept = {} if "stage" in place else given
        return f"?{urlencode({name: value for name, value in (kept | place).items() if value is not None})}"

    return {
        "item_id": item_id,
        "found": found,
        "content": view(None if found.item is None else json.loads(found.item), {}),
        "nodes": item_nodes(found),
        "times": lanes(times),
        "left_out": times.left_out,
        "part": part,
        "made": None if part is None else view(part.artefact, part.schema, head=await _head(store, item_id, part)),
        "attempts": [] if part is None else [AttemptView(attempt) for attempt in reversed(part.attempts)],
        "children": await _children(store, item_id, part, asked),
        "asked": asked,
        "query": query,
        # The stage too: a page that follows what happens does not turn to another one by itself.
        "here": query(events=asked.events),
        "told": [(event, tell(event)) for event in journal.events],
        "older": journal.reached,
    }


def _telling(found: Dossier) -> str | None:
    """The stage that most wants to be looked at."""
    entries = found.status.stages
    for state in _FIRST:
        for entry in entries:
            if entry.state is state:
                return entry.name
    return next((entry.name for entry in reversed(entries) if entry.attempt), None)


async def _children(store: StateStore, item_id: str, part: StagePart | None, asked: Asked) -> dict[str, Any]:
    if part is None or not part.children:
        return {}
    page = await child_page(store, item_id, part.entry.name, after=asked.behind, state=asked.children)
    tried = [] if asked.child is None else await child_attempts(store, item_id, part.entry.name, asked.child)
    return {"page": page, "attempts": [AttemptView(attempt) for attempt in tried], "total": sum(part.children.values())}


async def _head(store: StateStore, item_id: str, part: StagePart) -> str:
    """The beginning of an artefact that is kept beside the rows."""
    if not isinstance(part.artefact, StoredArtefact):
        return ""
    pieces = store.pieces(item_id, part.entry.name, part.artefact.reference)
    try:
        return (await anext(pieces, b"")).decode(errors="ignore")
    except StoreCorrupt as error:
        return str(error)
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


class AttemptView:
    """An attempt with what a page shows of it."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.verdict: str | None = None if attempt.verdict is None else word_of(attempt.verdict)
        self.reason: str | None = getattr(attempt.verdict, "reason", None)
        self.criteria: list[tuple[CriterionResult, str, str]] = [
            (criterion, _value(criterion.actual), _value(criterion.expected))
            for criterion in (attempt.verdict.criteria if attempt.verdict is not None else ())
        ]

    @property
    def made(self) -> View:
        """What it made."""
        return view(self.attempt.artefact, {})


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_VALUE else text[: _MOST_VALUE - 1] + "…"
