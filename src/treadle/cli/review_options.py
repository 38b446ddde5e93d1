"""What the commands about reviews share: which reviews, and by which types edits are checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cyclopts import Parameter

from treadle.cli.common import WrongUse, clean, load_app, setting
from treadle.clock import now_us
from treadle.errors import StageNotFound
from treadle.inbox import Inbox
from treadle.state import AskedBy
from treadle.status import stretch
from treadle.store import ReviewFilter, StateStore


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which reviews.

    Args:
        stage: only this stage's.
        item: only this item's.
        asked_by: only those that a stage, gate, policy, sample, escalation or change asks for.
        verdict: only where the gate said so.
        holder: only those in this person's hands; '' for nobody's.
        older_than: only those that have waited so long: 90s, 30min, 2h, 3d.
    """

    stage: str | None = None
    item: str | None = None
    asked_by: AskedBy | None = None
    verdict: Literal["uncertain", "rejected", "accepted"] | None = None
    holder: str | None = None
    older_than: str | None = None


def review_filter(stages: Sequence[str] | None, which: Which, *, is_open: bool | None = True) -> ReviewFilter:
    """``which`` as the inbox takes it; raises ``StageNotFound`` for a stage that is not among ``stages``, if these are known."""
    if which.stage is not None and stages is not None and which.stage not in stages:
        raise StageNotFound(which.stage, stages)
    before = None if which.older_than is None else now_us() - int(duration(which.older_than) * 1_000_000)
    return ReviewFilter(which.stage, which.asked_by, which.verdict, which.holder, before, which.item, is_open)


def duration(text: str) -> float:
    """Seconds that ``90s``, ``30min``, ``2h``, ``3d`` or ``1w`` mean."""
    try:
        return stretch(text)
    except ValueError as error:
        raise WrongUse(str(error)) from error


def editing_inbox(store: StateStore, app: str | None) -> Inbox:
    """An inbox that checks edits by the workflow's types where its code can be loaded, else by the stored schema."""
    if app is None and setting("app", None) is None:
        return Inbox(store)
    try:
        return Inbox(store, load_app(app))
    except WrongUse as error:
        if app is not None:
            raise
        print(clean(f"edits are checked by the stored schema only: {error}"), file=sys.stderr)
        return Inbox(store)
