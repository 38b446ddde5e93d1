"""Commands for a definition that has changed: plan, migrate."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from treadle import changes
from treadle.cli.common import Format, WrongUse, as_json, clean, existing_store, load_app
from treadle.cli.people import who
from treadle.presence import is_gone
from treadle.status import lasted
from treadle.store import StateStore
from treadle.wording import counted


def plan(app: str | None = None, *, store: str | None = None, format: Format = "table") -> int:  # noqa: A002 - the flag's name
    """What the workflow as it is now makes stale of what is stored; nothing is changed.

    Args:
        app: file.py:name, module:name, or a file with one workflow.
        store: the store's path or address.
        format: table or json.
    """
    workflow = load_app(app)
    workflow.validate()

    async def look() -> changes.Plan:
        async with existing_store(store, read_only=True) as opened:
            return await changes.plan(opened, workflow.definition)

    found = asyncio.run(look())
    print(as_json(asdict(found)) if format == "json" else "\n".join(map(clean, _lines(found))))
    return 0


def _lines(found: changes.Plan) -> list[str]:
    if found.changes_nothing:
        return ["everything stored is as the workflow would have it"]
    lines = [f"+ {name}: new; items that had completed go on with it" for name in found.added]
    lines += [f"~ {name}: waits for other stages than before; finished results stay as they are" for name in found.moved]
    for name, number in found.removed.items():
        waiting = (
            f"{counted(number, 'item', 'waits', 'wait')} in it: `treadle migrate --rename {name}=NEW` or `--drop {name}`"
            if number
            else "nothing waits in it"
        )
        lines.append(f"- {name}: no more; {waiting}")
    for name, stage in found.stale.items():
        made = ", ".join(f"{count:,} by version {version or 'none'}" for version, count in stage.versions.items())
        stale = counted(stage.items, "item", "is", "are")
        said = f"{stale} stale ({made or 'built on what is'}), {lasted(stage.seconds)} of work"
        risk = f"; {counted(stage.decisions, 'decision')} may be asked again" if stage.decisions else ""
        lines.append(f"! {name}: {said}{risk}")
    return [*lines, *(["`treadle rerun --stale` does that again; until then it stays as it is"] if found.stale else [])]


def migrate(
    *,
    rename: Annotated[list[str] | None, Parameter(negative="")] = None,
    drop: Annotated[list[str] | None, Parameter(negative="")] = None,
    reviewer: str | None = None,
    store: str | None = None,
) -> int:
    """Say what became of stages that the workflow no longer has. No worker may run meanwhile.

    Args:
        rename: OLD=NEW: what is stored of OLD is of NEW from now on, its history too.
        drop: items that wait in this stage skip it for good; history and finished results stay.
        reviewer: who wants it; your login name without it.
        store: the store's path or address.
    """
    pairs = [pair.partition("=")[::2] for pair in rename or ()]
    if not (pairs or drop) or not all(old and new for old, new in pairs):
        raise WrongUse("migrate what? Give --rename OLD=NEW or --drop OLD, once or more")
    return asyncio.run(_migrate(pairs, drop or [], who(reviewer), store))


async def _migrate(pairs: list[tuple[str, str]], dropped: list[str], operator: str, url: str | None) -> int:
    async with existing_store(url) as store:
        await _check_nobody_works(store)
        for old, new in pairs:
            await store.rename_stage(old, new)
            print(clean(f"{old} is {new} now"))
        for stage in dropped:
            number = await changes.drop_stage(store, stage, operator)
            print(clean(f"{stage}: {counted(number, 'item', 'skips', 'skip')} it; `treadle run` goes on"))
    return 0


async def _check_nobody_works(store: StateStore) -> None:
    workers = await store.workers()
    alive = await asyncio.to_thread(lambda: [row.who.name for row in workers if not is_gone(row.who)])
    if alive:
        raise WrongUse(
            f"{', '.join(map(clean, alive))} may still work on this store: `treadle drain` lets them end, then try again"
        )
