"""A server's inbox over HTTP: the calls of ``Inbox``, answered by ``treadle serve``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, TypeVar, assert_never
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener
from uuid import uuid4

from pydantic import TypeAdapter

from treadle import errors
from treadle.clock import from_us
from treadle.errors import StoreUnavailable, TreadleError
from treadle.history import Review
from treadle.inbox import BulkResult, InboxStats, Page, ReviewCase
from treadle.outcome import Approve, ApproveWithEdits, Decision, Reject, RequestChanges
from treadle.store import ItemId, ReviewFilter

T = TypeVar("T")
_ALL_OPEN = ReviewFilter()
_STATES = {True: "open", False: "decided", None: "all"}
_TRIES = 3


class Client:
    """The reviews of a server. Who decides is whoever the token belongs to.

    Args:
        url: where the server's pages are.
        token: from ``treadle user add NAME --role reviewer``.
        timeout: seconds that one answer may take.

    Example:
        .. code-block:: python

            client = Client("https://reviews.example.org", os.environ["TREADLE_TOKEN"])
            for review in (await client.list()).reviews:
                case = await client.show(review.item_id, review.stage)
                await client.decide(review.item_id, review.stage, Approve(), revision=review.revision, digest=review.digest)

    Raises:
        ReviewConflict, InvalidArtefact, ItemNotFound, ...: what ``Inbox`` raises, from any call.
        StoreUnavailable: the server cannot be reached. A change that was sent is made once or not at all.
        TreadleError: the token is refused, or its role does not cover the call.
    """

    def __init__(self, url: str, token: str, *, timeout: float = 30) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"{url!r:.200} is no address of a server; give http://... or https://...")
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._timeout = timeout
        self._opener = build_opener(_NoRedirect)

    async def name(self) -> str:
        """Who the token belongs to."""
        return str((await self._ask("GET", "/session"))["name"])

    # looking

    async def list(self, wanted: ReviewFilter = _ALL_OPEN, *, after: int | None = None, limit: int = 50) -> Page:
        """A page of reviews, those that were asked first first; ``after`` is the ``cursor`` of the page before."""
        named = _filter(wanted) | {"state": _STATES[wanted.is_open], "after": after, "limit": limit}
        query = urlencode({name: value for name, value in named.items() if value is not None})
        return _read(Page, await self._ask("GET", f"/api/v1/reviews?{query}"))

    async def show(self, item_id: ItemId, stage: str) -> ReviewCase:
        """The latest question about a stage, open or decided, with what it is about."""
        return _read(ReviewCase, await self._ask("GET", _path(item_id, stage)))

    async def artefact(self, item_id: ItemId, stage: str) -> Any:
        """What the stage made, whole, however large: in ``show`` only its size and digest may stand in its place."""
        return await self._ask("GET", f"/api/v1/items/{_quoted(item_id)}/stages/{_quoted(stage)}/artefact")

    async def stats(self) -> InboxStats:
        """How much waits, and how fast people are."""
        return _read(InboxStats, await self._ask("GET", "/api/v1/reviews/stats"))

    # deciding

    async def claim(self, item_id: ItemId, stage: str, *, minutes: float = 10) -> Review:
        """The review is in your hands for so long; others are told so."""
        return _read(Review, await self._ask("POST", _path(item_id, stage, "claim"), {"minutes": minutes}))

    async def release(self, item_id: ItemId, stage: str) -> None:
        """Give back what was claimed."""
        await self._ask("POST", _path(item_id, stage, "release"))

    async def decide(
        self, item_id: ItemId, stage: str, decision: Decision, *, revision: int | None = None, digest: str | None = None
    ) -> None:
        """The decision is stored; without ``revision`` and ``digest`` of what was read, about what waits there now."""
        if revision is None or digest is None:
            review = (await self.show(item_id, stage)).review
            revision, digest = revision or review.revision, digest or review.digest
        await self._ask("POST", _path(item_id, stage, "decide"), _said(decision) | {"revision": revision, "digest": digest})

    async def preview(self, item_id: ItemId, stage: str, artefact: Any) -> Sequence[Mapping[str, Any]]:
        """The JSON Patch that an edit comes to, if it would be taken; nothing is stored."""
        patch: Sequence[Mapping[str, Any]] = (await self._ask("POST", _path(item_id, stage, "preview"), {"artefact": artefact}))[
            "patch"
        ]
        return patch

    async def bulk(
        self, wanted: ReviewFilter, decision: Approve | Reject | RequestChanges, *, dry_run: bool = False
    ) -> BulkResult:
        """One answer to every open question that ``wanted`` finds; with ``dry_run`` only what it would come to."""
        body = _said(decision) | {"filter": _filter(wanted), "dry_run": dry_run}
        done = await self._ask("POST", "/api/v1/reviews/bulk", body)
        refused = [(one["item_id"], one["stage"], one["reason"]) for one in done["refused"]]
        return BulkResult(decided=done["decided"], refused=refused)

    async def undo(self, item_id: ItemId, stage: str) -> None:
        """Your last decision is taken back, if the item has not moved on since."""
        await self._ask("POST", _path(item_id, stage, "undo"))

    async def reopen(self, item_id: ItemId, stage: str, *, reason: str) -> None:
        """A decided question is asked anew; for operators."""
        await self._ask("POST", _path(item_id, stage, "reopen"), {"reason": reason})

    # operating

    async def retry(self, item_id: ItemId, stage: str | None = None, *, reason: str) -> None:
        """What failed is pending again; for operators."""
        await self._ask("POST", f"/api/v1/items/{_quoted(item_id)}/retry", {"stage": stage, "reason": reason})

    async def cancel(self, item_id: ItemId, *, reason: str) -> None:
        """The item moves no more; for operators."""
        await self._ask("POST", f"/api/v1/items/{_quoted(item_id)}/cancel", {"reason": reason})

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON. A request whose answer was lost is sent again under the same key, so it counts once."""
        headers = self._headers | (
            {} if method == "GET" else {"Content-Type": "application/json", "Idempotency-Key": uuid4().hex}
        )
        data = None if method == "GET" else json.dumps({} if body is None else body).encode()
        request = Request(self._url + path, data, headers, method=method)  # noqa: S310 - the scheme was checked
        for left in reversed(range(_TRIES)):
            try:
                status, text = await asyncio.to_thread(self._send, request)
            except (URLError, TimeoutError, ConnectionError) as error:
                if not left:
                    raise StoreUnavailable(f"{self._url} cannot be reached: {getattr(error, 'reason', error)}") from error
                continue
            if status >= HTTPStatus.MULTIPLE_CHOICES:
                raise _error(status, text)
            return json.loads(text) if text else None
        raise AssertionError("every try ends in an answer or an error")

    def _send(self, request: Request) -> tuple[int, bytes]:
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return answer.status, answer.read()
        except HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read()


class _NoRedirect(HTTPRedirectHandler):
    """The token goes to the server that was named and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _quoted(text: ItemId) -> str:
    return quote(str(text), safe="")


def _path(item_id: ItemId, stage: str, act: str = "") -> str:
    return f"/api/v1/reviews/{_quoted(f'{item_id}/{stage}')}{f'/{act}' if act else ''}"


_READERS: dict[type[Any], TypeAdapter[Any]] = {kind: TypeAdapter[Any](kind) for kind in (Page, Review, ReviewCase, InboxStats)}


def _read(kind: type[T], data: Any) -> T:
    read: T = _READERS[kind].validate_python(data)
    return read


def _filter(wanted: ReviewFilter) -> dict[str, Any]:
    before = None if wanted.opened_before is None else from_us(wanted.opened_before).isoformat()
    named = wanted._asdict() | {"opened_before": before, "item": wanted.item_id}
    return {name: value for name, value in named.items() if value is not None and name not in ("is_open", "item_id")}


def _said(decision: Decision) -> dict[str, Any]:
    match decision:
        case Approve(note=note, attempt=attempt):
            return {"decision": "approve", "note": note, "attempt": attempt}
        case ApproveWithEdits(artefact=artefact, note=note):
            return {"decision": "approve_with_edits", "artefact": artefact, "note": note}
        case Reject(reason=reason):
            return {"decision": "reject", "reason": reason}
        case RequestChanges(feedback=feedback):
            return {"decision": "request_changes", "feedback": feedback if isinstance(feedback, str) else asdict(feedback)}
        case _:
            assert_never(decision)


def _error(status: int, text: bytes) -> TreadleError:
    """What the server said, as the error that ``Inbox`` would have raised."""
    try:
        said = json.loads(text)
        detail, name = str(said["detail"]), said.get("error")
    except (ValueError, KeyError, TypeError):
        said, detail, name = {}, f"the server answered {status} {HTTPStatus(status).phrase}", None
    kind = getattr(errors, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, TreadleError)):
        return TreadleError(detail)
    error = kind.__new__(kind)
    error.args = (detail,)
    vars(error).update({"problems": said.get("problems", []), "item_id": None, "stage": None})
    return error
