"""How values, verdicts and columns look on a terminal; data is always text here, never markup or escapes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from treadle.artefact import StoredArtefact
from treadle.cli.common import clean, terminal_width
from treadle.outcome import Accepted, CriterionResult, Rejected, Uncertain, Verdict
from treadle.wording import counted

# The hues of the states, light enough for a dark terminal and dark enough for a light one.
GOOD, BAD, ASKS, QUIET, LOUD = "#3a9d8a", "#d9583f", "#d1920f", "dim", "bold"
MORE = "more line"
"""What is said where lines are left out."""
_NARROWEST = 25
"""Columns narrower than this are put below each other."""


def console(width: int | None = None, *, is_screen: bool = False) -> Console:
    """A console that prints text as it is, with colours where the terminal has them."""
    wide = min(terminal_width(), 120) if width is None else width
    return Console(width=wide, force_terminal=is_screen or None, markup=False, highlight=False, emoji=False)


def said(text: object, style: str = "") -> Text:
    """``text`` as it is, without what a terminal would obey."""
    return Text(clean(text, lines=True), style)


def joined(*parts: str | Text | None) -> Text:
    """The parts that there are, with dots between them."""
    return Text(" · ", QUIET).join([part if isinstance(part, Text) else said(part) for part in parts if part])


class Line(NamedTuple):
    """A line of a value: how deep, its key or dash, and what stands there."""

    depth: int
    lead: str
    text: str


def value_lines(value: Any) -> list[Line]:
    """A JSON value as indented lines, as YAML would have it."""
    if isinstance(value, str):
        return [Line(0, "", line) for line in value.split("\n")]
    return list(_lines(value, 0, ""))


def _lines(value: Any, depth: int, lead: str) -> Iterator[Line]:
    if isinstance(value, dict) and value:
        yield from _inside(((f"{key}: ", part) for key, part in value.items()), depth, lead)
    elif isinstance(value, list) and value:
        yield from _inside((("- ", part) for part in value), depth, lead)
    elif isinstance(value, str) and "\n" in value:
        yield Line(depth, lead, "|")
        yield from (Line(depth + 1, "", line) for line in value.split("\n"))
    else:
        yield Line(depth, lead, _scalar(value))


def _inside(parts: Iterator[tuple[str, Any]], depth: int, lead: str) -> Iterator[Line]:
    inner = depth + bool(lead)
    for number, (name, part) in enumerate(parts):
        is_first_in_list = lead.endswith("- ") and number == 0
        if lead and number == 0 and not is_first_in_list:
            yield Line(depth, lead.rstrip(), "")
        if is_first_in_list:
            yield from _lines(part, depth, lead + name)
        else:
            yield from _lines(part, inner, name)


def _scalar(value: Any) -> str:
    """Text as it is, unless it would be read as something else."""
    if isinstance(value, StoredArtefact):
        return str(value)
    if isinstance(value, str) and value.strip() == value and not _is_json(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text == ""
    return True


def shown(value: Any, *, most: int | None = None, marked: frozenset[Line] = frozenset()) -> list[RenderableType]:
    """A value, cut after ``most`` lines; those in ``marked`` stand out."""
    lines = value_lines(value)
    kept = lines if most is None or len(lines) <= most + 1 else lines[:most]
    out = [_painted(line, is_marked=line in marked) for line in kept]
    return [*out, said(f"… {counted(len(lines) - len(kept), MORE)}", QUIET)] if len(kept) < len(lines) else out


def _painted(line: Line, *, is_marked: bool) -> RenderableType:
    text = Text.assemble(("≠ ", ASKS) if is_marked else "", said(line.lead, QUIET), said(line.text, ASKS if is_marked else ""))
    return Padding(text, (0, 0, 0, 2 * line.depth), expand=False) if line.depth else text


def titled(title: str | Text, parts: Sequence[RenderableType]) -> list[RenderableType]:
    """A quiet heading with its parts below, and a free line before it."""
    return [
        "",
        said(title, QUIET) if isinstance(title, str) else title,
        *(Padding(part, (0, 0, 0, 2), expand=False) for part in parts),
    ]


def side_by_side(cells: Sequence[Sequence[RenderableType]], width: int) -> list[RenderableType]:
    """Columns beside each other, as many in a row as fit the width."""
    in_a_row = max(1, min(len(cells), width // _NARROWEST))
    rows: list[RenderableType] = []
    for start in range(0, len(cells), in_a_row):
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for _ in range(in_a_row):
            grid.add_column(ratio=1, overflow="fold")
        grid.add_row(*(Group(*cell) for cell in cells[start : start + in_a_row]))
        rows += [grid] if not rows else ["", grid]
    return rows


def criterion_text(criterion: CriterionResult) -> Text:
    """A criterion with its shape: met or missed."""
    shape, style = ("✓", GOOD) if criterion.passed else ("×", BAD)
    found = "''" if criterion.actual == "" else f"{criterion.actual}"
    wanted = f"  wanted {criterion.expected}" if not criterion.passed else f"  {criterion.expected}"
    if criterion.passed and f"{criterion.expected}".strip("'").casefold() == found.strip("'").casefold():
        wanted = ""  # nobody needs to read the same twice
    return Text.assemble((f"{shape} ", style), said(f"{criterion.name}: {found}"), said(wanted, QUIET))


def verdict_parts(verdict: Verdict, *, known: str = "") -> list[RenderableType]:
    """What a gate said, with its criteria, and what it told the next attempt; not again what is ``known``."""
    match verdict:
        case Accepted(criteria=criteria):
            head, criteria, more = Text("✓ accepted", GOOD), tuple(criteria), None
        case Uncertain(reason=reason, criteria=criteria):
            head, criteria, more = Text.assemble(("● uncertain", ASKS), _unless(known, reason)), tuple(criteria), None
        case Rejected(feedback=feedback, criteria=criteria):
            head = Text.assemble(("× rejected", BAD), _unless(known, feedback.summary))
            criteria, more = tuple(criteria) or tuple(feedback.failed_criteria), feedback.guidance
    parts: list[RenderableType] = [head, *(criterion_text(criterion) for criterion in criteria)]
    return [*parts, said(f"guidance: {more}", QUIET)] if more else parts


def _unless(known: str, text: str) -> Text:
    return said("" if text and known.endswith(text) else f": {text}")
