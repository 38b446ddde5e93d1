"""Read models: how one item stands, and how all of them do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from html import escape

from treadle.clock import from_us
from treadle.errors import ItemNotFound
from treadle.failure import printable
from treadle.readable import stage_status
from treadle.state import ItemPhase, ItemState, StageState, StageStatus
from treadle.store import Counts, Shape, StateStore
from treadle.wording import counted

_MAX_REMARK = 200

GLYPHS = {
    StageState.COMPLETED: "✓",
    StageState.RUNNING: "…",
    StageState.AWAITING_REVIEW: "●",
    StageState.FAILED: "×",
    StageState.SKIPPED: "–",
    StageState.PENDING: "·",
}
"""The shape of each state, so that it can be told without its colour."""


@dataclass(frozen=True, slots=True)
class StageEntry(StageStatus):
    """A stage's status under its name."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """Where one item stands; stages in topological order.

    Args:
        phase: what the item as a whole waits for.
    """

    item_id: str
    stages: Sequence[StageEntry]
    phase: ItemPhase = ItemPhase.PENDING

    def _in(self, state: StageState) -> list[str]:
        return [entry.name for entry in self.stages if entry.state is state]

    @property
    def is_complete(self) -> bool:
        """Whether every stage is completed or skipped."""
        return all(entry.state.is_finished for entry in self.stages)

    @property
    def has_failures(self) -> bool:
        """Whether a stage failed."""
        return bool(self.failed_stages)

    @property
    def has_pending_reviews(self) -> bool:
        """Whether a person must decide."""
        return bool(self.review_stages)

    @property
    def running_stages(self) -> list[str]:
        """Names of the stages that run."""
        return self._in(StageState.RUNNING)

    @property
    def failed_stages(self) -> list[str]:
        """Names of the stages that failed."""
        return self._in(StageState.FAILED)

    @property
    def review_stages(self) -> list[str]:
        """Names of the stages that wait for a person."""
        return self._in(StageState.AWAITING_REVIEW)

    @property
    def progress_percent(self) -> float:
        """The share of stages that are completed or skipped, 0 to 100."""
        finished = sum(entry.state.is_finished for entry in self.stages)
        return 100.0 * finished / len(self.stages) if self.stages else 0.0

    def __getitem__(self, stage: str) -> StageEntry:
        for entry in self.stages:
            if entry.name == stage:
                return entry
        raise KeyError(stage)

    def __str__(self) -> str:
        width = max((len(entry.name) for entry in self.stages), default=0)
        stages = counted(len(self.stages), "stage")
        lines = [f"{self.item_id}: {self.phase.replace('_', ' ')}, {self.progress_percent:.0f} % of {stages}"]
        for entry in self.stages:
            lines.append(f"  {GLYPHS[entry.state]} {entry.name:<{width}}  {entry.state.replace('_', ' ')}{_remark(entry)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{GLYPHS[e.state]}</td><td>{escape(e.name)}</td><td>{escape(e.state.replace('_', ' '))}{escape(_remark(e))}</td></tr>"
            for e in self.stages
        )
        return f"<table><caption>{escape(self.item_id)}</caption>{rows}</table>"


def _short(text: str) -> str:
    line = printable(text.strip().split("\n", 1)[0])
    return line if len(line) <= _MAX_REMARK else line[: _MAX_REMARK - 1] + "…"


def _remark(entry: StageEntry) -> str:
    if entry.error:
        return f": {_short(entry.error)}"
    if entry.state is StageState.AWAITING_REVIEW and entry.review_data is not None:
        return f": {_short(entry.review_data.summary)}"
    if entry.subtasks:
        done = sum(child.state.is_finished for child in entry.subtasks)
        return f" ({done:,} of {counted(len(entry.subtasks), 'subtask')})"
    return ""


def pipeline_status(shape: Shape | None, state: ItemState) -> PipelineStatus:
    """An item's rows in the order of the workflow; rows of stages it does not have come last."""
    known = list(shape.stages) if shape is not None and state.payload is not None else []
    names = [*known, *(name for name in state.stages if name not in known)]
    return PipelineStatus(state.id, tuple(_entry(state, name) for name in names), state.phase)


def _entry(state: ItemState, name: str) -> StageEntry:
    row = state.stages.get(name)
    status = StageStatus(StageState.PENDING, from_us(state.added)) if row is None else stage_status(state, row)
    return StageEntry(**{field.name: getattr(status, field.name) for field in fields(status)}, name=name)


async def item_status(store: StateStore, item_id: str) -> PipelineStatus:
    """How the item stands; raises ``ItemNotFound``."""
    state = await store.load(item_id)
    if state is None:
        raise ItemNotFound(item_id)
    return pipeline_status(await store.shape(), state)


@dataclass(frozen=True, slots=True)
class RunReport:
    """Where the store's items stand after a run, and what the run did.

    Args:
        stages_run: stages and subtasks that came to an end in this run, for better or worse.
        elapsed: seconds.
    """

    completed: int = 0
    failed: int = 0
    awaiting_review: int = 0
    pending: int = 0
    cancelled: int = 0
    stages_run: int = 0
    elapsed: float = 0.0

    @property
    def items(self) -> int:
        """All items of the store."""
        return self.completed + self.failed + self.awaiting_review + self.pending + self.cancelled

    def __str__(self) -> str:
        parts = [f"{self.completed:,} completed"]
        words = (
            ("failed", self.failed),
            ("need a person", self.awaiting_review),
            ("pending", self.pending),
            ("cancelled", self.cancelled),
        )
        parts += [f"{number:,} {word}" for word, number in words if number]
        ran = f"{counted(self.stages_run, 'stage')} run in {self.elapsed:.1f} s"
        return f"{counted(self.items, 'item')}: {', '.join(parts)}; {ran}"


WORDS = {StageState.AWAITING_REVIEW: "need a person"}
"""What people read where the state's own name would not tell them."""
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SHORTEST = 8
"""Letters of a stage's name that are shown however narrow the terminal is."""
PHASE_WORDS = {ItemPhase.AWAITING_REVIEW: "need a person"}


def overview(counts: Counts, width: int = 80) -> str:
    """All items by phase, and below a table of every stage by state, no line longer than ``width`` where that can be."""
    phases = ", ".join(f"{counts.phases[p]:,} {PHASE_WORDS.get(p, p.value)}" for p in ItemPhase if counts.phases.get(p))
    first = f"{counted(counts.items, 'item')}: {phases}" if counts.items else "no items yet"
    used = [state for state in GLYPHS if any(states.get(state) for states in counts.stages.values())]
    if not used:
        return first
    named = [f"{GLYPHS[state]} {WORDS.get(state, state.value)}" for state in used]
    rows = [[name, *(f"{states.get(state, 0):,}" for state in used)] for name, states in counts.stages.items()]
    lines = _columns(["stage", *named], rows)
    if max(map(len, lines)) > width:
        head = ["stage", *(GLYPHS[state] for state in used)]
        excess = max(map(len, _columns(head, rows))) - width
        longest = max(len(row[0]) for row in rows) - max(excess, 0)
        lines = [*_columns(head, [[_cut(name, longest), *cells] for name, *cells in rows]), "  ".join(named)]
    return "\n".join([first, *lines])


def _cut(name: str, longest: int) -> str:
    return name if len(name) <= longest else name[: max(longest, _SHORTEST) - 1] + "…"


def _columns(head: list[str], rows: list[list[str]]) -> list[str]:
    """Names to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(size) for cell, size in zip(row[1:], widths[1:], strict=True))])
        for row in (head, *rows)
    ]


def ago(moment: datetime, now: datetime) -> str:
    """How long ago, as people say it."""
    seconds = max((now - moment).total_seconds(), 0.0)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s" if seconds >= 1 else "now"


def stretch(text: str) -> float:
    """Seconds that ``90s``, ``30min``, ``2h``, ``3d`` or ``1w`` mean.

    Raises:
        ValueError: it is none of these.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*(s|min|m|h|d|w)", text.strip())
    if found is None:
        raise ValueError(f"{printable(text)!r:.60} is no length of time; give 90s, 30min, 2h or 3d")
    return float(found[1]) * _UNITS[found[2]]


def lasted(seconds: float) -> str:
    """A stretch of time, as people say it."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if hours < 2 else f"{hours:.0f} h"  # noqa: PLR2004 - "90 min" reads better than "1 h"
