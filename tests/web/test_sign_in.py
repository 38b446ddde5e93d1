"""Who gets in: by a link that works once, by a token, by a company login; and who does not."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.web.conftest import web_client
from treadle import StateStore
from treadle.web import AccessError, Role, create_app
from treadle.web.door import OwnDoor, TrustedProxy
from treadle.web.private import private_folder, write_private
from treadle.web.sessions import IDLE, LONGEST, Sessions
from treadle.web.throttle import Throttle
from treadle.web.users import Users

PAGE = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin", "Accept": "application/json"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "letters.db.web"
    made.mkdir(0o700)
    return made


@pytest.fixture
def door(folder: Path) -> OwnDoor:
    return OwnDoor(folder, owner="me")


@pytest_asyncio.fixture
async def visitor(store: StateStore, door: OwnDoor) -> AsyncIterator[httpx.AsyncClient]:
    """A browser on its own machine, not signed in yet."""
    async with web_client(create_app(store, door=door), meant=False, headers=PAGE) as client:
        yield client


async def sign_in(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/sign-in", data={"token": token, "next": "/items?state=failed"})


async def secret_of(door: OwnDoor) -> str:
    link = await asyncio.to_thread(door.write_link, "http://127.0.0.1")
    assert link is not None
    return link.partition("#")[2]


async def user(door: OwnDoor, role: Role) -> str:
    """The token of a user ann, added in another process."""
    return await asyncio.to_thread(door.users.add, "ann", role)


async def test_link_works_once(visitor: httpx.AsyncClient, door: OwnDoor, folder: Path) -> None:
    secret = await secret_of(door)
    file = folder / "sign-in"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret in file.read_text()
    answer = await sign_in(visitor, secret)
    assert answer.json() == {"name": "me", "role": "operator", "next": "/items?state=failed"}
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert secret not in cookie
    assert not file.exists()
    assert (await visitor.get("/session")).json()["name"] == "me"
    visitor.cookies.clear()
    assert (await sign_in(visitor, secret)).status_code == 401
    assert (await visitor.get("/session")).status_code == 401


async def test_link_in_two_tabs_at_once(visitor: httpx.AsyncClient, door: OwnDoor) -> None:
    secret = await secret_of(door)
    answers = await asyncio.gather(*(sign_in(visitor, secret) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 7]


async def test_looking_at_the_sign_in_page_spends_nothing(visitor: httpx.AsyncClient, door: OwnDoor) -> None:
    secret = await secret_of(door)
    for path in ("/sign-in", f"/sign-in?token={secret}", f"/?token={secret}"):
        await visitor.get(path)
    assert (await sign_in(visitor, secret)).status_code == 200


async def test_session_outlives_a_restart(store: StateStore, visitor: httpx.AsyncClient, door: OwnDoor, folder: Path) -> None:
    await sign_in(visitor, await secret_of(door))
    token = (await visitor.get("/session")).json()["token"]
    again = await asyncio.to_thread(OwnDoor, folder, owner="me")
    async with web_client(create_app(store, door=again), meant=False, headers=PAGE) as later:
        later.cookies = visitor.cookies
        assert (await later.get("/session")).json()["token"] == token
    # Where others can reach the server, the owner's link signs in nobody, and neither does what it once began.
    reachable = await asyncio.to_thread(OwnDoor, folder)
    async with web_client(create_app(store, door=reachable), meant=False, headers=PAGE) as public:
        public.cookies = visitor.cookies
        assert (await public.get("/session")).status_code == 401


async def test_sign_out_ends_the_session_everywhere(visitor: httpx.AsyncClient, door: OwnDoor, folder: Path) -> None:
    await sign_in(visitor, await secret_of(door))
    cookie = visitor.cookies[door.cookie]
    token = (await visitor.get("/session")).json()["token"]
    assert (await visitor.post("/sign-out", headers={"X-Treadle-Token": token})).status_code == 204
    visitor.cookies.set(door.cookie, cookie, domain="127.0.0.1")
    assert (await visitor.get("/session")).status_code == 401
    assert not [*(folder / "sessions").iterdir()]


async def test_user_signs_in_with_a_token(visitor: httpx.AsyncClient, door: OwnDoor, folder: Path) -> None:
    token = await user(door, Role.REVIEWER)
    kept = folder / "users.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert token not in kept.read_text()
    assert (await sign_in(visitor, f" {token}\n")).json()["role"] == "reviewer"
    session = (await visitor.get("/session")).json()
    assert session["name"] == "ann"
    visitor.cookies.clear()
    program = {"Authorization": f"Bearer {token}"}
    assert (await visitor.get("/session", headers=program)).json() == {"name": "ann", "role": "reviewer", "token": ""}


async def test_removed_user_is_out_at_once(visitor: httpx.AsyncClient, door: OwnDoor, folder: Path) -> None:
    token = await user(door, Role.REVIEWER)
    await sign_in(visitor, token)
    await asyncio.to_thread(Users(folder).remove, "ann")
    assert (await visitor.get("/session")).status_code == 401
    assert (await visitor.get("/session", headers={"Authorization": f"Bearer {token}"})).status_code == 401
    await user(door, Role.OPERATOR)
    assert (await visitor.get("/session")).status_code == 401, "the session was begun with the old token"


def test_sessions_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(folder)
    cookie = sessions.begin("ann")
    assert sessions.find(cookie) is not None
    assert sessions.find(cookie[:-1]) is None
    assert sessions.find("../users.json") is None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + IDLE - 5)
    assert sessions.find(cookie) is not None
    monkeypatch.setattr(time, "time", lambda: now + IDLE + 5)
    assert sessions.find(cookie) is None
    [file] = (folder / "sessions").iterdir()
    os.utime(file, (now + LONGEST, now + LONGEST))
    monkeypatch.setattr(time, "time", lambda: now + LONGEST + 5)
    assert sessions.find(cookie) is None
    monkeypatch.setattr(time, "time", lambda: now + LONGEST + IDLE + 5)
    Sessions(folder)
    assert not [*(folder / "sessions").iterdir()]


async def test_thousand_guesses(visitor: httpx.AsyncClient, door: OwnDoor) -> None:
    token = await user(door, Role.OPERATOR)
    await sign_in(visitor, token)
    began = time.monotonic()
    answers = [await sign_in(visitor, f"treadle_{n:043}") for n in range(500)]
    answers += [await visitor.get("/session", headers={"Authorization": f"Bearer {n}", "Cookie": ""}) for n in range(500)]
    assert {answer.status_code for answer in answers} == {401, 429}
    assert sum(answer.status_code == 401 for answer in answers) <= 12
    assert int(answers[-1].headers["retry-after"]) > 0
    assert time.monotonic() - began < 20
    # Whoever is in stays in.
    assert (await visitor.get("/session")).json()["name"] == "ann"


def test_throttle_forgives_with_time_and_forgets_whom_it_cannot_hold() -> None:
    now = [0.0]
    throttle = Throttle(burst=3, pause=10, clock=lambda: now[0])
    for _ in range(3):
        assert throttle.wait("a") == 0
        throttle.failed("a")
    assert throttle.wait("a") == 10
    assert throttle.wait("b") == 0
    now[0] = 10
    assert throttle.wait("a") == 0
    throttle.failed("a")
    assert throttle.wait("a") == 10
    for peer in range(20_000):
        throttle.failed(str(peer))
    assert len(throttle._paid_until) == 10_000


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb", ""]
)
async def test_signing_in_leads_nowhere_else(visitor: httpx.AsyncClient, door: OwnDoor, target: str) -> None:
    token = await user(door, Role.VIEWER)
    answer = await visitor.post("/sign-in", data={"token": token, "next": target}, headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"


async def test_wrong_token_in_a_form(visitor: httpx.AsyncClient) -> None:
    answer = await visitor.post("/sign-in", data={"token": "<script>"}, headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert "opens nothing" in answer.text
    assert "<script>" not in answer.text.replace("<script type", "")


async def test_strangers_see_nothing_of_the_store(store: StateStore, door: OwnDoor) -> None:
    app = create_app(store, door=door)
    await app.state.figures.get()
    async with web_client(app, meant=False, headers=PAGE) as visitor:
        text = (await visitor.get("/sign-in")).text
    assert "letters" not in text
    assert "count" not in text
    assert "worker" not in text
    assert "/inbox" not in text


@pytest.mark.parametrize(
    ("peer", "name", "who"),
    [
        ("10.0.0.1", "ann", ("ann", "reviewer")),
        ("10.0.0.1", "bea", ("bea", "viewer")),
        ("10.0.0.2", "ann", None),
        ("10.0.0.1", "", None),
        ("10.0.0.1", "a\u202eb", None),
        ("unix", "ann", None),
    ],
)
async def test_company_login(store: StateStore, folder: Path, peer: str, name: str, who: tuple[str, str] | None) -> None:
    proxy = TrustedProxy("X-Forwarded-User", ["10.0.0.1", "fd00::/8"])
    door = await asyncio.to_thread(OwnDoor, folder, proxy=proxy)
    await user(door, Role.REVIEWER)
    transport = httpx.ASGITransport(create_app(store, door=door), client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=PAGE) as client:
        answer = await client.get("/session", headers={"X-Forwarded-User": name.encode()})
        assert answer.status_code == (200 if who else 401)
        if who is not None:
            session = answer.json()
            assert (session["name"], session["role"]) == who
            assert session["token"], "a browser sends the login by itself, so a change takes a token besides"
        twice = [(b"X-Forwarded-User", b"ann"), (b"X-Forwarded-User", b"root"), (b"Accept", b"application/json")]
        assert (await client.get("/session", headers=twice)).status_code == 401


@pytest.mark.parametrize("peer", ["", "proxy", "10.0.0.0/33", "10.0.0.1/8"])
def test_proxy_is_an_address(peer: str) -> None:
    with pytest.raises(AccessError, match="--trusted-proxy"):
        TrustedProxy("X-Forwarded-User", [peer])


def test_users_file(folder: Path) -> None:
    users = Users(folder)
    assert users.all() == {}
    token = users.add("ann", Role.VIEWER)
    with pytest.raises(AccessError, match="already"):
        users.add("ann", Role.OPERATOR)
    with pytest.raises(AccessError, match="there are: ann"):
        users.remove("bob")
    with pytest.raises(AccessError, match="name"):
        users.add("a\nb", Role.VIEWER)
    found = Users(folder).of_token(token)
    assert found is not None
    assert found.name == "ann"
    assert Users(folder).of_token(token[:-1]) is None
    (folder / "users.json").write_text(json.dumps([{"name": "x"}]))
    with pytest.raises(AccessError, match="cannot be read"):
        users.all()


def test_where_users_and_sessions_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    beside = private_folder(f"sqlite:///{tmp_path}/letters.db")
    assert beside == private_folder(str(tmp_path / "letters.db")) == tmp_path / "letters.db.web"
    elsewhere = private_folder("postgresql://ann:secret@db/papers")
    assert elsewhere.parent == tmp_path / "state" / "treadle"
    assert "secret" not in str(elsewhere)
    folders = [beside, elsewhere, private_folder("memory:"), private_folder("memory:")]
    assert len(set(folders)) == 4
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    with pytest.raises(AccessError, match="cannot be made"):
        private_folder(str(tmp_path / "no" / "letters.db"))


def test_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_private(path, "old")

    def full(_: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_private(path, "new")
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]
