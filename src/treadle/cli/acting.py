"""Commands that change how items stand: retry, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from treadle import decide
from treadle.bulk import each
from treadle.cli.common import WrongUse, clean, existing_store
from treadle.cli.filtered import tell
from treadle.clock import now_us
from treadle.definition import Definition
from treadle.errors import ItemNotFound
from treadle.failure import safe_text
from treadle.inbox import stored_definition
from treadle.state import ItemPhase, ItemState, StageState, Transition
from treadle.status import GLYPHS
from treadle.store import Filter, StateStore
from treadle.wording import counted

_SHOWN = 20
"""How many of the items that would be tried again are named."""


def retry(
    item: str | None = None,
    stage: str | None = None,
    *,
    state: StageState | None = None,
    reason: str | None = None,
    dry_run: bool = False,
    store: str | None = None,
) -> int:
    """Failed stages are pending again; of a fan-out, only what failed runs again.

    Args:
        item: an item's id; without it, all items that ``--state failed`` finds.
        stage: one stage; without it, all that failed.
        state: failed: retry all such items.
        reason: kept in the journal.
        dry_run: only say what would be tried again.
        store: the store's path or address.
    """
    if item is None and state is not StageState.FAILED:
        raise WrongUse("retry what? Give an item's id, or --state failed (with --stage STAGE) for many")
    why = None if reason is None else safe_text(reason)
    return asyncio.run(_retry(item, stage, why, store, dry_run=dry_run))


async def _retry(item: str | None, stage: str | None, reason: str | None, url: str | None, *, dry_run: bool) -> int:
    async with existing_store(url) as store:
        flow = await stored_definition(store)
        if stage is not None:
            flow.stage(stage)
        change = _retried(flow, stage, reason)
        if item is not None:
            await _retry_one(store, item, change, dry_run=dry_run)
            print(f"{clean(item)} would be tried again" if dry_run else f"{clean(item)}: pending again; `treadle run` goes on")
            return 0
        named, found, after = [], 0, None
        while page := await store.page(Filter(stage, StageState.FAILED), after, 500):
            after = page[-1].id
            for state in page:
                # Somebody stopped these for good; taking them back is an act of its own.
                if state.phase is ItemPhase.CANCELLED:
                    continue
                await _retry_one(store, state.id, change, dry_run=dry_run)
                found += 1
                if found <= _SHOWN:
                    named.append(clean(state.id))
    if not found:
        print("nothing to try again: no item has failed" + (f" in stage {stage}" if stage is not None else ""))
        return 0
    if dry_run and found > 1:
        print("\n".join(f"  {GLYPHS[StageState.FAILED]} {name}" for name in named))
        if found > _SHOWN:
            print(f"  and {found - _SHOWN:,} more")
    what = named[0] if found == 1 else counted(found, "item")
    print(f"{what} would be tried again" if dry_run else f"{what}: pending again; `treadle run` goes on")
    return 0


def _retried(flow: Definition, stage: str | None, reason: str | None) -> Callable[[ItemState], Transition]:
    return lambda found: decide.retry(flow, found, stage, now_us(), reason=reason)


async def _retry_one(store: StateStore, item: str, change: Callable[[ItemState], Transition], *, dry_run: bool) -> None:
    if dry_run:
        change(await _loaded(store, item))
    else:
        await store.revise(item, change)


def cancel(
    item: str | None = None,
    *,
    stage: str | None = None,
    state: StageState | None = None,
    prefix: str | None = None,
    reason: str | None = None,
    dry_run: bool = False,
    store: str | None = None,
) -> int:
    """The item moves no more; `treadle retry` takes it back.

    Args:
        item: an item's id; without it, all that the filters find.
        stage: only items that have this stage in ``--state``.
        state: pending, running, completed, failed, awaiting_review or skipped.
        prefix: only items whose ids begin so.
        reason: kept with it.
        dry_run: only say which items would be cancelled.
        store: the store's path or address.
    """
    if item is None and state is None and prefix is None:
        raise WrongUse("cancel what? Give an item's id, or --state (with --stage STAGE) or --prefix for many")
    why = None if reason is None else safe_text(reason)

    async def act() -> int:
        async with existing_store(store) as opened:
            flow = await stored_definition(opened)
            if stage is not None:
                flow.stage(stage)

            def change(found: ItemState) -> Transition:
                return decide.cancel(flow, found, why, now_us())

            if item is None:
                return tell(
                    await each(opened, Filter(stage, state, prefix=prefix), change, dry_run=dry_run),
                    "move no more",
                    dry_run=dry_run,
                )
            if dry_run:
                change(await _loaded(opened, item))
            else:
                await opened.revise(item, change)
        print(clean(f"{item}: would be cancelled" if dry_run else f"{item}: cancelled"))
        return 0

    return asyncio.run(act())


async def _loaded(store: StateStore, item: str) -> ItemState:
    state = await store.load(item)
    if state is None:
        raise ItemNotFound(item)
    return state
