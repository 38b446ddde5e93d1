"""An inbox as the commands see it, whether its store is at hand or a server has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from treadle.history import Review
from treadle.inbox import BulkResult, InboxStats, Page, ReviewCase
from treadle.outcome import Approve, Decision, Reject, RequestChanges
from treadle.store import ItemId, ReviewFilter

if TYPE_CHECKING:
    from treadle.client import Client

_ALL_OPEN = ReviewFilter()


class AnyInbox(Protocol):
    """What the commands need of an inbox, wherever it is."""

    async def list(self, wanted: ReviewFilter = ..., *, after: int | None = None, limit: int = 50) -> Page: ...
    async def show(self, item_id: ItemId, stage: str) -> ReviewCase: ...
    async def artefact(self, item_id: ItemId, stage: str) -> Any: ...
    async def stats(self) -> InboxStats: ...
    async def claim(self, item_id: ItemId, stage: str, *, reviewer: str, minutes: float = 10) -> Review: ...
    async def release(self, item_id: ItemId, stage: str, *, reviewer: str) -> None: ...
    async def decide(
        self, item_id: ItemId, stage: str, decision: Decision, *, reviewer: str, revision: int | None = None, digest: str | None = None,
    ) -> None: ...  # fmt: skip
    async def preview(self, item_id: ItemId, stage: str, artefact: Any) -> Sequence[Mapping[str, Any]]: ...
    async def decide_all(
        self, wanted: ReviewFilter, decision: Approve | Reject | RequestChanges, *, reviewer: str, dry_run: bool = False
    ) -> BulkResult: ...
    async def undo(self, item_id: ItemId, stage: str, *, reviewer: str | None = None) -> None: ...
    async def reopen(self, item_id: ItemId, stage: str, *, operator: str, reason: str) -> None: ...


class RemoteInbox:
    """A server's inbox with the calls of one at hand; who acts is whoever the token belongs to."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def list(self, wanted: ReviewFilter = _ALL_OPEN, *, after: int | None = None, limit: int = 50) -> Page:
        return await self._client.list(wanted, after=after, limit=limit)

    async def show(self, item_id: ItemId, stage: str) -> ReviewCase:
        return await self._client.show(item_id, stage)

    async def artefact(self, item_id: ItemId, stage: str) -> Any:
        return await self._client.artefact(item_id, stage)

    async def stats(self) -> InboxStats:
        return await self._client.stats()

    async def claim(self, item_id: ItemId, stage: str, *, reviewer: str, minutes: float = 10) -> Review:
        return await self._client.claim(item_id, stage, minutes=minutes)

    async def release(self, item_id: ItemId, stage: str, *, reviewer: str) -> None:
        await self._client.release(item_id, stage)

    async def decide(
        self, item_id: ItemId, stage: str, decision: Decision, *, reviewer: str, revision: int | None = None, digest: str | None = None,
    ) -> None:  # fmt: skip
        await self._client.decide(item_id, stage, decision, revision=revision, digest=digest)

    async def preview(self, item_id: ItemId, stage: str, artefact: Any) -> Sequence[Mapping[str, Any]]:
        return await self._client.preview(item_id, stage, artefact)

    async def decide_all(
        self, wanted: ReviewFilter, decision: Approve | Reject | RequestChanges, *, reviewer: str, dry_run: bool = False
    ) -> BulkResult:
        return await self._client.bulk(wanted, decision, dry_run=dry_run)

    async def undo(self, item_id: ItemId, stage: str, *, reviewer: str | None = None) -> None:
        await self._client.undo(item_id, stage)

    async def reopen(self, item_id: ItemId, stage: str, *, operator: str, reason: str) -> None:
        await self._client.reopen(item_id, stage, reason=reason)
