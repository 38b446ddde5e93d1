"""``treadle review`` list, show and stats, and ``treadle gates``: nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from treadle.calibration import GateRecord, gate_records
from treadle.cli.common import Format, WrongUse, as_json, clean, existing_store, table, terminal_width
from treadle.cli.review_options import Which, review_filter
from treadle.cli.review_where import HERE, Where, opened
from treadle.history import Review
from treadle.inbox import InboxStats
from treadle.status import ago
from treadle.wording import counted

_LONGEST = 28
_NOBODY = Which()


def review_list(
    which: Which = _NOBODY,
    *,
    decided: bool = False,
    all: bool = False,  # noqa: A002 - the flag's name
    after: int | None = None,
    limit: int = 50,
    where: Where = HERE,
    format: Format = "table",  # noqa: A002
) -> int:
    """Reviews, those that were asked first first, a page at a time.

    Args:
        which: the filters.
        decided: those with an answer, in place of those that wait.
        all: both.
        after: only what is behind this cursor: the last of the page before.
        limit: how many.
        where: the store, or the server.
        format: table or json.
    """
    if limit < 1:
        raise WrongUse("--limit is 1 or more")
    return asyncio.run(_list(which, after, limit, where, format, is_open=None if all else not decided))


async def _list(
    which: Which, after: int | None, limit: int, where: Where, format: Format, *, is_open: bool | None  # noqa: A002
) -> int:  # fmt: skip
    async with opened(where, read_only=True) as at:
        page = await at.inbox.list(review_filter(at.stages, which, is_open=is_open), after=after, limit=limit)
    if format == "json":
        print(as_json({"reviews": [asdict(review) for review in page.reviews], "cursor": page.cursor}))
    elif not page.reviews:
        print("nothing waits for a person" if is_open else "there are no such reviews")
    else:
        print(_table(page.reviews))
        if page.cursor is not None:
            print(f"more: the same with --after {page.cursor}")
    return 0


def _table(reviews: Sequence[Review]) -> str:
    now = datetime.now(UTC)
    rows: list[list[object]] = [
        [
            f"{'●' if review.is_open else '·'} {short(review.item_id)}",
            short(review.stage),
            ago(review.opened_at, now),
            review.asked_by,
            _hands(review, now),
            review.review.summary,
        ]
        for review in reviews
    ]
    return table(["item", "stage", "since", "asked by", "with", "asks"], rows, width=terminal_width())


def short(text: str) -> str:
    """``text`` with its middle left out where it would push everything else off the line."""
    text = clean(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}…{text[1 - _LONGEST // 2 :]}"


def _hands(review: Review, now: datetime) -> str:
    if review.decision is not None:
        return f"{review.decision.replace('_', ' ')}{f' by {short(review.reviewer)}' if review.reviewer else ''}"
    is_held = review.holder is not None and review.held_until is not None and review.held_until > now
    return short(review.holder or "") if is_held else ""


def review_show(item: str, stage: str, *, where: Where = HERE, format: Format = "table") -> int:  # noqa: A002
    """The latest question about a stage, with everything a person needs to decide.

    Args:
        item: an item's id.
        stage: the stage that asks.
        where: the store, or the server.
        format: table or json.
    """
    return asyncio.run(_show(item, stage, where, format))


async def _show(item: str, stage: str, where: Where, format: Format) -> int:  # noqa: A002
    async with opened(where, read_only=True) as at:
        case = await at.inbox.show(item, stage)
    if format == "json":
        print(as_json(asdict(case)))
        return 0
    from rich.console import Group

    from treadle.cli.case import case_parts
    from treadle.cli.paint import LOUD, console, joined, said

    paper = console()
    parts = case_parts(case, width=paper.width, is_whole=True)
    paper.print(Group(joined(said(item, LOUD), stage), *parts))
    return 0


def review_stats(*, where: Where = HERE, format: Format = "table") -> int:  # noqa: A002
    """How much waits, and how fast people are.

    Args:
        where: the store, or the server.
        format: table or json.
    """
    return asyncio.run(_stats(where, format))


async def _stats(where: Where, format: Format) -> int:  # noqa: A002
    async with opened(where, read_only=True) as at:
        stats = await at.inbox.stats()
    print(as_json(asdict(stats)) if format == "json" else _stats_text(stats))
    return 0


def _stats_text(stats: InboxStats) -> str:
    lines = [
        f"● {stats.waiting:,} wait" + (f", the oldest for {ago(stats.oldest_at, datetime.now(UTC))}" if stats.oldest_at else "")
    ]
    lines += [f"  {number:,} {clean(stage)}" for stage, number in stats.by_stage.items()]
    if not stats.decided:
        return "\n".join([*lines, "no decisions by people yet"])
    lines.append(f"✓ {counted(stats.decided, 'recent decision')} by people")
    if stats.median_seconds is not None:
        lines.append(f"  {stats.median_seconds:.0f} s is the median from one decision to the next")
    if stats.changed_share is not None:
        lines.append(f"  {100 * stats.changed_share:.0f} % changed what waited")
    return "\n".join(lines)


def gates(*, store: str | None = None, format: Format = "table") -> int:  # noqa: A002
    """How often each gate was right, where a person decided after it.

    Args:
        store: the store's path or address.
        format: table or json.
    """
    return asyncio.run(_gates(store, format))


async def _gates(url: str | None, format: Format) -> int:  # noqa: A002
    async with existing_store(url, read_only=True) as store:
        records = await gate_records(store)
    if format == "json":
        print(as_json([asdict(record) | _rates(record) for record in records]))
    elif not records:
        print("no person has decided on what a gate judged; ReviewPolicy.sample(0.05) asks for a share of what it accepts")
    else:
        print(
            table(
                ["gate", "false accepts", "false rejects", "unsure"], [_row(record) for record in records], width=terminal_width()
            )
        )
    return 0


def _rates(record: GateRecord) -> dict[str, Any]:
    accepts, rejects = record.right_accepts + record.false_accepts, record.right_rejects + record.false_rejects
    return {
        "false_accept_rate": record.false_accepts / accepts if accepts else None,
        "false_reject_rate": record.false_rejects / rejects if rejects else None,
    }


def _row(record: GateRecord) -> list[object]:
    return [
        short(record.gate),
        _of(record.false_accepts, record.right_accepts),
        _of(record.false_rejects, record.right_rejects),
        _of(record.unsure_approved, record.unsure_refused, word=" approved"),
    ]


def _of(counted: int, others: int, *, word: str = "") -> str:
    total = counted + others
    return f"{counted:,} of {total:,}{word} ({100 * counted / total:.0f} %)" if total else "–"
