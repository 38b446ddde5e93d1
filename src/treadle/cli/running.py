"""The command that moves items."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path
from typing import Any

from treadle.cli.common import WrongUse, clean, load_app, store_url, terminal_width
from treadle.engine import Engine
from treadle.errors import InvalidItem, ItemConflict, SourceFailed
from treadle.progress import watch
from treadle.script import run_async, to_the_end
from treadle.state import Mode
from treadle.status import RunReport
from treadle.store import StateStore
from treadle.stores.opening import open_store
from treadle.wording import counted
from treadle.workflow import Workflow


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
        report = to_the_end(_run(workflow, items, store_url(store), concurrency))
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


async def _run(workflow: Workflow, items: Any, url: str, concurrency: int) -> RunReport:
    async with open_store(url) as store:
        return await run_async(Engine(workflow, store), store, items, concurrency=concurrency, watch=_watch)


async def _watch(engine: Engine, store: StateStore) -> None:
    control = await store.steer()
    if control.mode is not Mode.RUNNING:
        print(f"this store is {control.mode.value}; `treadle resume` lets workers claim again", file=sys.stderr, flush=True)
    await watch(engine, store)


def _items(source: Callable[..., Any] | None, words: list[str]) -> Any:
    """The source called with the words, converted as its annotations say; ``None`` where there is nothing to call."""
    if source is None:
        if words:
            raise WrongUse("this workflow has no source; make one with @workflow.source, or leave the arguments out")
        return None
    parameters = list(inspect.signature(source).parameters.values())
    if len(words) > len(parameters):
        raise WrongUse(f"the source {source.__name__} takes {counted(len(parameters), 'argument')}, not {len(words)}")
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
