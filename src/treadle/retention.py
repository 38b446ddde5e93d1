"""Let go of items that have rested for long, beside whoever works on the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

from treadle.clock import now_us
from treadle.failure import safe_text
from treadle.state import ItemPhase
from treadle.store import Pruning, StateStore

ENDED = frozenset({ItemPhase.COMPLETED, ItemPhase.CANCELLED})
"""Phases of items that may be pruned: nothing of them waits for anybody."""
_STEP = 200
"""Items looked at in one step; a step holds the lock for a few milliseconds."""
_ASK_EVERY = 0.5
_REST = 4
"""Beside workers, a step is followed by so many times its own length in which the lock is theirs."""


async def prune(
    store: StateStore,
    older: timedelta,
    *,
    by: str,
    cancelled: bool = False,
    reason: str | None = None,
    dry_run: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> int:
    """Items that have been completed for as long as ``older`` are no more, with all their history and files; how many there were.

    The journal says of each step how many went, who wanted it and why. An item of the same id that is added later is a new
    one. Ended in the middle, it has done a part, and may be called again.

    Args:
        store: where they are.
        older: how long nothing has happened to them.
        by: who wants it.
        cancelled: cancelled items too.
        reason: kept in the journal.
        dry_run: only count them.
        on_progress: told how many are gone so far.
    """
    if older < timedelta(0):
        raise ValueError(f"prune(older={older!r}): a length of time, 0 or more")
    now = now_us()
    phases = ENDED if cancelled else {ItemPhase.COMPLETED}
    why = None if reason is None else safe_text(reason)
    wanted = Pruning(phases, now - older // timedelta(microseconds=1), now, safe_text(by), why, dry_run)
    items, after, pause, asked = 0, 0, 0, 0.0
    while True:
        began = time.perf_counter()
        if not dry_run and began - asked > _ASK_EVERY:
            # Workers may come and go while a million items are pruned.
            asked, pause = began, _REST if await store.workers() else 0
        step = await store.prune(wanted, after, _STEP)
        items += step.items
        if on_progress is not None:
            on_progress(items)
        if step.after is None:
            break
        after = step.after
        await asyncio.sleep(pause * (time.perf_counter() - began))
    if not dry_run:
        await store.collect()
    return items
