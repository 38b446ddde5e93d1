"""One act on all items that a filter finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from treadle.errors import InvalidTransition
from treadle.state import ItemPhase, ItemState, Transition
from treadle.store import Filter, StateStore

_PAGE = 500


class Done(NamedTuple):
    """What an act on many items did, or would do.

    Args:
        done: ids of the items it was done to.
        refused: why it was refused for others.
        reached: where it stopped, if there may be more.
    """

    done: Sequence[str]
    refused: Sequence[str]
    reached: str | None = None


def _any(_: ItemState) -> bool:
    return True


async def each(
    store: StateStore,
    wanted: Filter,
    change: Callable[[ItemState], Transition],
    *,
    dry_run: bool,
    limit: int | None = None,
    only: Callable[[ItemState], bool] = _any,
) -> Done:
    """Do it to every item found (in a ``dry_run`` only see whether that could be); cancelled ones are left alone.

    With ``limit`` it is done to no more than so many; ``only`` says what else a bare item must be.
    """
    done: list[str] = []
    refused: list[str] = []
    after: str | None = None
    while True:
        page = await store.browse(wanted, after, _PAGE)
        for state in page.items:
            if state.phase is ItemPhase.CANCELLED or not only(state):
                continue
            if len(done) == limit:
                return Done(done, refused, done[-1])
            reason = state.problem or await _refused(store, state, change, dry_run=dry_run)
            if reason is None:
                done.append(state.id)
            else:
                refused.append(reason)
        if page.reached is None:
            return Done(done, refused)
        after = page.reached


async def _refused(
    store: StateStore, state: ItemState, change: Callable[[ItemState], Transition], *, dry_run: bool
) -> str | None:
    """Why the act is not allowed; ``None``: it was done, or could be."""
    try:
        if dry_run:
            change(await store.load(state.id) or state)
        else:
            await store.revise(state.id, change)
    except InvalidTransition as error:
        return str(error)
    return None
