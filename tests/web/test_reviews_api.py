"""``/api/v1/reviews``: the same rules as the inbox, over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.web.pipeline import letters
from treadle import Approve, Engine, Inbox, StateStore
from treadle.clock import now_us
from treadle.store import WorkerIdentity

API = "/api/v1/reviews"


def key(item_id: str, stage: str = "summary") -> str:
    """The review as one segment of an address, whatever its item is called."""
    return f"{API}/{quote(f'{item_id}/{stage}', safe='')}"


async def seen(client: httpx.AsyncClient, item_id: str) -> dict[str, Any]:
    """What a decision on it gives back."""
    review = (await client.get(key(item_id))).json()["review"]
    return {"revision": review["revision"], "digest": review["digest"]}


@pytest.fixture
def inbox(store: StateStore) -> Inbox:
    return Inbox(store)


async def test_list_pages_by_cursor_in_the_order_they_were_asked(client: httpx.AsyncClient) -> None:
    first = (await client.get(API, params={"limit": 2})).json()
    second = (await client.get(API, params={"limit": 2, "after": first["cursor"]})).json()
    names = [review["item_id"] for review in first["reviews"] + second["reviews"]]
    assert sorted(names) == ["ask-1", "ask-2", "ask/3 ü"]
    assert second["cursor"] is None
    assert first["reviews"][0]["review"]["summary"].startswith("is ")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"item": "ask-1"}, 1), ({"stage": "summary"}, 3), ({"stage": "send"}, 0), ({"verdict": "uncertain"}, 3), ({"verdict": "rejected"}, 0),
        ({"asked_by": "gate"}, 3), ({"asked_by": "policy"}, 0), ({"holder": ""}, 3), ({"holder": "bob"}, 0), ({"older_than": "2h"}, 0),
        ({"state": "decided"}, 0), ({"state": "all"}, 3), ({"stage": "", "verdict": "", "older_than": "", "item": ""}, 3),
    ],
)  # fmt: skip
async def test_filters(client: httpx.AsyncClient, wanted: dict[str, str], found: int) -> None:
    assert len((await client.get(API, params=wanted)).json()["reviews"]) == found


@pytest.mark.parametrize(
    ("wanted", "status"),
    [({"stage": "none"}, 404), ({"older_than": "long"}, 422), ({"verdict": "maybe"}, 422), ({"limit": "0"}, 422), ({"opened_before": "2026-01-01T00:00:00"}, 422)],
)  # fmt: skip
async def test_a_filter_that_means_nothing_is_refused(client: httpx.AsyncClient, wanted: dict[str, str], status: int) -> None:
    answer = await client.get(API, params=wanted)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_show_has_all_that_a_person_needs(client: httpx.AsyncClient) -> None:
    case = (await client.get(key("ask/3 ü"))).json()
    assert case["item"] == {"id": "ask/3 ü", "text": "Is this one odd?"}
    assert case["artefact"] == {"title": "Is", "words": 4, "urgent": False}
    assert case["upstream"] == {"read": "Is this one odd?"}
    assert case["schema"]["properties"]["words"]["type"] == "integer"
    assert case["attempts"][0]["verdict"]["verdict"] == "uncertain"
    assert case["attempts"][0]["verdict"]["reason"] == "is ask/3 ü urgent?"
    assert (case["policy"], case["max_attempts"]) == ("when the gate is uncertain", 1)
    assert (await client.get(f"{API}/ask/3%20%C3%BC/summary")).json() == case, "slashes may stay as they are, too"


async def test_what_is_not_there_is_404(client: httpx.AsyncClient) -> None:
    assert (await client.get(key("nobody"))).status_code == 404
    assert (await client.get(key("ask-1", "nowhere"))).status_code == 404
    assert (await client.get(key("ask-1", "read"))).status_code == 409


async def test_decide_checks_what_was_read_and_says_who_was_first(client: httpx.AsyncClient, inbox: Inbox) -> None:
    read = await seen(client, "ask-1")
    for stale in ({"digest": "0" * 8}, {"revision": 7}):
        answer = await client.post(f"{key('ask-1')}/decide", json={"decision": "approve"} | read | stale)
        assert answer.status_code == 409
        assert "look again" in answer.json()["detail"]
    done = await client.post(f"{key('ask-1')}/decide", json={"decision": "approve", "note": "fine", **read})
    assert done.status_code == 204
    review = (await inbox.show("ask-1", "summary")).review
    assert (review.decision, review.reviewer, review.note) == ("approve", "ann", "fine")
    late = await client.post(f"{key('ask-1')}/decide", json={"decision": "reject", "reason": "no", **read})
    assert late.status_code == 409
    assert "approved by ann" in late.json()["detail"]


async def test_an_edit_that_does_not_fit_says_where_and_why(client: httpx.AsyncClient, inbox: Inbox) -> None:
    wrong = {"title": 3, "words": "many"}
    body = {"decision": "approve_with_edits", "artefact": wrong, **await seen(client, "ask-1")}
    answer = await client.post(f"{key('ask-1')}/decide", json=body)
    assert answer.status_code == 422
    assert [problem.partition(": ")[0] for problem in answer.json()["problems"]] == ["title", "words"]
    assert (await client.post(f"{key('ask-1')}/preview", json={"artefact": wrong})).status_code == 422
    right = {"title": "Urgent", "words": 4, "urgent": True}
    patch = (await client.post(f"{key('ask-1')}/preview", json={"artefact": right})).json()["patch"]
    assert {change["path"] for change in patch} == {"/title", "/urgent"}
    assert (await client.post(f"{key('ask-1')}/decide", json=body | {"artefact": right})).status_code == 204
    assert (await inbox.show("ask-1", "summary")).review.edited == right


@pytest.mark.parametrize(
    "body",
    [
        {}, {"decision": "maybe"}, {"decision": "reject"}, {"decision": "reject", "reason": ""}, {"decision": "reject", "reason": "  "},
        {"decision": "request_changes"}, {"decision": "request_changes", "feedback": {"summary": " "}},
        {"decision": "approve", "reviewer": "bob"}, {"decision": "approve", "attempt": "x"}, {"decision": "approve", "rests": 1e9},
    ],
)  # fmt: skip
async def test_a_body_that_is_no_decision_is_refused(client: httpx.AsyncClient, inbox: Inbox, body: dict[str, Any]) -> None:
    answer = await client.post(f"{key('ask-1')}/decide", json=body | await seen(client, "ask-1"))
    assert answer.status_code == 422, answer.text
    assert (await inbox.show("ask-1", "summary")).review.is_open


async def test_a_decision_without_what_was_read_is_refused(client: httpx.AsyncClient, inbox: Inbox) -> None:
    assert (await client.post(f"{key('ask-1')}/decide", json={"decision": "approve"})).status_code == 422
    assert (await inbox.show("ask-1", "summary")).review.is_open


async def test_claims_are_told_and_respected(client: httpx.AsyncClient, inbox: Inbox) -> None:
    assert (await client.post(f"{key('ask-1')}/claim", json={"minutes": 5})).json()["holder"] == "ann"
    await client.post(f"{key('ask-1')}/release")
    await inbox.claim("ask-1", "summary", reviewer="bob")
    for act, body in (("claim", {}), ("release", None), ("decide", {"decision": "approve", **await seen(client, "ask-1")})):
        answer = await client.post(f"{key('ask-1')}/{act}", json=body)
        assert answer.status_code == 409
        assert "in the hands of bob" in answer.json()["detail"]


async def test_undo_takes_back_your_own_decision_alone(client: httpx.AsyncClient, inbox: Inbox) -> None:
    await client.post(f"{key('ask-1')}/decide", json={"decision": "reject", "reason": "no", **await seen(client, "ask-1")})
    assert (await client.post(f"{key('ask-1')}/undo")).status_code == 204
    assert (await inbox.show("ask-1", "summary")).review.is_open
    await inbox.decide("ask-2", "summary", Approve(), reviewer="bob")
    answer = await client.post(f"{key('ask-2')}/undo")
    assert answer.status_code == 409
    assert "decided by bob" in answer.json()["detail"]


async def test_an_item_rests_after_a_decision_so_that_undo_is_in_time(client: httpx.AsyncClient, store: StateStore) -> None:
    await client.post(f"{key('ask-1')}/decide", json={"decision": "approve", "rests": 30, **await seen(client, "ask-1")})
    await client.post(f"{key('ask-2')}/decide", json={"decision": "approve", **await seen(client, "ask-2")})
    worker = await store.enlist(WorkerIdentity("w", "h", "b", 1, "s"))
    claimed = await store.claim(worker, 10, now_us(), is_dead=lambda row: False)
    assert [item.id for item in claimed.items] == ["ask-2"], "the other one rests"
    await store.retire(worker)
    async with Engine(letters, store) as engine:
        assert (await engine.advance("ask-2")).is_complete
    assert (await client.post(f"{key('ask-1')}/undo")).status_code == 204
    assert (await client.post(f"{key('ask-2')}/undo")).status_code == 409


async def test_reopen_is_for_operators(client: httpx.AsyncClient, inbox: Inbox) -> None:
    await inbox.decide("ask-1", "summary", Approve(), reviewer="bob")
    assert (await client.post(f"{key('ask-1')}/reopen", json={"reason": "a mistake"})).status_code == 204
    assert (await inbox.show("ask-1", "summary")).review.is_open


async def test_bulk_previews_and_decides_what_the_same_filter_finds(client: httpx.AsyncClient, inbox: Inbox) -> None:
    await inbox.claim("ask-2", "summary", reviewer="bob")
    body = {"decision": "reject", "reason": "all wrong", "filter": {"stage": "summary"}, "dry_run": True}
    would = (await client.post(f"{API}/bulk", json=body)).json()
    assert would["decided"] == 2
    assert [refusal["item_id"] for refusal in would["refused"]] == ["ask-2"]
    assert "in the hands of bob" in would["refused"][0]["reason"]
    assert (await inbox.stats()).waiting == 3
    assert (await client.post(f"{API}/bulk", json=body | {"dry_run": False})).json() == would
    assert (await inbox.stats()).waiting == 1


async def test_bulk_cannot_edit(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"{API}/bulk", json={"decision": "approve_with_edits", "artefact": 1})).status_code == 422


async def test_stats(client: httpx.AsyncClient) -> None:
    stats = (await client.get(f"{API}/stats")).json()
    assert (stats["waiting"], stats["by_stage"], stats["decided"]) == (3, {"summary": 3}, 0)
