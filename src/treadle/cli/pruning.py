"""``treadle prune``: let go of what ended long ago."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import timedelta

from treadle import retention
from treadle.cli.common import existing_store
from treadle.cli.people import who
from treadle.cli.review_options import duration
from treadle.wording import counted

_EVERY = 5.0
"""Seconds between two lines that say how far it is."""


def prune(
    *,
    older: str,
    cancelled: bool = False,
    reason: str | None = None,
    dry_run: bool = False,
    reviewer: str | None = None,
    store: str | None = None,
) -> int:
    """Items that completed long ago are no more, with all their history. Workers may go on meanwhile.

    Args:
        older: how long nothing has happened to them: 12h, 30d, 8w.
        cancelled: cancelled items too.
        reason: kept in the journal.
        dry_run: only say how many.
        reviewer: who wants it; your login name without it.
        store: the store's path or address.
    """
    operator, length = who(reviewer), timedelta(seconds=duration(older))

    async def act() -> int:
        async with existing_store(store, read_only=dry_run) as opened:
            return await retention.prune(
                opened, length, by=operator, cancelled=cancelled, reason=reason, dry_run=dry_run, on_progress=_Line().show
            )

    items = asyncio.run(act())
    what = "would be no more" if dry_run else "are no more"
    print(f"{counted(items, 'item')} {what}")
    return 0


class _Line:
    """Says now and then how far it is."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def show(self, items: int) -> None:
        if time.monotonic() - self._last >= _EVERY:
            self._last = time.monotonic()
            print(f"{counted(items, 'item')} so far", file=sys.stderr)
