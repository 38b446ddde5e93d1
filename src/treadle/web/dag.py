"""What a drawing of the DAG shows of each stage; the browser only places it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from treadle.dossier import Dossier
from treadle.figures import StageFigures
from treadle.state import StageState
from treadle.status import GLYPHS, WORDS, lasted

_LETTERS = 20
_WIDTH, _HEIGHT, _LINE = 156, 84, 14
_SMALL_WIDTH, _SMALL_HEIGHT = 148, 44
_INNER = 20
_THINNEST = 3
"""Pixels that even one item among a million is drawn with."""
_ORDER = (
    StageState.COMPLETED, StageState.SKIPPED, StageState.RUNNING, StageState.AWAITING_REVIEW, StageState.FAILED,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of a bar."""

    state: StageState
    x: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One stage in a drawing.

    Args:
        label: all of it, for those who hear it.
        first, second, third: quiet lines.
        bar: where the items are.
        state: of one item; ``None`` where many are drawn.
    """

    name: str
    shown: str
    needs: Sequence[str]
    label: str
    width: int
    height: int
    first: str = ""
    second: str = ""
    third: str = ""
    bar: Sequence[Segment] = ()
    failed: int = 0
    waiting: int = 0
    state: StageState | None = None


def stage_nodes(stages: Sequence[StageFigures]) -> list[Node]:
    """All stages with where the items are; all of one size."""
    moves = any(stage.seconds_left is not None for stage in stages)
    return [_stage_node(stage, _HEIGHT + _LINE * moves) for stage in stages]


def _stage_node(stage: StageFigures, height: int) -> Node:
    done = stage.count(StageState.COMPLETED) + stage.count(StageState.SKIPPED)
    running = stage.count(StageState.RUNNING)
    told = [f"{stage.count(state):,} {WORDS.get(state, state.value)}" for state in _ORDER if stage.count(state)]
    quiet = [f"p50 {lasted(stage.p50)}"] if stage.p50 is not None else []
    quiet += [f"{_rate(stage.per_minute)}/min"] if stage.per_minute else []
    left = f"{lasted(stage.seconds_left)} left" if stage.seconds_left is not None else ""
    return Node(
        name=stage.name,
        shown=_cut(stage.name, _LETTERS - 5),
        needs=stage.needs,
        label=f"{stage.name}: {', '.join([*told, *quiet, *([left] if left else [])]) or 'nothing yet'}",
        width=_WIDTH,
        height=height,
        first=f"{done:,} done" + (f" · {running:,} running" if running else ""),
        second=" · ".join(quiet),
        third=left,
        bar=segments(stage.counts, _WIDTH - _INNER),
        failed=stage.count(StageState.FAILED),
        waiting=stage.count(StageState.AWAITING_REVIEW),
    )


def _rate(per_minute: float) -> str:
    return f"{per_minute:,.0f}" if per_minute >= 1 else f"{per_minute:.1f}"


def segments(counts: Mapping[StageState, int], width: float) -> list[Segment]:
    """A bar of that width; what is few is still seen, and what waits is the ground."""
    total = sum(counts.values())
    wanted = {state: counts.get(state, 0) for state in _ORDER if counts.get(state, 0)}
    thin = {state: max(width * n / total, _THINNEST) for state, n in wanted.items()}
    excess = sum(thin.values()) - width
    if excess > 0:
        # The widest gives what the thinnest took.
        thin[max(thin, key=lambda state: thin[state])] -= excess
    found, x = [], 0.0
    for state, size in thin.items():
        found.append(Segment(state=state, x=round(x, 2), width=round(max(size, 0), 2)))
        x += size
    return found


def item_nodes(found: Dossier) -> list[Node]:
    """The stages of one item."""
    known = {entry.name for entry in found.status.stages}
    nodes = []
    for entry in found.status.stages:
        word = WORDS.get(entry.state, entry.state.value)
        took = (entry.updated_at - entry.started_at).total_seconds() if entry.started_at and entry.state.is_finished else None
        parts = [
            word,
            *([lasted(took)] if took is not None else []),
            *([f"attempt {entry.attempt}"] if entry.attempt > 1 else []),
        ]
        nodes.append(
            Node(
                name=entry.name,
                shown=_cut(entry.name, _LETTERS - 2),
                needs=[need for need in found.needs.get(entry.name, ()) if need in known],
                label=f"{entry.name}: {', '.join(parts)}",
                width=_SMALL_WIDTH,
                height=_SMALL_HEIGHT,
                first=f"{GLYPHS[entry.state]} {', '.join(parts)}",
                state=entry.state,
            )
        )
    return nodes


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
