"""``treadle rerun``: do finished stages again."""

from __future__ import annotations

import asyncio

from treadle import changes, decide
from treadle.bulk import Done, each
from treadle.cli.common import WrongUse, clean, existing_store, load_app
from treadle.cli.filtered import tell
from treadle.cli.people import who
from treadle.clock import now_us
from treadle.definition import Definition
from treadle.errors import ItemNotFound
from treadle.failure import safe_text
from treadle.inbox import stored_definition
from treadle.state import ItemState, StageState, Transition
from treadle.store import Filter


def rerun(
    item: str | None = None,
    stage: str | None = None,
    *,
    state: StageState | None = None,
    prefix: str | None = None,
    stale: bool = False,
    app: str | None = None,
    cascade: bool = False,
    dry_run: bool = False,
    reason: str | None = None,
    reviewer: str | None = None,
    store: str | None = None,
) -> int:
    """A finished stage runs again; its history is kept, and so is what people decided if it makes the same.

    Args:
        item: an item's id; without it, all that the filters find.
        stage: the stage that runs again.
        state: completed or skipped: all items that have ``--stage`` so.
        prefix: only items whose ids begin so.
        stale: whatever another version of its stage made, and all that was built on it (see `treadle plan`).
        app: the workflow, for ``--stale``.
        cascade: everything that was built on it runs again too.
        dry_run: only say what would run again.
        reason: kept in the journal.
        reviewer: who wants it; your login name without it.
        store: the store's path or address.
    """
    operator = who(reviewer)
    if stale:
        if (item, stage, state, prefix) != (None, None, None, None):
            raise WrongUse("--stale finds items and stages by itself; give nothing else with it")
        workflow = load_app(app)
        workflow.validate()
        return asyncio.run(_stale(workflow.definition, operator, store, dry_run=dry_run))
    if stage is None or (item is None and state is None):
        raise WrongUse("rerun what? Give an item and a stage, --stage with --state completed or skipped, or --stale")
    wanted, why = Filter(stage, state, prefix=prefix), None if reason is None else safe_text(reason)

    def change(flow: Definition, found: ItemState) -> Transition:
        return decide.rerun(flow, found, stage, now_us(), cascade=cascade, operator=operator, reason=why)

    async def act() -> int:
        async with existing_store(store) as opened:
            flow = await stored_definition(opened)
            flow.stage(stage)
            if item is None:
                return tell(
                    await each(opened, wanted, lambda found: change(flow, found), dry_run=dry_run), "run again", dry_run=dry_run
                )
            if dry_run:
                if (found := await opened.load(item)) is None:
                    raise ItemNotFound(item)
                change(flow, found)
                print(clean(f"{item}: {stage} would run again"))
                return 0
            await opened.revise(item, lambda found: change(flow, found))
        print(clean(f"{item}: {stage} is pending again; `treadle run` goes on"))
        return 0

    return asyncio.run(act())


async def _stale(flow: Definition, operator: str, url: str | None, *, dry_run: bool) -> int:
    async with existing_store(url, read_only=dry_run) as store:
        found = await changes.rerun_stale(store, flow, operator, dry_run=dry_run)
    return tell(Done(found, []), "run again", dry_run=dry_run)
