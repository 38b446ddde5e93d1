"""The security matrix: every route of the router's own table, asked by everybody who should not get in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import WebSocket

from tests.web.conftest import app_as, web_client
from tests.web.routes import Way, ways
from treadle import MemoryStateStore, StateStore
from treadle.errors import TreadleError
from treadle.store import Filter, ReviewFilter
from treadle.web import Principal, Role, create_app
from treadle.web.live import Live

TABLE = ways(app_as(MemoryStateStore(), None))
CHANGES = [way for way in TABLE if way.changes]
OPEN = {"GET /sign-in", "POST /sign-in", "GET /static/{path}", "GET /static/vendor/{path}"}
FOR_ALL_ROLES = {"POST /sign-in", "POST /sign-out"}
BODY = {"token": "x", "reason": "because", "decision": "approve"}


@pytest.fixture(autouse=True)
def streams_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gets as far as listening is told nothing, so that the answer is whole."""
    monkeypatch.setattr(Live, "is_full", True)


@pytest_asyncio.fixture
async def stranger(store: StateStore) -> AsyncIterator[httpx.AsyncClient]:
    async with web_client(app_as(store, None), meant=False) as opened:
        yield opened


async def ask(client: httpx.AsyncClient, way: Way, **headers: str) -> httpx.Response:
    return await client.request(way.method, way.url, headers=headers, **({"json": BODY} if way.changes else {}))


async def answers_to(client: httpx.AsyncClient, table: list[Way], **headers: str) -> dict[str, int]:
    """The status of each."""
    return {str(way): (await ask(client, way, **headers)).status_code for way in table}


def test_table_is_whole() -> None:
    assert {str(way) for way in TABLE} >= OPEN | FOR_ALL_ROLES | {"GET /session", "GET /live", "GET /api/v1/openapi.json"}


def test_every_change_takes_a_role() -> None:
    free = {str(way) for way in CHANGES if way.role not in {Role.REVIEWER, Role.OPERATOR}}
    assert free == FOR_ALL_ROLES, "what else must depend on Reviewer or Operator"


async def test_strangers_get_nothing(stranger: httpx.AsyncClient) -> None:
    found = await answers_to(stranger, TABLE, Origin="http://127.0.0.1")
    assert {way for way, status in found.items() if status != 401} == OPEN
    for way in TABLE:
        assert "ask-1" not in (await ask(stranger, way)).text


async def test_strangers_with_a_browser_are_sent_to_sign_in(stranger: httpx.AsyncClient) -> None:
    for way in TABLE:
        answer = await ask(stranger, way, Accept="text/html")
        if way.method == "GET" and not way.path.startswith("/api/") and str(way) not in OPEN:
            assert answer.status_code == 303, way
            assert answer.headers["location"].startswith("/sign-in?next=%2F"), way
        else:
            assert answer.status_code != 303, way


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:80@evil.example", "", "localhost.", "0.0.0.0"]
)
async def test_wrong_host(client: httpx.AsyncClient, host: str) -> None:
    assert set((await answers_to(client, TABLE, Host=host)).values()) == {421}


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:9", "https://localhost"]
)
async def test_page_of_another_origin(client: httpx.AsyncClient, origin: str) -> None:
    assert set((await answers_to(client, CHANGES, Origin=origin)).values()) == {403}


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "anything"])
async def test_page_of_another_site(client: httpx.AsyncClient, site: str) -> None:
    assert set((await answers_to(client, CHANGES, **{"Sec-Fetch-Site": site})).values()) == {403}


@pytest.mark.parametrize("token", ["", "0" * 64])
async def test_missing_or_wrong_token(client: httpx.AsyncClient, token: str) -> None:
    for way in CHANGES:
        if str(way) != "POST /sign-in":  # what that takes is a token of another kind
            answer = await ask(client, way, **{"X-Treadle-Token": token})
            assert (answer.status_code, answer.headers.get("x-treadle-stale")) == (403, "1"), way


async def test_no_word_of_where_it_comes_from(client: httpx.AsyncClient) -> None:
    del client.headers["Origin"]
    found = await answers_to(client, CHANGES)
    assert {way for way, status in found.items() if status != 403} == {"POST /sign-in"}


@pytest.mark.parametrize("role", Role)
async def test_role(store: StateStore, role: Role) -> None:
    async with web_client(app_as(store, role)) as client:
        found = await answers_to(client, TABLE)
    for way in TABLE:
        is_enough = way.role is None or role.covers(way.role)
        assert (found[str(way)] == 403) is not is_enough, way
        assert found[str(way)] not in {401, 421, 500}, way


async def test_headers(client: httpx.AsyncClient) -> None:
    for way in TABLE:
        headers = (await ask(client, way)).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["script-src"]) == ("'none'", "'self'"), way
        assert "unsafe" not in headers["content-security-policy"]
        assert "*" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] in {"no-store", "no-cache"}
        assert "access-control-allow-origin" not in headers


async def test_looking_changes_nothing(client: httpx.AsyncClient, store: StateStore) -> None:
    before = await everything(store)
    for way in TABLE:
        if not way.changes:
            await ask(client, way)
            assert await everything(store) == before, way


async def everything(store: StateStore) -> object:
    return (
        await store.events(0, 1000),
        [(item.id, item.phase, item.stages) for item in await store.page(Filter(), None, 100)],
        await store.reviews(ReviewFilter(is_open=None), None, 100),
        await store.workers(),
        await store.steer(),
    )


async def test_unknown_paths_are_refused_before_they_are_looked_for(stranger: httpx.AsyncClient) -> None:
    for path in ("/nowhere", "/static/../users.json", "/api/v1/nothing", "//", "/sign-in/x", "/staticx"):
        assert (await stranger.get(path)).status_code == 401, path


async def test_errors_nobody_foresaw_are_inside_the_guard(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_as(store, Role.OPERATOR)

    async def broken() -> None:
        raise RuntimeError("secret=hunter2")

    async with web_client(app) as client:
        monkeypatch.setattr(app.state.figures, "get", broken)
        answer = await client.get("/parts/header")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert "content-security-policy" in answer.headers


async def test_websockets_are_refused() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/live", "headers": [(b"host", b"127.0.0.1")], "query_string": b"", "subprotocols": []}
    app = app_as(MemoryStateStore(), Role.OPERATOR)

    @app.websocket("/live")
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()

    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_started_by_a_server_of_its_own() -> None:
    """Servers tell an app when they start and end; that is for the app and no request."""
    told = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return told.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app_as(MemoryStateStore(), None)({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_nobody_in_charge_of_the_door() -> None:
    with pytest.raises(TreadleError, match="authenticate"):
        create_app(MemoryStateStore())


async def test_two_hosts_in_one_request(client: httpx.AsyncClient) -> None:
    request = client.build_request("GET", "/session")
    request.headers = httpx.Headers([("Host", "127.0.0.1"), ("Host", "evil.example")])
    assert (await client.send(request)).status_code == 421


@pytest.mark.parametrize("name", ["", " ", "a\nb", "ann\u202e", "x" * 600])
def test_impossible_names(name: str) -> None:
    with pytest.raises(TreadleError, match="name"):
        Principal(name, Role.VIEWER)
