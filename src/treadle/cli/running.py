"""The command that moves items."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle.cli.common import WrongUse, clean, load_app, store_url
from treadle.engine import Engine
from treadle.errors import InvalidItem, ItemConflict, SourceFailed
from treadle.script import run_async
from treadle.state import ItemPhase
from treadle.store import Counts, StateStore


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
    items = _items(workflow.source_function, list(arguments))
    if concurrency < 1:
        raise WrongUse("--concurrency is 1 or more")
    try:
        report = asyncio.run(run_async(workflow, items, store=store_url(store), concurrency=concurrency, watch=_watch))
    except (InvalidItem, ItemConflict, SourceFailed) as error:
        print(clean("\n".join([str(error), *getattr(error, "__notes__", [])]), lines=True), file=sys.stderr)
        return 1
    print(report)
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
    return source(*(_converted(word, p.name, hints.get(p.name, str)) for word, p in zip(words, parameters, strict=False)))


def _converted(word: str, name: str, annotation: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        value = TypeAdapter(annotation).validate_python(word)
    except ValidationError as error:
        raise WrongUse(f"{name}: {error.errors()[0]['msg']}, not {word!r}") from error
    if isinstance(value, Path) and not value.exists():
        raise WrongUse(f"{name}: there is no {word}")
    return value


async def _watch(_engine: Engine, store: StateStore) -> None:
    """Say how it goes: a bar on a terminal, a line every few seconds in a pipe."""
    if sys.stderr.isatty():
        await _bar(store)
    else:
        await _lines(store)


async def _lines(store: StateStore) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(5)
        print(_line(await store.counts(), time.monotonic() - began), file=sys.stderr, flush=True)


def _line(counts: Counts, seconds: float) -> str:
    done = counts.phases.get(ItemPhase.COMPLETED, 0)
    failed, waiting = counts.phases.get(ItemPhase.FAILED, 0), counts.phases.get(ItemPhase.AWAITING_REVIEW, 0)
    left = counts.phases.get(ItemPhase.PENDING, 0)
    rate = (done + failed + waiting) / seconds if seconds else 0.0
    ahead = f", {left / rate:.0f} s left" if rate and left else ""
    return f"✓ {done:,} of {counts.items:,} items  × {failed:,} failed  ● {waiting:,} need a person  {rate:,.0f}/s{ahead}"


async def _bar(store: StateStore) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    began = time.monotonic()
    console = Console(stderr=True)
    with Progress(BarColumn(20), TextColumn("{task.description}", markup=False), console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)
        while True:
            counts = await store.counts()
            moved = counts.items - counts.phases.get(ItemPhase.PENDING, 0)
            progress.update(
                task, total=max(counts.items, 1), completed=moved, description=_line(counts, time.monotonic() - began)
            )
            await asyncio.sleep(0.5)
