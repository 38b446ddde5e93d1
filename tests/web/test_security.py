"""The security matrix: every route of the router's own table, asked by everybody who should not get in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.web.conftest import app_as, web_client
from tests.web.routes import Way, ways
from treadle import MemoryStateStore, StateStore
from treadle.errors import TreadleError
from treadle.store import Filter, ReviewFilter
from treadle.web import Principal, Role, create_app

TABLE = ways(app_as(MemoryStateStore(), None))
CHANGES = [way for way in TABLE if way.changes]
OPEN = {"GET /sign-in", "POST /sign-in", "GET /static/{path}", "GET /static/vendor/{path}"}
FOR_ALL_ROLES = {"POST /sign-in", "POST /sign-out"}
BODY = {"token": "x", "reason": "because", "decision": "approve"}

each_way = pytest.mark.parametrize("way", TABLE, ids=str)
each_change = pytest.mark.parametrize("way", CHANGES, ids=str)


@pytest_asyncio.fixture
async def stranger(store: StateStore) -> AsyncIterator[httpx.AsyncClient]:
    async with web_client(app_as(store, None), meant=False) as opened:
        yield opened


async def ask(client: httpx.AsyncClient, way: Way, **headers: str) -> httpx.Response:
    """The answer's first lines; a stream of events would never end."""
    body = {"json": BODY} if way.changes else {}
    async with client.stream(way.method, way.url, headers=headers, timeout=5, **body) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer
        await answer.aread()
        return answer


def test_table_is_whole() -> None:
    assert {str(way) for way in TABLE} >= OPEN | FOR_ALL_ROLES | {"GET /session", "GET /parts/header", "GET /api/v1/openapi.json"}


@each_change
def test_every_change_takes_a_role(way: Way) -> None:
    if str(way) not in FOR_ALL_ROLES:
        assert way.role in {Role.REVIEWER, Role.OPERATOR}, f"{way} must depend on Reviewer or Operator"


@each_way
async def test_stranger_gets_nothing(stranger: httpx.AsyncClient, way: Way) -> None:
    answer = await ask(stranger, way, Origin="http://127.0.0.1")
    if str(way) in OPEN:
        assert answer.status_code not in {401, 403, 421}
    else:
        assert answer.status_code == 401
        assert "ask-1" not in answer.text


@each_way
async def test_stranger_with_a_browser_is_sent_to_sign_in(stranger: httpx.AsyncClient, way: Way) -> None:
    if str(way) in OPEN or way.changes or way.path.startswith("/api/"):
        return
    answer = await ask(stranger, way, Accept="text/html")
    assert answer.status_code in ({303} if way.method == "GET" else {401})
    if answer.status_code == 303:
        assert answer.headers["location"].startswith("/sign-in?next=%2F")


@each_way
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:80@evil.example", "", "localhost.", "0.0.0.0"]
)
async def test_wrong_host(client: httpx.AsyncClient, way: Way, host: str) -> None:
    assert (await ask(client, way, Host=host)).status_code == 421


@each_change
async def test_foreign_page(client: httpx.AsyncClient, way: Way) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:9", "https://localhost"):
        assert (await ask(client, way, Origin=origin)).status_code == 403, origin
    for site in ("cross-site", "same-site", "none", "anything"):
        assert (await ask(client, way, **{"Sec-Fetch-Site": site})).status_code == 403, site


@each_change
async def test_missing_or_wrong_token(client: httpx.AsyncClient, way: Way) -> None:
    if str(way) == "POST /sign-in":
        return  # what it takes is a token
    for token in ("", "0" * 64):
        answer = await ask(client, way, **{"X-Treadle-Token": token})
        assert answer.status_code == 403
        assert answer.headers["x-treadle-stale"] == "1"


@each_change
async def test_no_origin_at_all(store: StateStore, way: Way) -> None:
    if str(way) == "POST /sign-in":
        return
    async with web_client(app_as(store, Role.OPERATOR)) as client:
        del client.headers["Origin"]
        assert (await ask(client, way)).status_code == 403


@each_way
@pytest.mark.parametrize("role", Role)
async def test_role(store: StateStore, way: Way, role: Role) -> None:
    async with web_client(app_as(store, role)) as client:
        answer = await ask(client, way)
    is_enough = way.role is None or role.covers(way.role)
    assert (answer.status_code == 403) is not is_enough
    assert answer.status_code not in {401, 421, 500}


@each_way
async def test_headers(client: httpx.AsyncClient, way: Way) -> None:
    headers = (await ask(client, way)).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert "*" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] in {"no-store", "no-cache"}
    assert "access-control-allow-origin" not in headers


@each_way
async def test_get_changes_nothing(client: httpx.AsyncClient, store: StateStore, way: Way) -> None:
    if way.changes:
        return
    before = await everything(store)
    await ask(client, way)
    assert await everything(store) == before


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

    monkeypatch.setattr(app.state.figures, "get", broken)
    async with web_client(app) as client:
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
    await app_as(MemoryStateStore(), Role.OPERATOR)(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


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
