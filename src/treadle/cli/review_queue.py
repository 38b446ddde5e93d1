"""The reviews that come to a person's desk, one in their hands at a time."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime

from treadle.cli.any_inbox import AnyInbox
from treadle.errors import ItemNotFound, ReviewConflict, TreadleError
from treadle.history import Review, is_author
from treadle.inbox import ReviewCase
from treadle.store import ReviewFilter

_MINUTES = 10
_RENEW = 200.0
"""Seconds after which a claim is made anew, well before it runs out."""
_PAGE = 50


class Queue:
    """Open reviews in the order they were asked; the one that was given out last is claimed.

    Args:
        wanted: which reviews.
        reviewer: in whose hands they are.
    """

    def __init__(self, inbox: AnyInbox, wanted: ReviewFilter, reviewer: str) -> None:
        self._inbox = inbox
        self._wanted = wanted
        self._reviewer = reviewer
        self._ahead: deque[tuple[str, str]] = deque()
        self._seen: set[tuple[str, str, int]] = set()
        self._cursor: int | None = None
        self._held: tuple[str, str] | None = None
        self._claimed = 0.0
        self.passed_over: list[str] = []
        """Why reviews were not given out; whoever shows them empties it."""

    async def next(self) -> ReviewCase | None:
        """The next review that this person may decide, claimed; ``None`` if there is none."""
        await self.release()
        while self._ahead or await self._fill():
            item_id, stage = self._ahead.popleft()
            try:
                await self._inbox.claim(item_id, stage, reviewer=self._reviewer, minutes=_MINUTES)
                self._held, self._claimed = (item_id, stage), time.monotonic()
                case = await self._inbox.show(item_id, stage)
            except (ReviewConflict, ItemNotFound) as error:
                self.passed_over.append(str(error))
                continue
            return case
        return None

    async def _fill(self) -> bool:
        """More reviews, if there are any that were not looked at yet; those asked meanwhile are among them."""
        while True:
            page = await self._inbox.list(self._wanted, after=self._cursor, limit=_PAGE)
            now = datetime.now(UTC)
            for review in page.reviews:
                question = (review.item_id, review.stage, review.revision)
                if question in self._seen:
                    continue
                self._seen.add(question)
                if (reason := self._not_for_us(review, now)) is not None:
                    self.passed_over.append(reason)
                else:
                    self._ahead.append((review.item_id, review.stage))
            # The last page has no cursor, and may grow: it is read again from where it begins.
            self._cursor = page.cursor or self._cursor
            if self._ahead or page.cursor is None:
                return bool(self._ahead)

    def _not_for_us(self, review: Review, now: datetime) -> str | None:
        where = f"{review.item_id}: {review.stage}"
        if is_author(review.author, self._reviewer):
            return f"{where} is your own work"
        if review.holder not in (None, self._reviewer) and review.held_until is not None and review.held_until > now:
            return f"{where} is in the hands of {review.holder}"
        return None

    def first(self, *which: tuple[str, str]) -> None:
        """These come next, in this order."""
        self._ahead.extendleft(reversed(which))

    async def renew(self) -> None:
        """The review on the desk stays in this person's hands while they look at it."""
        if self._held is not None and time.monotonic() - self._claimed > _RENEW:
            self._claimed = time.monotonic()
            with suppress(TreadleError):  # whoever has it by now is named when they try to decide
                await self._inbox.claim(*self._held, reviewer=self._reviewer, minutes=_MINUTES)

    async def release(self) -> None:
        """Nothing is in this person's hands; decided reviews are not in anybody's."""
        held, self._held = self._held, None
        if held is not None:
            with suppress(ReviewConflict, ItemNotFound):
                await self._inbox.release(*held, reviewer=self._reviewer)

    def decided(self) -> None:
        """The review on the desk was answered: there is nothing left to give back."""
        self._held = None
