"""What operators do to items, for pages and API; who did it is in the journal."""

from __future__ import annotations

from treadle import decide
from treadle.bulk import Done, each
from treadle.clock import now_us
from treadle.failure import safe_text
from treadle.failure_groups import message_of
from treadle.inbox import stored_definition
from treadle.state import ItemState, StageState, Transition
from treadle.store import Filter, StateStore
from treadle.web.access import Principal

AT_ONCE = 1000
"""Items that one request tries again; a person asks for the next thousand with another."""


async def retry(store: StateStore, item_id: str, stage: str | None, reason: str, who: Principal) -> None:
    """Failed stages (or that one) are pending again.

    Raises:
        ItemNotFound, StageNotFound, InvalidTransition: as ``Engine.retry``.
    """
    flow, why = await stored_definition(store), safe_text(reason)
    await store.revise(item_id, lambda state: decide.retry(flow, state, stage, now_us(), operator=who.name, reason=why))


async def rerun(store: StateStore, item_id: str, stage: str, reason: str, who: Principal, *, cascade: bool) -> None:
    """A finished stage is pending again.

    Raises:
        ItemNotFound, StageNotFound, InvalidTransition: as ``Engine.rerun``.
    """
    flow, why = await stored_definition(store), safe_text(reason)
    await store.revise(
        item_id,
        lambda state: decide.rerun(flow, state, stage, now_us(), cascade=cascade, operator=who.name, reason=why),
    )


async def cancel(store: StateStore, item_id: str, reason: str, who: Principal) -> None:
    """The item moves no more.

    Raises:
        ItemNotFound, InvalidTransition: as ``Engine.cancel``.
    """
    flow, why = await stored_definition(store), safe_text(reason)
    await store.revise(item_id, lambda state: decide.cancel(flow, state, why, now_us(), operator=who.name))


async def retry_failures(
    store: StateStore, stage: str, message: str | None, reason: str, who: Principal, *, dry_run: bool
) -> Done:
    """Failures of the stage (with that message) are pending again, a thousand at most; raises ``StageNotFound``."""
    flow, why = await stored_definition(store), safe_text(reason)
    flow.stage(stage)

    def change(state: ItemState) -> Transition:
        return decide.retry(flow, state, stage, now_us(), operator=who.name, reason=why)

    def is_meant(state: ItemState) -> bool:
        row = state.stages.get(stage)
        return row is not None and (message is None or message_of(state.id, row.error) == message)

    wanted = Filter(stage, StageState.FAILED)
    return await each(store, wanted, change, dry_run=dry_run, limit=AT_ONCE, only=is_meant)
