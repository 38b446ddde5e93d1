"""Commands that change how an item stands: retry, rerun, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from treadle import decide
from treadle.cli.common import WrongUse, clean, existing_store
from treadle.cli.people import who
from treadle.clock import now_us
from treadle.definition import Definition
from treadle.inbox import stored_definition
from treadle.state import ItemState, StageState, Transition
from treadle.store import Filter


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
        ids, after = [item] if item is not None else [], None
        while item is None and (page := await store.page(Filter(stage, StageState.FAILED), after, 500)):
            ids += [state.id for state in page]
            after = page[-1].id
        for identity in ids:
            if not dry_run:
                await store.revise(identity, _retrying(flow, stage))
    what = f"{len(ids):,} items" if len(ids) != 1 else clean(ids[0])
    print(f"{what} would be tried again" if dry_run else f"{what}: pending again; `treadle run` goes on")
    return 0


def _retrying(flow: Definition, stage: str | None) -> Callable[[ItemState], Transition]:
    return lambda state: decide.retry(flow, state, stage, now_us())


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
