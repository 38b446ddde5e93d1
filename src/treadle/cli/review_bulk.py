"""``treadle review bulk``: one answer to every open review that filters find."""

from __future__ import annotations

import asyncio
import sys

from treadle.cli.common import WrongUse, clean
from treadle.cli.review_options import Which, review_filter
from treadle.cli.review_where import HERE, Where, opened
from treadle.inbox import BulkResult
from treadle.outcome import Approve, Reject, RequestChanges
from treadle.wording import counted

_ALL = Which()
_MOST = 20


def bulk_approve(
    which: Which = _ALL,
    *,
    note: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
    reviewer: str | None = None,
    where: Where = HERE,
) -> int:
    """Accept everything the filters find.

    Args:
        which: the filters.
        note: kept with each decision.
        dry_run: only say how many it would be.
        yes: do it.
        reviewer: who decides; your login name without it.
        where: the store, or the server.
    """
    return _bulk(which, Approve(note), "approved", reviewer, where, dry_run=dry_run, yes=yes)


def bulk_reject(
    reason: str,
    which: Which = _ALL,
    *,
    dry_run: bool = False,
    yes: bool = False,
    reviewer: str | None = None,
    where: Where = HERE,
) -> int:
    """Refuse everything the filters find.

    Args:
        reason: why, for whoever reads it later.
        which: the filters.
        dry_run: only say how many it would be.
        yes: do it.
        reviewer: who decides; your login name without it.
        where: the store, or the server.
    """
    return _bulk(which, Reject(reason), "rejected", reviewer, where, dry_run=dry_run, yes=yes)


def bulk_changes(
    feedback: str,
    which: Which = _ALL,
    *,
    dry_run: bool = False,
    yes: bool = False,
    reviewer: str | None = None,
    where: Where = HERE,
) -> int:
    """Have everything the filters find done again.

    Args:
        feedback: what the next attempts should do better.
        which: the filters.
        dry_run: only say how many it would be.
        yes: do it.
        reviewer: who decides; your login name without it.
        where: the store, or the server.
    """
    return _bulk(which, RequestChanges(feedback), "sent back for changes", reviewer, where, dry_run=dry_run, yes=yes)


def _bulk(
    which: Which, decision: Approve | Reject | RequestChanges, words: str, reviewer: str | None, where: Where, *,
    dry_run: bool, yes: bool,
) -> int:  # fmt: skip
    if not dry_run and not yes:
        raise WrongUse("many decisions at once: give --dry-run to see how many, or --yes to make them")
    try:
        name, done = asyncio.run(_decide_all(which, decision, reviewer, where, dry_run=dry_run))
    except ValueError as error:
        raise WrongUse(str(error)) from error
    what = counted(done.decided, "review")
    print(clean(f"{what} would be {words} by {name}" if dry_run else f"{what} {words} by {name}; `treadle run` goes on"))
    for _, _, reason in done.refused[:_MOST]:
        print(clean(f"× {reason}"), file=sys.stderr)
    if len(done.refused) > _MOST:
        print(f"× and {len(done.refused) - _MOST:,} more were refused", file=sys.stderr)
    return 1 if done.refused else 0


async def _decide_all(
    which: Which, decision: Approve | Reject | RequestChanges, reviewer: str | None, where: Where, *, dry_run: bool
) -> tuple[str, BulkResult]:
    async with opened(where, reviewer) as at:
        wanted = review_filter(at.stages, which)
        return at.reviewer, await at.inbox.decide_all(wanted, decision, reviewer=at.reviewer, dry_run=dry_run)
