"""``treadle review`` without a subcommand."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from types import FrameType

from treadle.cli.common import WrongUse, clean
from treadle.cli.review_options import Which, review_filter
from treadle.cli.review_where import HERE, Where, opened
from treadle.inbox import InboxStats

_ALL = Which()


def review(which: Which = _ALL, *, reviewer: str | None = None, app: str | None = None, where: Where = HERE) -> int:
    """Decide on what waits, one review a screen; in a pipe, list it.

    Args:
        which: the filters.
        reviewer: who decides; your login name without it.
        app: file.py:name or module:name; its types then check edits, else the stored schema.
        where: the store, or the server.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        from treadle.cli.review_looking import review_list

        return review_list(which, where=where)
    with asyncio.Runner() as runner, _ending_in_order():
        return _at_the_desk(runner, which, reviewer, app, where)


def _at_the_desk(runner: asyncio.Runner, which: Which, reviewer: str | None, app: str | None, where: Where) -> int:
    from treadle.cli.desk import Desk
    from treadle.cli.review_queue import Queue

    stack = AsyncExitStack()
    try:
        at = runner.run(stack.enter_async_context(opened(where, reviewer, app=app, can_edit=True)))
        inbox = at.inbox
        queue = Queue(inbox, review_filter(at.stages, which), at.reviewer)
        desk = Desk(runner.run, inbox, queue, at.reviewer, _waiting(runner.run(inbox.stats()), which))
        try:
            desk.work()
        except ValueError as error:
            raise WrongUse(str(error)) from error
        finally:
            # Whatever ended it: others can have what was on the screen, and the person reads what became of their work.
            runner.run(queue.release())
            print(clean(desk.session.summary(), lines=True))
    finally:
        runner.run(stack.aclose())
    return 0


def _waiting(stats: InboxStats, which: Which) -> int | None:
    """How many reviews there are to decide, where that is known without counting them."""
    if which != Which(stage=which.stage):
        return None
    return stats.waiting if which.stage is None else stats.by_stage.get(which.stage, 0)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """A terminal that is closed, or a process that is told to end, unwinds like Ctrl-C."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    wanted = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
