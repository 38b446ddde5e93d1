"""Commands that change something: retry, cancel, and answers to reviews."""

from __future__ import annotations

import asyncio
import getpass
from dataclasses import asdict

from treadle import decide
from treadle.cli.common import Format, WrongUse, as_json, clean, existing_store, table, terminal_width
from treadle.clock import now_us
from treadle.definition import Definition
from treadle.errors import ItemNotFound
from treadle.inbox import Inbox, stored_definition
from treadle.outcome import Approve, Decision, Reject
from treadle.state import ItemPhase, StageState
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


def review_list(*, stage: str | None = None, store: str | None = None, format: Format = "table") -> int:  # noqa: A002
    """What waits for a person.

    Args:
        stage: only this stage's.
        store: the store's path or address.
        format: table or json.
    """
    return asyncio.run(_review_list(stage, store, format))


async def _review_list(stage: str | None, url: str | None, format: Format) -> int:  # noqa: A002
    async with existing_store(url) as store:
        waiting = [review async for review in Inbox(store).waiting(stage)]
    if format == "json":
        print(as_json([asdict(review) for review in waiting]))
    else:
        rows: list[list[object]] = [[f"● {review.item_id}", review.stage, review.review.summary] for review in waiting]
        print(table(["item", "stage", "asks"], rows, width=terminal_width()) if rows else "nothing waits for a person")
    return 0


def review_approve(
    item: str, stage: str, *, reviewer: str | None = None, note: str | None = None, store: str | None = None
) -> int:
    """Accept what waits: the stage completes.

    Args:
        item: an item's id.
        stage: the stage that asks.
        reviewer: who decides; your login name without it.
        note: kept with the decision.
        store: the store's path or address.
    """
    return asyncio.run(_decide(item, stage, Approve(note), reviewer, store))


def review_reject(item: str, stage: str, reason: str, *, reviewer: str | None = None, store: str | None = None) -> int:
    """Refuse what waits: the stage fails.

    Args:
        item: an item's id.
        stage: the stage that asks.
        reason: why, for whoever reads it later.
        reviewer: who decides; your login name without it.
        store: the store's path or address.
    """
    return asyncio.run(_decide(item, stage, Reject(reason), reviewer, store))


async def _decide(item: str, stage: str, decision: Decision, reviewer: str | None, url: str | None) -> int:
    who = reviewer or getpass.getuser()
    async with existing_store(url) as store:
        try:
            await Inbox(store).decide(item, stage, decision, reviewer=who)
        except ValueError as error:
            raise WrongUse(str(error)) from error
    print(clean(f"{item}: {stage} {'approved' if isinstance(decision, Approve) else 'rejected'} by {who}; `treadle run` goes on"))
    return 0
