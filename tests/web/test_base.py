"""What every page has: header, sign-in, error pages, two themes, any width."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from playwright.async_api import Browser, Page, expect

from tests.web.conftest import BROWSER, Server, app_as, assert_accessible, assert_fits, web_client
from tests.web.pipeline import letters
from treadle import ReviewConflict, StateStore, StoreUnavailable
from treadle.errors import InvalidArtefact, ItemNotFound, LeaseLost, SchemaTooNew, StoreCorrupt, TreadleError
from treadle.web import Principal, Role, create_app
from treadle.web.problems import status_of
from treadle.web.templating import visible

HTML = {"Accept": "text/html"}
POISON = "<img src=x onerror=alert(1)>"


async def test_header_shows_what_waits_and_what_failed(client: httpx.AsyncClient) -> None:
    part = (await client.get("/parts/header?active=inbox")).text
    assert "letters" in part
    assert '<span class="count s-awaiting_review">3</span>' in part
    assert '<span class="count s-failed">1</span>' in part
    assert part.count('aria-current="page"') == 1


async def test_header_takes_nothing_for_markup(store: StateStore) -> None:
    app = create_app(store, letters, authenticate=lambda request: Principal(POISON, Role.VIEWER))
    async with web_client(app) as client:
        for path in ("/parts/header?active=%22%3E%3Cscript%3E", "/nowhere%3Cscript%3E", "/sign-in?next=/%22%3E%3Cscript%3E"):
            page = (await client.get(path, headers=HTML)).text
            assert POISON not in page
            assert "<script>" not in page


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain\n\ttext ü 漢字 👍", "plain\n\ttext ü 漢字 👍"),
        ("a\x1b[31mb\x00", "a␛[31mb␀"),
        ("safe\u202egpj.exe", "safe⟨202E⟩gpj.exe"),
        ("zero\u200bwidth", "zero⟨200B⟩width"),
        ("\x85\xad\ufeff", "⟨0085⟩⟨00AD⟩⟨FEFF⟩"),
        ("\ud800", "⟨D800⟩"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(text: str, seen: str) -> None:
    assert visible(text) == seen


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ItemNotFound("x"), 404),
        (ReviewConflict("x"), 409),
        (LeaseLost("x"), 409),
        (InvalidArtefact("x", ["a: b"]), 422),
        (StoreUnavailable("x"), 503),
        (StoreCorrupt("x"), 500),
        (SchemaTooNew("x"), 503),
        (TreadleError("x"), 400),
    ],
)
async def test_errors_are_answers(store: StateStore, error: TreadleError, status: int) -> None:
    assert status_of(error) == status
    app = app_as(store, Role.VIEWER)
    _raises(app, error)
    async with web_client(app) as client:
        program = await client.get("/api/v1/broken")
        assert program.status_code == status
        assert program.headers["content-type"] == "application/problem+json"
        assert program.json()["error"] == type(error).__name__
        page = await client.get("/broken", headers=HTML)
        assert page.status_code == status
        assert '<nav aria-label="Pages">' in page.text
        part = await client.get("/broken", headers={**HTML, "HX-Request": "true"})
        assert part.text.lstrip().startswith('<p class="problem-line"')


def _raises(app: FastAPI, error: Exception) -> None:
    async def broken() -> None:
        raise error

    app.add_api_route("/broken", broken)
    app.add_api_route("/api/v1/broken", broken)


async def test_openapi_is_for_who_is_signed_in(client: httpx.AsyncClient, store: StateStore) -> None:
    schema = (await client.get("/api/v1/openapi.json")).json()
    assert "/api/v1/reviews" in schema["paths"]
    assert not [path for path in schema["paths"] if not path.startswith("/api/v1/")]
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    assert all(operation.get("summary") and operation.get("description") for operation in operations)
    async with web_client(app_as(store, None), meant=False) as stranger:
        assert (await stranger.get("/api/v1/openapi.json")).status_code == 401


async def test_mounted(store: StateStore) -> None:
    """In an app of somebody's own, below a path, everything that names a path names the right one."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    ours = create_app(store, letters, authenticate=_ann, hosts=["papers.example.org"])
    host = Starlette(routes=[Mount("/app/papers", app=ours)])
    transport = httpx.ASGITransport(host)
    async with httpx.AsyncClient(transport=transport, base_url="https://papers.example.org", headers=HTML) as client:
        page = (await client.get("/app/papers/nowhere")).text
        assert 'data-root="/app/papers"' in page
        assert 'href="/app/papers/static/treadle.css"' in page
        assert 'hx-get="/app/papers/parts/header' in page
        assert (await client.get("/app/papers/static/treadle.css")).status_code == 200
        assert (await client.get("/app/papers/sign-in")).status_code == 404
        session = (await client.get("/app/papers/session")).json()
        assert session["name"] == "ann"
        assert (await client.get("/app/papers/api/v1/reviews")).json()["reviews"]
        assert (await client.get("/app/papers/api/v1/reviews", headers={"Host": "127.0.0.1"})).status_code == 421


async def _ann(request: Any) -> Principal:
    await asyncio.sleep(0)
    return Principal("ann", Role.REVIEWER)


# In a browser.


@pytest_asyncio.fixture(loop_scope="session")
async def empty_page(browser: Browser, server: Server) -> AsyncIterator[Page]:
    """A page of a browser that has not signed in."""
    async with await browser.new_context(base_url=server.url) as context:
        yield await context.new_page()


@BROWSER
async def test_link_signs_in_once(empty_page: Page, server: Server, browser: Browser) -> None:
    await empty_page.goto(f"{server.url}/sign-in?next=/session#{server.link.partition('#')[2]}")
    await empty_page.wait_for_url(f"{server.url}/session")
    assert '"role":"operator"' in await empty_page.inner_text("body")
    assert server.link.partition("#")[2] not in await empty_page.evaluate("JSON.stringify(history.state) + document.referrer")
    async with await browser.new_context() as other:
        page = await other.new_page()
        await page.goto(server.link)
        await expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("works once")
        assert "#" not in page.url, "the secret does not stay in the address"
        await page.goto(f"{server.url}/session")
        await page.wait_for_url("**/sign-in?next=%2Fsession")


@BROWSER
async def test_sign_out(browser_page: Page, console_errors: list[str]) -> None:
    await browser_page.goto("/sign-in")
    await browser_page.get_by_role("button", name="Sign out").click()
    await expect(browser_page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()
    assert await browser_page.context.cookies() == []
    console_errors.clear()


@BROWSER
async def test_token_signs_in_without_script(browser: Browser, server: Server) -> None:
    from treadle.web.users import Users

    users = Users(server.store.with_name("letters.db.web"))
    token = await asyncio.to_thread(users.add, "bea", Role.VIEWER)
    async with await browser.new_context(java_script_enabled=False) as context:
        page = await context.new_page()
        await page.goto(f"{server.url}/session")
        await page.get_by_label("Token").fill(token)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{server.url}/session")
        assert '"name":"bea"' in await page.inner_text("body")


@BROWSER
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
async def test_looks(browser_page: Page, console_errors: list[str], scheme: Any, width: int) -> None:
    await browser_page.set_viewport_size({"width": width, "height": 800})
    await browser_page.emulate_media(color_scheme=scheme)
    for path in ("/sign-in", "/nowhere"):
        await browser_page.goto(path)
        await assert_accessible(browser_page)
        await assert_fits(browser_page)
    console_errors.clear()


@BROWSER
async def test_keys_lead_to_pages(browser_page: Page, console_errors: list[str]) -> None:
    await browser_page.goto("/sign-in")
    await browser_page.get_by_label("Token").press("g")
    await browser_page.get_by_label("Token").press("e")
    await browser_page.keyboard.press("Escape")
    for key, path in (("e", "/events"), ("i", "/inbox"), ("t", "/items"), ("f", "/failures"), ("o", "/")):
        await browser_page.keyboard.press("g")
        await browser_page.keyboard.press(key)
        await browser_page.wait_for_url(f"**{path}")
    console_errors.clear()
