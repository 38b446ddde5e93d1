"""Commands for workers: work, workers, pause, resume, drain."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from treadle.cli.common import Format, WrongUse, as_json, clean, existing_store, load_app, store_url, table, terminal_width
from treadle.cli.people import who
from treadle.clock import from_us
from treadle.engine import Engine
from treadle.presence import is_gone
from treadle.progress import watch
from treadle.script import run_async, to_the_end
from treadle.state import Mode
from treadle.status import ago
from treadle.store import Control, StateStore, WorkerRow
from treadle.stores.opening import open_store
from treadle.wording import counted


def work(
    app: str | None = None,
    *,
    store: str | None = None,
    concurrency: int = 100,
    name: str | None = None,
    lease: float = 30.0,
    grace: float = 10.0,
) -> int:
    """Move what the store holds and what is added to it, until told to stop. SIGTERM drains, a second one ends it now.

    Args:
        app: file.py:name, module:name, or a file with one workflow.
        store: the store's path or address.
        concurrency: how many items move at once.
        name: what `treadle workers` calls it; host and pid without one.
        lease: seconds without a sign of life after which others take over.
        grace: seconds that running stages have to end when it is told to stop.
    """
    workflow = load_app(app)
    workflow.validate()
    if concurrency < 1:
        raise WrongUse("--concurrency is 1 or more")
    if not (lease > 0 and grace >= 0):
        raise WrongUse("--lease is more than 0 seconds, --grace 0 or more")

    async def at_it() -> str:
        async with open_store(store_url(store)) as opened:
            engine = Engine(workflow, opened, lease=lease, grace=grace, name=name)
            report = await run_async(engine, opened, None, concurrency=concurrency, watch=_watch, forever=True)
            control = await opened.steer()
        return f"{report}\n{_said(control)}" if control.mode is not Mode.RUNNING else str(report)

    print(to_the_end(at_it()))
    return 0


async def _watch(engine: Engine, store: StateStore) -> None:
    print("working; Ctrl-C or SIGTERM lets what runs end, once more ends it now", file=sys.stderr, flush=True)
    control = await store.steer()
    if control.mode is not Mode.RUNNING:
        print(_said(control), file=sys.stderr, flush=True)
    await watch(engine, store, quiet=True)


def workers(*, store: str | None = None, format: Format = "table") -> int:  # noqa: A002 - the flag's name
    """Who works on the store, since when, and how much each holds.

    Args:
        store: the store's path or address.
        format: table or json.
    """
    return asyncio.run(_workers(store, format))


async def _workers(url: str | None, format: Format) -> int:  # noqa: A002
    async with existing_store(url, read_only=True) as store:
        rows, control = await store.workers(), await store.steer()
    gone = await asyncio.to_thread(lambda: {row.number for row in rows if is_gone(row.who)})
    if format == "json":
        listed = [
            {
                "name": row.who.name, "host": row.who.host, "pid": row.who.pid, "since": from_us(row.since),
                "last_beat": from_us(row.beat), "holds": row.holds, "gone": row.number in gone,
            }
            for row in rows
        ]  # fmt: skip
        print(as_json({"mode": control.mode, "workers": listed}))
        return 0
    if rows:
        now = datetime.now(UTC)
        head = ["worker", "host", "pid", "since", "last beat", "holds", ""]
        print(table(head, [_row(row, now, is_dead=row.number in gone) for row in rows], width=terminal_width()))
    else:
        print("nobody works on this store; `treadle work` starts a worker")
    if control.mode is not Mode.RUNNING:
        print(_said(control))
    return 0


def _row(row: WorkerRow, now: datetime, *, is_dead: bool) -> list[object]:
    since, beat = ago(from_us(row.since), now), ago(from_us(row.beat), now)
    remark = "gone; the next worker takes its items" if is_dead else ""
    return [row.who.name, row.who.host, row.who.pid, since, beat, f"{row.holds:,}", remark]


def pause(*, reviewer: str | None = None, store: str | None = None) -> int:
    """Nobody claims items any more; what is held goes on, and workers stay.

    Args:
        reviewer: who wants it; your login name without it.
        store: the store's path or address.
    """
    return asyncio.run(_steer(Mode.PAUSED, who(reviewer), store))


def resume(*, reviewer: str | None = None, store: str | None = None) -> int:
    """Workers claim again, after a pause or a drain.

    Args:
        reviewer: who wants it; your login name without it.
        store: the store's path or address.
    """
    return asyncio.run(_steer(Mode.RUNNING, who(reviewer), store))


def drain(*, reviewer: str | None = None, store: str | None = None) -> int:
    """Workers finish the items they hold, and end; none begins until `treadle resume`.

    Args:
        reviewer: who wants it; your login name without it.
        store: the store's path or address.
    """
    return asyncio.run(_steer(Mode.DRAINING, who(reviewer), store))


async def _steer(mode: Mode, by: str, url: str | None) -> int:
    async with existing_store(url) as store:
        control = await store.steer(mode, by)
        holds = sum(row.holds for row in await store.workers())
    print(_said(control))
    if mode is not Mode.RUNNING and holds:
        print(f"{counted(holds, 'item', 'is', 'are')} held and will go on; see: treadle workers")
    return 0


def _said(control: Control) -> str:
    by = f" by {clean(control.by)}" if control.by else ""
    at = "" if control.at is None else f" at {from_us(control.at):%Y-%m-%d %H:%M:%S} UTC"
    if control.mode is Mode.RUNNING:
        return f"workers may claim{by}{at}"
    return f"{control.mode.value}{by}{at}; `treadle resume` lets workers claim again"
