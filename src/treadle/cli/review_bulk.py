"""``treadle review bulk``: one answer to every open review that filters find."""

from __future__ import annotations

import asyncio
import sys

from treadle.cli.common import WrongUse, clean, existing_store
from treadle.cli.people import who
from treadle.cli.review_options import Which, review_filter
from treadle.inbox import BulkResult, Inbox
from treadle.outcome import Approve, Reject, RequestChanges

_ALL = Which()
_MOST = 20


def bulk_approve(
    which: Which = _ALL,
    *,
    note: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
    reviewer: str | None = None,
    store: str | None = None,
) -> int:
    """Accept everything the filters find.

    Args:
        which: the filters.
        note: kept with each decision.
        dry_run: only say how many it would be.
        yes: do it.
        reviewer: who decides; your login name without it.
        store: the store's path or address.
    """
    return _bulk(which, Approve(note), "approved", reviewer, store, dry_run=dry_run, yes=yes)


def bulk_reject(
    reason: str,
    which: Which = _ALL,
    *,
    dry_run: bool = False,
    yes: bool = False,
    reviewer: str | None = None,
    store: str | None = None,
) -> int:
    """Refuse everything the filters find.

    Args:
        reason: why, for whoever reads it later.
        which: the filters.
        dry_run: only say how many it would be.
        yes: do it.
        reviewer: who decides; your login name without it.
        store: the store's path or address.
    """
    return _bulk(which, Reject(reason), "rejected", reviewer, store, dry_run=dry_run, yes=yes)


def bulk_changes(
    feedback: str,
    which: Which = _ALL,
    *,
    dry_run: bool = False,
    yes: bool = False,
    reviewer: str | None = None,
    store: str | None = None,
) -> int:
    """Have everything the filters find done again.

    Args:
        feedback: what the next attempts should do better.
        which: the filters.
        dry_run: only say how many it would be.
        yes: do it.
        reviewer: who decides; your login name without it.
        store: the store's path or address.
    """
    return _bulk(which, RequestChanges(feedback), "sent back for changes", reviewer, store, dry_run=dry_run, yes=yes)


def _bulk(
    which: Which, decision: Approve | Reject | RequestChanges, words: str, reviewer: str | None, url: str | None, *,
    dry_run: bool, yes: bool,
) -> int:  # fmt: skip
    if not dry_run and not yes:
        raise WrongUse("many decisions at once: give --dry-run to see how many, or --yes to make them")
    name = who(reviewer)
    try:
        done = asyncio.run(_decide_all(which, decision, name, url, dry_run=dry_run))
    except ValueError as error:
        raise WrongUse(str(error)) from error
    what = f"{done.decided:,} review{'' if done.decided == 1 else 's'}"
    print(clean(f"{what} would be {words} by {name}" if dry_run else f"{what} {words} by {name}; `treadle run` goes on"))
    for _, _, reason in done.refused[:_MOST]:
        print(clean(f"× {reason}"), file=sys.stderr)
    if len(done.refused) > _MOST:
        print(f"× and {len(done.refused) - _MOST:,} more were refused", file=sys.stderr)
    return 1 if done.refused else 0


async def _decide_all(
    which: Which, decision: Approve | Reject | RequestChanges, name: str, url: str | None, *, dry_run: bool
) -> BulkResult:
    async with existing_store(url) as store:
        return await Inbox(store).decide_all(await review_filter(store, which), decision, reviewer=name, dry_run=dry_run)
