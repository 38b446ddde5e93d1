"""How a run gets on, for whoever watches it."""

from __future__ import annotations

import asyncio
import sys
import time

from treadle.engine import Engine
from treadle.state import ItemPhase, StageState
from treadle.status import lasted
from treadle.store import Counts, StateStore

_LOOK = 0.5
_REST = 50
"""A look may cost a store as much as it has items: of the time, no more than a fiftieth goes into it."""
_LINE_EVERY = 5.0
_STOPPING = "stopping when what runs has ended; once more stops at once, and the next run goes on"


async def watch(engine: Engine, store: StateStore, *, quiet: bool = False) -> None:
    """Say how it goes: a picture on a terminal, a line every few seconds in a pipe (``quiet``: if there is news)."""
    pace = _Pace(engine, await store.counts())
    if sys.stderr.isatty():
        await _picture(pace, store)
    else:
        await _lines(pace, store, quiet=quiet)


async def _lines(pace: _Pace, store: StateStore, *, quiet: bool) -> None:
    said, since, before = False, time.monotonic(), ""
    while True:
        await asyncio.sleep(_LOOK)
        if pace.stopping and not said:
            said = True
            print(_STOPPING, file=sys.stderr, flush=True)
        if time.monotonic() - since >= _LINE_EVERY:
            since = time.monotonic()
            counts = await store.counts()
            stands = f"{pace.items(counts)}; {pace.stages(counts)}"
            if not quiet or stands != before:
                print(f"{stands}; {pace.speed(counts)}", file=sys.stderr, flush=True)
            before = stands


async def _picture(pace: _Pace, store: StateStore) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        while True:
            looked = time.monotonic()
            counts = await store.counts()
            took = time.monotonic() - looked
            head = Table.grid(padding=(0, 2))
            moved = counts.items - counts.phases.get(ItemPhase.PENDING, 0)
            head.add_row(ProgressBar(max(counts.items, 1), moved, width=24), Text(pace.speed(counts)))
            lines = [pace.items(counts), pace.stages(counts), *([_STOPPING] if pace.stopping else [])]
            live.update(Group(head, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines)), refresh=True)
            await asyncio.sleep(max(_LOOK, took * _REST))


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
