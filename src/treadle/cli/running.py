"""The command that moves items."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
import typing
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path
from typing import Any

from treadle.cli.common import WrongUse, clean, load_app, store_url, terminal_width
from treadle.engine import Engine
from treadle.errors import InvalidItem, ItemConflict, SourceFailed
from treadle.script import run_async, to_the_end
from treadle.state import ItemPhase, StageState
from treadle.status import lasted
from treadle.store import Counts, StateStore

_LOOK = 0.5
_LINE_EVERY = 5.0
_STOPPING = "stopping when what runs has ended; once more stops at once, and the next run goes on"


def run(app: str | None = None, *arguments: str, store: str | None = None, concurrency: int = 100) -> int:
    """Add the source's items and move everything as far as it can go. Safe to stop and to repeat.

    Args:
        app: file.py:name, module:name, or a file with one workflow.
        arguments: for the workflow's source; without them, what the store holds goes on.
        store: the store's path or address.
        concurrency: how many items move at once.
    """
    workflow = load_app(app)
    workflow.validate()
    if concurrency < 1:
        raise WrongUse("--concurrency is 1 or more")
    try:
        items = _items(workflow.source_function, list(arguments))
        report = to_the_end(run_async(workflow, items, store=store_url(store), concurrency=concurrency, watch=_watch))
    except (InvalidItem, ItemConflict, SourceFailed) as error:
        print(clean("\n".join([str(error), *getattr(error, "__notes__", [])]), lines=True), file=sys.stderr)
        return 1
    said = str(report)
    print(said if len(said) <= terminal_width() else said.replace("; ", ";\n"))
    if report.pending:
        print("not all has ended: run again to go on")
    if report.failed:
        print("see: treadle items --state failed")
    elif report.awaiting_review:
        print("see: treadle review list")
    return 1 if report.failed else 4 if report.awaiting_review else 0


def _items(source: Callable[..., Any] | None, words: list[str]) -> Any:
    """The source called with the words, converted as its annotations say; ``None`` where there is nothing to call."""
    if source is None:
        if words:
            raise WrongUse("this workflow has no source; make one with @workflow.source, or leave the arguments out")
        return None
    parameters = list(inspect.signature(source).parameters.values())
    if len(words) > len(parameters):
        raise WrongUse(f"the source {source.__name__} takes {len(parameters)} arguments, not {len(words)}")
    missing = [p.name for p in parameters[len(words) :] if p.default is p.empty]
    if missing and not words:
        return None
    if missing:
        raise WrongUse(f"the source {source.__name__} also wants {', '.join(missing)}")
    hints = typing.get_type_hints(source)
    values = [_converted(word, p.name, hints.get(p.name, str)) for word, p in zip(words, parameters, strict=False)]
    try:
        items = source(*values)
    except Exception as error:
        raise SourceFailed(f"the source {source.__name__} raised {type(error).__name__}: {error}; nothing was added") from error
    if not isinstance(items, Iterable | AsyncIterable):
        raise WrongUse(f"the source {source.__name__} returned a {type(items).__name__}; it must return or yield items")
    return items


def _converted(word: str, name: str, annotation: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        value = TypeAdapter(annotation).validate_python(word)
    except ValidationError as error:
        raise WrongUse(f"{name}: {error.errors()[0]['msg']}, not {word!r}") from error
    if isinstance(value, Path) and not value.exists():
        raise WrongUse(f"{name}: there is no {word}")
    return value


async def _watch(engine: Engine, store: StateStore) -> None:
    """Say how it goes: a picture on a terminal, a line every few seconds in a pipe."""
    pace = _Pace(engine, await store.counts())
    if sys.stderr.isatty():
        await _picture(pace, store)
    else:
        await _lines(pace, store)


async def _lines(pace: _Pace, store: StateStore) -> None:
    said, since = False, time.monotonic()
    while True:
        await asyncio.sleep(_LOOK)
        if pace.stopping and not said:
            said = True
            print(_STOPPING, file=sys.stderr, flush=True)
        if time.monotonic() - since >= _LINE_EVERY:
            since = time.monotonic()
            counts = await store.counts()
            print(f"{pace.items(counts)}; {pace.stages(counts)}; {pace.speed(counts)}", file=sys.stderr, flush=True)


async def _picture(pace: _Pace, store: StateStore) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        while True:
            counts = await store.counts()
            head = Table.grid(padding=(0, 2))
            moved = counts.items - counts.phases.get(ItemPhase.PENDING, 0)
            head.add_row(ProgressBar(max(counts.items, 1), moved, width=24), Text(pace.speed(counts)))
            lines = [pace.items(counts), pace.stages(counts), *([_STOPPING] if pace.stopping else [])]
            live.update(Group(head, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines)), refresh=True)
            await asyncio.sleep(_LOOK)


class _Pace:
    """How far a run is and how fast; what was done before it began does not count for its speed."""

    def __init__(self, engine: Engine, before: Counts) -> None:
        self._engine = engine
        self._before = before
        self._began = time.monotonic()

    @property
    def stopping(self) -> bool:
        return self._engine.stopping

    def items(self, counts: Counts) -> str:
        """Items by phase."""
        done, failed = counts.phases.get(ItemPhase.COMPLETED, 0), counts.phases.get(ItemPhase.FAILED, 0)
        total = f"{counts.items:,}{'+' if self._engine.reading else ''}"
        return _standing("items ", done, total, failed, counts.phases.get(ItemPhase.AWAITING_REVIEW, 0))

    def stages(self, counts: Counts) -> str:
        """Stages by state, over all items."""
        total = f"{counts.items * len(counts.stages):,}{'+' if self._engine.reading else ''}"
        failed, waiting = _in(counts, StageState.FAILED), _in(counts, StageState.AWAITING_REVIEW)
        return _standing("stages", _done(counts), total, failed, waiting)

    def speed(self, counts: Counts) -> str:
        """Items and stages a second since the run began, and the time left if all items are known."""
        seconds = max(time.monotonic() - self._began, 0.001)
        items = (_settled(counts) - _settled(self._before)) / seconds
        stages = (_done(counts) - _done(self._before)) / seconds
        left = counts.items - _settled(counts)
        ahead = f"  {lasted(left / items)} left" if items > 0 and left and not self._engine.reading else ""
        return f"{max(items, 0):,.0f} items/s  {max(stages, 0):,.0f} stages/s{ahead}"


def _standing(what: str, done: int, total: str, failed: int, waiting: int) -> str:
    return f"{what} ✓ {done:,} of {total} done  × {failed:,} failed  ● {waiting:,} need a person"


def _settled(counts: Counts) -> int:
    return counts.items - counts.phases.get(ItemPhase.PENDING, 0)


def _in(counts: Counts, *states: StageState) -> int:
    return sum(stages.get(state, 0) for stages in counts.stages.values() for state in states)


def _done(counts: Counts) -> int:
    return _in(counts, StageState.COMPLETED, StageState.SKIPPED)
