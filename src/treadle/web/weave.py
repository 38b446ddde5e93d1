"""The cells of a row of items: thousands a page, so most of them are written once for all."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from markupsafe import Markup, escape

from treadle.listing import Cell
from treadle.state import StageState
from treadle.status import WORDS
from treadle.web.templating import visible

_WORD = {state: WORDS.get(state, state.value) for state in StageState}
_PLAIN = {state: f'<td aria-label="{word}"><i class="cell s-{state}"></i></td>' for state, word in _WORD.items()}
_QUIET = frozenset({StageState.COMPLETED, StageState.SKIPPED, StageState.PENDING})


def cells(row: Sequence[Cell], path: str) -> Markup:
    """A cell a stage; those that have something to say say it, and lead to their stage of the item at ``path``."""
    return Markup("").join(Markup(_plain(cell) or _told(cell, path)) for cell in row)  # noqa: S704 - each is escaped below


def _plain(cell: Cell) -> str | None:
    return _PLAIN[cell.state] if cell.state in _QUIET and cell.attempt <= 1 and cell.error is None else None


def _told(cell: Cell, path: str) -> str:
    word = _WORD[cell.state]
    said = f"{cell.stage}: {word}"
    said += f", attempt {cell.attempt}" if cell.attempt > 1 else ""
    said += f": {visible(cell.error)}" if cell.error is not None else ""
    href = f"{path}?stage={quote(cell.stage, safe='')}"
    return (
        f'<td aria-label="{word}" title="{escape(said)}">'
        f'<a class="cell s-{cell.state}" tabindex="-1" aria-hidden="true" href="{escape(href)}"></a></td>'
    )
