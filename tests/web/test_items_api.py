"""``/api/v1`` of items, stages, failures, events and figures."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest

import treadle
from tests.web.conftest import app_as, web_client
from tests.web.pipeline import Letter, letters
from treadle import FanOut, StageContext, StateStore, SubTask, Workflow
from treadle.web import Role
from treadle.web.segments import segment

API = "/api/v1"
ODD = "ask/3 ü"


async def test_items_are_listed_by_pages_both_ways(client: httpx.AsyncClient) -> None:
    first = (await client.get(f"{API}/items", params={"limit": 4})).json()
    assert [item["id"] for item in first["items"]] == ["ask-1", "ask-2", ODD, "done-1"]
    assert (first["before"], first["reached"]) == (None, None)
    second = (await client.get(f"{API}/items", params={"limit": 4, "after": first["after"]})).json()
    assert [item["id"] for item in second["items"]] == ["done-2", "fail-1"]
    back = (await client.get(f"{API}/items", params={"limit": 4, "before": second["before"]})).json()
    assert back["items"] == first["items"]
    cell = second["items"][1]["cells"][0]
    assert cell == {"stage": "read", "state": "failed", "attempt": 1, "error": "ValueError: cannot read fail-1: unreadable ink"}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"state": "failed"}, ["fail-1"]),
        ({"stage": "summary", "state": "awaiting_review"}, ["ask-1", "ask-2", ODD]),
        ({"phase": "completed"}, ["done-1", "done-2"]),
        ({"prefix": "ask/"}, [ODD]),
        ({"text": "UNREADABLE"}, ["fail-1"]),
        ({"age": "<1h", "prefix": "done"}, ["done-1", "done-2"]),
        ({"age": ">1h"}, []),
        ({"stage": "", "state": "", "prefix": "fail"}, ["fail-1"]),
    ],
)
async def test_filters(client: httpx.AsyncClient, asked: dict[str, str], found: list[str]) -> None:
    assert [item["id"] for item in (await client.get(f"{API}/items", params=asked)).json()["items"]] == found


async def test_what_is_not_there_or_makes_no_sense_is_told(client: httpx.AsyncClient) -> None:
    for path, status, says in (
        ("items?state=lost", 422, "state"),
        ("items?age=old", 400, "write <1h"),
        ("items?stage=nope", 404, "stages are read"),
        ("items?limit=0", 422, "limit"),
        ("items/nobody", 404, "nobody"),
        ("items/nobody/events", 404, "nobody"),
        ("items/done-1/stages/nope", 404, "nope"),
        ("stages/nope", 404, "nope"),
        ("events?kind=nope", 422, "kind"),
    ):
        answer = await client.get(f"{API}/{path}")
        assert answer.status_code == status, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    "identity", [ODD, "a/events", "a/retry", ".", "..", "a?b#c", "%2F", "a b+c", "日本", "x" * 512, "<b>&\"'"]
)
async def test_ids_of_any_characters(store: StateStore, identity: str) -> None:
    async with treadle.Engine(letters, store) as engine:
        await engine.run([Letter(identity, "Dear all")] if identity != ODD else [])
    async with web_client(app_as(store, Role.OPERATOR)) as client:
        path = f"{API}/items/{segment(identity)}"
        assert (await client.get(path)).json()["id"] == identity
        events = (await client.get(f"{path}/events")).json()["events"]
        assert {event["item_id"] for event in events} == {identity}
        assert (await client.get(f"{path}/stages/read")).json()["entry"]["state"] == "completed"
        listed = (await client.get(f"{API}/items", params={"prefix": identity})).json()["items"]
        assert listed[0]["id"] == identity
        page = await client.get(f"/items/{segment(identity)}")
        assert page.status_code == 200
        assert (await client.post(f"{path}/cancel", json={"reason": "enough"})).status_code in (204, 409)


async def test_an_item_with_its_stages_attempts_and_artefacts(client: httpx.AsyncClient) -> None:
    item = (await client.get(f"{API}/items/done-1")).json()
    assert (item["phase"], item["item"]["text"], item["progress_percent"]) == ("completed", "Dear all, please note the date", 100)
    assert [stage["name"] for stage in item["stages"]] == ["read", "summary", "translate", "send"]
    stage = (await client.get(f"{API}/items/done-1/stages/summary")).json()
    assert stage["artefact"] == {"title": "Dear", "words": 6, "urgent": False}
    assert stage["json_schema"]["title"] == "Summary"
    assert (stage["attempts"][0]["outcome"], stage["attempts"][0]["verdict"]["verdict"]) == ("completed", "accepted")
    assert (await client.get(f"{API}/items/done-1/stages/summary/artefact")).json() == stage["artefact"]
    failed = (await client.get(f"{API}/items/fail-1/stages/read")).json()
    assert failed["attempts"][0]["error"] == "ValueError: cannot read fail-1: unreadable ink"
    assert failed["attempts"][0]["failure"]["type"] == "ValueError"


async def test_subtasks_are_paged_and_each_has_its_attempts() -> None:
    flow = Workflow("fanned")

    @flow.stage
    async def split(item: dict[str, Any], ctx: StageContext) -> Any:
        if ctx.subtask is None:
            return FanOut([SubTask(f"part/{n}", n) for n in range(5)])
        if ctx.subtask.data == 3:
            raise ValueError("torn")
        return ctx.subtask.data

    own = treadle.MemoryStateStore()
    async with treadle.Engine(flow, own) as engine:
        await engine.run([{"id": "big"}])
    async with web_client(app_as(own, Role.VIEWER, None)) as client:
        path = f"{API}/items/big/stages/split"
        page = (await client.get(f"{path}/subtasks", params={"limit": 3})).json()
        assert ([child["name"] for child in page["subtasks"]], page["after"]) == (["part/0", "part/1", "part/2"], 2)
        rest = (await client.get(f"{path}/subtasks", params={"after": 2, "state": "failed"})).json()
        assert [(child["name"], child["error"]) for child in rest["subtasks"]] == [("part/3", "ValueError: torn")]
        (attempt,) = (await client.get(f"{path}/subtasks/3/attempts")).json()
        assert (attempt["subtask"], attempt["outcome"]) == ("part/3", "failed")
        assert (await client.get(path)).json()["subtasks"] == {"completed": 4, "failed": 1}
        assert (await client.get(f"{path}/artefact")).json() == {
            "part/0": 0,
            "part/1": 1,
            "part/2": 2,
            "part/3": None,
            "part/4": 4,
        }


async def test_figures(client: httpx.AsyncClient) -> None:
    stats = (await client.get(f"{API}/stats")).json()
    assert (stats["workflow"], stats["items"], stats["workers"]) == ("letters", 6, 0)
    assert stats["phases"] == {"completed": 2, "failed": 1, "awaiting_review": 3}
    assert sum(stats["pace"]["ended"]) == 15
    stages = (await client.get(f"{API}/stages")).json()
    assert stages == stats["stages"]
    assert [stage["name"] for stage in stages] == ["read", "summary", "translate", "send"]
    assert stages[0]["counts"] == {"completed": 5, "failed": 1}
    report = (await client.get(f"{API}/stages/summary")).json()
    assert sum(bar["n"] for bar in report["durations"]) == 2
    assert [sum(column) for column in zip(*report["verdicts"]["told"], strict=True)] == [2, 0, 3]


async def test_the_journal_by_cursor_in_both_directions(client: httpx.AsyncClient) -> None:
    seen, after = [], 0
    while after is not None:
        page = (await client.get(f"{API}/events", params={"after": after, "limit": 10})).json()
        seen += [event["cursor"] for event in page["events"]]
        after = page["reached"]
    newest = (await client.get(f"{API}/events", params={"newest_first": True, "limit": 500})).json()
    assert seen == sorted(seen) == [event["cursor"] for event in newest["events"]][::-1]
    (failed,) = (await client.get(f"{API}/events", params={"kind": "stage_failed", "stage": "read"})).json()["events"]
    assert (failed["item_id"], failed["data"]["error"]) == ("fail-1", "ValueError: cannot read fail-1: unreadable ink")
    only = (await client.get(f"{API}/events", params={"item": ODD})).json()["events"]
    assert {event["item_id"] for event in only} == {ODD}


async def _events(client: httpx.AsyncClient, kind: str) -> list[tuple[str, dict[str, Any]]]:
    found = (await client.get(f"{API}/events", params={"kind": kind})).json()["events"]
    return [(event["item_id"], event["data"]) for event in found]


async def test_what_operators_do_is_done_and_told_with_their_name(client: httpx.AsyncClient) -> None:
    why = {"reason": "new ink"}
    assert (await client.post(f"{API}/items/fail-1/retry", json=why)).status_code == 204
    assert (await client.get(f"{API}/items/fail-1")).json()["phase"] == "pending"
    again = await client.post(f"{API}/items/fail-1/retry", json=why)
    assert (again.status_code, "no stage of item 'fail-1' has failed" in again.json()["detail"]) == (409, True)
    assert await _events(client, "stage_retried") == [("fail-1", {"operator": "ann", "reason": "new ink"})]

    alone = await client.post(f"{API}/items/done-1/rerun", json={**why, "stage": "read"})
    assert (alone.status_code, "have built on" in alone.json()["detail"]) == (409, True)
    assert (await client.post(f"{API}/items/done-1/rerun", json={**why, "stage": "read", "cascade": True})).status_code == 204
    assert ("done-1", {"operator": "ann", "reason": "new ink"}) in await _events(client, "stage_rerun")

    odd = f"{API}/items/{quote(ODD, safe='')}"
    assert (await client.post(f"{odd}/cancel", json={"reason": "enough"})).status_code == 204
    assert await _events(client, "item_cancelled") == [(ODD, {"operator": "ann", "reason": "enough"})]


async def test_an_act_needs_a_reason_and_takes_no_actor(client: httpx.AsyncClient) -> None:
    for body in ({}, {"reason": ""}, {"reason": "x", "operator": "bob"}, {"reason": "x" * 2001}):
        assert (await client.post(f"{API}/items/fail-1/retry", json=body)).status_code == 422, body


async def test_only_operators_act(store: StateStore) -> None:
    async with web_client(app_as(store, Role.REVIEWER)) as client:
        for act in ("items/fail-1/retry", "items/fail-1/cancel", "failures/retry"):
            assert (await client.post(f"{API}/{act}", json={"reason": "x", "stage": "read"})).status_code == 403
        page = (await client.get("/items/fail-1")).text
        assert "data-act" not in page
        assert "data-act" not in (await client.get("/failures?stage=read")).text


async def test_failures_of_one_message_are_tried_again(store: StateStore) -> None:
    async with treadle.Engine(letters, store) as engine:
        await engine.run([Letter("fail-2", "unreadable ink"), Letter("fail-3", "unreadable hand")])
    async with web_client(app_as(store, Role.OPERATOR)) as client:
        found = (await client.get(f"{API}/failures")).json()
        assert [(group["message"], group["count"]) for group in found["groups"]] == [
            ("ValueError: cannot read …: unreadable ink", 2), ("ValueError: cannot read …: unreadable hand", 1),
        ]  # fmt: skip
        body = {"stage": "read", "message": found["groups"][0]["message"], "reason": "new ink"}
        preview = (await client.post(f"{API}/failures/retry", json={**body, "dry_run": True})).json()
        assert preview == {"done": 2, "items": ["fail-1", "fail-2"], "refused": [], "more": False}
        assert (await client.get(f"{API}/failures")).json()["total"] == 3
        assert (await client.post(f"{API}/failures/retry", json=body)).json()["done"] == 2
        assert [item["id"] for item in (await client.get(f"{API}/items?state=failed")).json()["items"]] == ["fail-3"]
        assert (await client.post(f"{API}/failures/retry", json={"stage": "read", "reason": "all"})).json()["done"] == 1
        assert (await client.post(f"{API}/failures/retry", json={"stage": "nope", "reason": "x"})).status_code == 404
