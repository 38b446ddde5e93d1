"""Commands that change how an item stands: retry, rerun, cancel."""

from __future__ import annotations

import asyncio

from treadle import decide
from treadle.cli.common import WrongUse, clean, existing_store
from treadle.cli.people import who
from treadle.clock import now_us
from treadle.definition import Definition
from treadle.errors import ItemNotFound
from treadle.inbox import stored_definition
from treadle.state import ItemPhase, ItemState, StageState, Transition
from treadle.status import GLYPHS
from treadle.store import Filter, StateStore

_SHOWN = 20
"""How many of the items that would be tried again are named."""


def retry(
    item: str | None = None,
    stage: str | None = None,
    *,
    state: StageState | None = None,
    dry_run: bool = False,
    store: str | None = None,
) -> int:
    """Failed stages are pending again; of a fan-out, only what failed runs again.

    Args:
        item: an item's id; without it, all items that ``--state failed`` finds.
        stage: one stage; without it, all that failed.
        state: failed: retry all such items.
        dry_run: only say what would be tried again.
        store: the store's path or address.
    """
    if item is None and state is not StageState.FAILED:
        raise WrongUse("retry what? Give an item's id, or --state failed (with --stage STAGE) for many")
    return asyncio.run(_retry(item, stage, store, dry_run=dry_run))


async def _retry(item: str | None, stage: str | None, url: str | None, *, dry_run: bool) -> int:
    async with existing_store(url) as store:
        flow = await stored_definition(store)
        if stage is not None:
            flow.stage(stage)
        if item is not None:
            await _retry_one(store, flow, item, stage, dry_run=dry_run)
            print(f"{clean(item)} would be tried again" if dry_run else f"{clean(item)}: pending again; `treadle run` goes on")
            return 0
        named, found, after = [], 0, None
        while page := await store.page(Filter(stage, StageState.FAILED), after, 500):
            after = page[-1].id
            for state in page:
                # Somebody stopped these for good; taking them back is an act of its own.
                if state.phase is ItemPhase.CANCELLED:
                    continue
                await _retry_one(store, flow, state.id, stage, dry_run=dry_run)
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
    what = named[0] if found == 1 else f"{found:,} items"
    print(f"{what} would be tried again" if dry_run else f"{what}: pending again; `treadle run` goes on")
    return 0


async def _retry_one(store: StateStore, flow: Definition, item: str, stage: str | None, *, dry_run: bool) -> None:
    if not dry_run:
        await store.revise(item, lambda state: decide.retry(flow, state, stage, now_us()))
        return
    state = await store.load(item)
    if state is None:
        raise ItemNotFound(item)
    decide.retry(flow, state, stage, now_us())


def cancel(item: str, *, reason: str | None = None, store: str | None = None) -> int:
    """The item moves no more; `treadle retry` takes it back.

    Args:
        item: an item's id.
        reason: kept with it.
        store: the store's path or address.
    """
    return asyncio.run(_cancel(item, reason, store))


async def _cancel(item: str, reason: str | None, url: str | None) -> int:
    async with existing_store(url) as store:
        flow = await stored_definition(store)
        await store.revise(item, lambda state: decide.cancel(flow, state, reason, now_us()))
    print(clean(f"{item}: cancelled"))
    return 0


def rerun(
    item: str,
    stage: str,
    *,
    cascade: bool = False,
    reason: str | None = None,
    reviewer: str | None = None,
    store: str | None = None,
) -> int:
    """A finished stage runs again; its history is kept, and so is what people decided if it makes the same.

    Args:
        item: an item's id.
        stage: the stage that runs again.
        cascade: everything that was built on it runs again too.
        reason: kept in the journal.
        reviewer: who wants it; your login name without it.
        store: the store's path or address.
    """
    return asyncio.run(_rerun(item, stage, store, cascade=cascade, operator=who(reviewer), reason=reason))


async def _rerun(item: str, stage: str, url: str | None, *, cascade: bool, operator: str, reason: str | None) -> int:
    async with existing_store(url) as store:
        flow = await stored_definition(store)

        def change(state: ItemState) -> Transition:
            return decide.rerun(flow, state, stage, now_us(), cascade=cascade, operator=operator, reason=reason)

        await store.revise(item, change)
    print(clean(f"{item}: {stage} is pending again; `treadle run` goes on"))
    return 0
