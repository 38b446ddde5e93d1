"""One act on all items that a filter finds."""

from __future__ import annotations

from collections.abc import Callable

from treadle.cli.common import clean
from treadle.errors import InvalidTransition
from treadle.state import ItemPhase, ItemState, Transition
from treadle.store import Filter, StateStore

_SHOWN = 20
"""How many of the items are named."""

Done = tuple[list[str], list[str]]
"""Ids of the items it was done to, and why it was refused for others."""


async def each(store: StateStore, wanted: Filter, change: Callable[[ItemState], Transition], *, dry_run: bool) -> Done:
    """Do it to every item found (in a ``dry_run`` only see whether that could be); cancelled ones are left alone."""
    done: list[str] = []
    refused: list[str] = []
    after = None
    while page := await store.page(wanted, after, 500):
        after = page[-1].id
        for state in page:
            if state.phase is ItemPhase.CANCELLED:
                continue
            try:
                if dry_run:
                    change(await store.load(state.id) or state)
                else:
                    await store.revise(state.id, change)
            except InvalidTransition as error:
                refused.append(str(error))
            else:
                done.append(state.id)
    return done, refused


def tell(found: Done, what: str, *, dry_run: bool) -> int:
    """Say what was done; 1 if some were refused."""
    done, refused = found
    if dry_run:
        print("\n".join(f"  {clean(item)}" for item in done[:_SHOWN]), end="\n" if done else "")
        if len(done) > _SHOWN:
            print(f"  and {len(done) - _SHOWN:,} more")
    one = f"{len(done):,} item{'' if len(done) == 1 else 's'}"
    print(f"{one} would {what}" if dry_run else f"{one}: will {what}" if done else "no such items")
    for reason in refused[:_SHOWN]:
        print(f"refused: {clean(reason)}")
    if len(refused) > _SHOWN:
        print(f"and {len(refused) - _SHOWN:,} more were refused")
    return 1 if refused else 0
