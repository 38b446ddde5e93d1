"""``treadle review`` for scripts: one answer to one review."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from treadle.cli.common import WrongUse, clean
from treadle.cli.json_text import parsed
from treadle.cli.review_where import HERE, Opened, Where, opened
from treadle.errors import InvalidArtefact
from treadle.outcome import Approve, ApproveWithEdits, Decision, Reject, RequestChanges


def review_approve(
    item: str,
    stage: str,
    *,
    attempt: int | None = None,
    note: str | None = None,
    reviewer: str | None = None,
    where: Where = HERE,
) -> int:
    """Accept what waits: the stage completes.

    Args:
        item: an item's id.
        stage: the stage that asks.
        attempt: the number of the attempt to accept; the last one without it.
        note: kept with the decision.
        reviewer: who decides; your login name without it.
        where: the store, or the server.
    """
    return _decide(item, stage, Approve(note, attempt), "approved", reviewer, where)


def review_edit(
    item: str,
    stage: str,
    *,
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    note: str | None = None,
    app: str | None = None,
    reviewer: str | None = None,
    where: Where = HERE,
) -> int:
    """Accept another artefact in place of what waits: dependents see this one.

    Args:
        item: an item's id.
        stage: the stage that asks.
        file: the artefact as JSON; - reads standard input.
        note: kept with the decision.
        app: file.py:name or module:name; its types then check the artefact, else the stored schema.
        reviewer: who decides; your login name without it.
        where: the store, or the server.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"{file} cannot be read: {error}") from error
    try:
        value = parsed(text)
    except ValueError as error:
        raise WrongUse(f"{file if file != '-' else 'standard input'} is not JSON: {error}") from error
    return _decide(item, stage, ApproveWithEdits(value, note), "approved with edits", reviewer, where, app=app, can_edit=True)


def review_reject(item: str, stage: str, reason: str, *, reviewer: str | None = None, where: Where = HERE) -> int:
    """Refuse what waits: the stage fails.

    Args:
        item: an item's id.
        stage: the stage that asks.
        reason: why, for whoever reads it later.
        reviewer: who decides; your login name without it.
        where: the store, or the server.
    """
    return _decide(item, stage, Reject(reason), "rejected", reviewer, where)


def review_changes(item: str, stage: str, feedback: str, *, reviewer: str | None = None, where: Where = HERE) -> int:
    """Have it done again: one more attempt, which is told the feedback.

    Args:
        item: an item's id.
        stage: the stage that asks.
        feedback: what the next attempt should do better.
        reviewer: who decides; your login name without it.
        where: the store, or the server.
    """
    return _decide(item, stage, RequestChanges(feedback), "sent back for changes", reviewer, where)


def _decide(
    item: str, stage: str, decision: Decision, words: str, reviewer: str | None, where: Where, *,
    app: str | None = None, can_edit: bool = False,
) -> int:  # fmt: skip
    async def act(at: Opened) -> str:
        try:
            await at.inbox.decide(item, stage, decision, reviewer=at.reviewer)
        except InvalidArtefact as error:
            raise WrongUse("\n".join(["the artefact does not fit; nothing was decided:", *error.problems])) from error
        return f"{item}: {stage} {words} by {at.reviewer}; `treadle run` goes on"

    return _act(act, where, reviewer, app=app, can_edit=can_edit)


def review_claim(item: str, stage: str, *, minutes: float = 10, reviewer: str | None = None, where: Where = HERE) -> int:
    """Take a review into your hands for a while; others are told so.

    Args:
        item: an item's id.
        stage: the stage that asks.
        minutes: how long, up to a day.
        reviewer: who takes it; your login name without it.
        where: the store, or the server.
    """

    async def act(at: Opened) -> str:
        taken = await at.inbox.claim(item, stage, reviewer=at.reviewer, minutes=minutes)
        until = f"{taken.held_until.astimezone():%H:%M}" if taken.held_until is not None else "now"
        return f"{item}: {stage} is in the hands of {at.reviewer} until {until}"

    return _act(act, where, reviewer)


def review_release(item: str, stage: str, *, reviewer: str | None = None, where: Where = HERE) -> int:
    """Give back what you claimed.

    Args:
        item: an item's id.
        stage: the stage that asks.
        reviewer: who gives it back; your login name without it.
        where: the store, or the server.
    """

    async def act(at: Opened) -> str:
        await at.inbox.release(item, stage, reviewer=at.reviewer)
        return f"{item}: {stage} is in nobody's hands"

    return _act(act, where, reviewer)


def review_undo(item: str, stage: str, *, where: Where = HERE) -> int:
    """Take the last decision back, if nothing was built on it yet.

    Args:
        item: an item's id.
        stage: the stage that was decided.
        where: the store, or the server.
    """

    async def act(at: Opened) -> str:
        await at.inbox.undo(item, stage)
        return f"{item}: {stage} waits again"

    return _act(act, where, None)


def review_reopen(item: str, stage: str, reason: str, *, reviewer: str | None = None, where: Where = HERE) -> int:
    """Ask a decided question anew; what was built on the answer is pending again.

    Args:
        item: an item's id.
        stage: the stage that was decided.
        reason: why, for whoever reads it later.
        reviewer: who reopens it; your login name without it.
        where: the store, or the server.
    """

    async def act(at: Opened) -> str:
        await at.inbox.reopen(item, stage, operator=at.reviewer, reason=reason)
        return f"{item}: {stage} waits again, and what was built on it is pending"

    return _act(act, where, reviewer)


def _act(
    work: Callable[[Opened], Awaitable[str]],
    where: Where,
    reviewer: str | None,
    *,
    app: str | None = None,
    can_edit: bool = False,
) -> int:
    """Print what ``work`` did; a value it refuses is wrong use."""

    async def act() -> str:
        async with opened(where, reviewer, app=app, can_edit=can_edit) as at:
            return await work(at)

    try:
        print(clean(asyncio.run(act())))
    except ValueError as error:
        raise WrongUse(str(error)) from error
    return 0
