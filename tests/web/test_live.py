"""Open pages hear what happens: within a second, once, and without growing."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.web.conftest import BROWSER, Server, app_as, eventually
from treadle import Approve, Inbox, MemoryStateStore, StateStore, open_store
from treadle.errors import StoreUnavailable
from treadle.event import EventKind, WorkflowEvent
from treadle.web import Role
from treadle.web.live import Listener, Live, messages
from treadle.web.users import Users


async def approve(store: StateStore, item: str = "ask-1") -> None:
    await Inbox(store).decide(item, "summary", Approve(), reviewer="bea")


def event_of(text: str) -> tuple[str, dict[str, Any], int]:
    fields = dict(line.split(": ", 1) for line in text.strip().splitlines())
    return fields["event"], json.loads(fields["data"]), int(fields["id"])


async def next_of(lines: AsyncIterator[str]) -> tuple[str, dict[str, Any], int]:
    async with asyncio.timeout(5):
        return event_of(await anext(lines))


async def test_listener_is_told_what_changed_elsewhere(store: StateStore, store_path: Path) -> None:
    live = Live(store)
    lines = messages(live, await live.listen(None, 0), 60)
    kind, _, cursor = await next_of(lines)
    assert kind == "here"
    async with open_store(store_path) as elsewhere:
        began = time.monotonic()
        await approve(elsewhere)
        kind, told, later = await next_of(lines)
    assert time.monotonic() - began < 1
    assert (kind, told["items"], told["stages"], told["more"]) == ("changed", ["ask-1"], ["summary"], False)
    assert EventKind.REVIEW_DECIDED in told["kinds"]
    assert later > cursor
    await lines.aclose()


async def test_what_was_kept_is_let_go_before_anybody_is_told(store: StateStore) -> None:
    order: list[str] = []
    live = Live(store, lambda: order.append("let go"))
    lines = messages(live, await live.listen(None, 0), 60)
    await next_of(lines)
    assert order == []
    await approve(store)
    await next_of(lines)
    assert order == ["let go"]
    await lines.aclose()


async def test_who_comes_back_hears_of_what_was_missed(store: StateStore) -> None:
    live = Live(store)
    first = messages(live, await live.listen(None, 0), 60)
    _, _, cursor = await next_of(first)
    await first.aclose()
    await approve(store)
    again = messages(live, await live.listen(cursor, 0), 60)
    kind, told, newest = await next_of(again)
    assert (kind, told["more"]) == ("changed", True)
    await again.aclose()
    abreast = messages(live, await live.listen(newest, 0), 60)
    assert (await next_of(abreast))[0] == "here"
    await abreast.aclose()


async def test_page_hears_of_what_happened_while_it_was_loading(store: StateStore) -> None:
    await approve(store)
    live = Live(store)
    lines = messages(live, await live.listen(None, 3), 60)
    assert (await next_of(lines))[1]["more"] is True
    await lines.aclose()


async def test_one_reader_however_many_listen(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    journal = store.journal

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal reads
        reads += not kwargs
        return await journal(*args, **kwargs)

    monkeypatch.setattr(store, "journal", counted)
    live = Live(store)
    streams = [messages(live, await live.listen(None, 0), 60) for _ in range(50)]
    for lines in streams:
        await next_of(lines)
    await approve(store)
    told = await asyncio.gather(*(next_of(lines) for lines in streams))
    assert {tuple(one[1]["items"]) for one in told} == {("ask-1",)}
    assert reads <= 8
    for lines in streams:
        await lines.aclose()
    assert live._reader is None, "when nobody listens, nothing is read"


async def test_a_torrent_is_told_in_few_words() -> None:
    at = datetime.now(UTC)
    events = [
        WorkflowEvent(cursor=n, at=at, item_id=f"item-{n}", kind=EventKind.STAGE_COMPLETED, stage=f"s{n % 3}")
        for n in range(1, 20_001)
    ]
    listener = Listener()
    for start in range(0, len(events), 500):
        listener.tell(events[start : start + 500], events[start].cursor, more=False)
    change = listener.take()
    assert change.more
    assert len(change.text()) < 4000
    assert change.cursor == 20_000
    assert not listener.take()


async def test_reader_survives_a_store_that_fails(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live(store)
    lines = messages(live, await live.listen(None, 0), 60)
    await next_of(lines)
    journal, failures = store.journal, 0

    async def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal failures
        failures += 1
        if failures <= 2:
            raise StoreUnavailable("away")
        return await journal(*args, **kwargs)

    monkeypatch.setattr(store, "journal", failing)
    await approve(store)
    assert (await next_of(lines))[1]["items"] == ["ask-1"]
    await lines.aclose()


async def test_beats_and_ends() -> None:
    live = Live(MemoryStateStore())
    lines = messages(live, await live.listen(None, 0), 0.01)
    assert (await next_of(lines))[0] == "here"
    assert await anext(lines) == ": here\n\n"
    live.close()
    assert [line async for line in lines if not line.startswith(":")] == []


@pytest.mark.parametrize("query", ["after=-1", "after=x", "age=-1", "age=nan", "after=99999999999999999999"])
async def test_odd_questions(store: StateStore, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_as(store, Role.VIEWER)
    app.state.live.close()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.get(f"/live?{query}")).status_code in {422, 503}


# Over a wire.


@pytest_asyncio.fixture
async def program(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, headers={"Origin": server.url, "Accept": "application/json"}) as client:
        await client.post("/sign-in", data={"token": server.link.partition("#")[2]})
        client.headers["X-Treadle-Token"] = (await client.get("/session")).json()["token"]
        yield client


async def test_stream_ends_with_the_server(server: Server, program: httpx.AsyncClient) -> None:
    async with program.stream("GET", "/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        lines = answer.aiter_lines()
        await anext(lines)
        began = time.monotonic()
        assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0
        assert time.monotonic() - began < 3
        async for _ in lines:
            pass


# In a browser.


@BROWSER
async def test_change_in_another_process_shows_within_a_second(
    browser_page: Page, server: Server, console_errors: list[str]
) -> None:
    count = browser_page.locator("nav .count.s-awaiting_review")
    await browser_page.goto("/nowhere")
    await expect(browser_page.locator("html")).to_have_attribute("data-live", "live")
    console_errors.clear()
    took = []
    async with open_store(server.store) as store:
        for left, item in ((2, "ask-1"), (1, "ask-2"), (0, "ask/3 ü")):
            began = time.monotonic()
            await approve(store, item)
            await expect(count).to_have_count(0) if not left else await expect(count).to_have_text(str(left))
            took.append(time.monotonic() - began)
    assert min(took) < 1, took


@BROWSER
async def test_server_goes_and_comes_back(
    browser_page: Page, server: Server, start_server: Callable[..., Server], console_errors: list[str]
) -> None:
    banner = browser_page.get_by_role("status")
    await browser_page.goto("/nowhere")
    await expect(browser_page.locator("html")).to_have_attribute("data-live", "live")
    await expect(banner).to_be_hidden()
    await asyncio.to_thread(server.stop, signal.SIGKILL)
    await expect(banner).to_contain_text("does not answer", timeout=5000)
    async with open_store(server.store) as store:
        await approve(store)
    await asyncio.to_thread(start_server, server.store, "--port", server.url.rpartition(":")[2])
    await expect(banner).to_be_hidden(timeout=10_000)
    await expect(browser_page.locator("nav .count.s-awaiting_review")).to_have_text("2", timeout=3000)
    console_errors.clear()


@BROWSER
async def test_two_tabs_share_one_stream(browser_page: Page, server: Server, console_errors: list[str]) -> None:
    second = await browser_page.context.new_page()
    streams: list[str] = []
    second.on("request", lambda request: streams.append(request.url) if "/live?" in request.url else None)
    await browser_page.goto("/nowhere")
    await second.goto(f"{server.url}/nowhere")
    async with open_store(server.store) as store:
        await approve(store)
    await second.bring_to_front()
    await expect(second.locator("nav .count.s-awaiting_review")).to_have_text("2", timeout=3000)
    assert streams == []
    await browser_page.close()
    await eventually(lambda: _is_there(streams), "the second tab listens itself")
    console_errors.clear()


async def _is_there(streams: list[str]) -> bool:
    return bool(streams)


@BROWSER
async def test_signed_out_and_in_elsewhere(browser_page: Page, server: Server, console_errors: list[str]) -> None:
    users = Users(server.store.with_name("letters.db.web"))
    token = await asyncio.to_thread(users.add, "bea", Role.REVIEWER)
    await browser_page.goto("/nowhere")
    await browser_page.evaluate("""async () => {
      const { send } = await import('/static/http.js');
      await send('POST', '/sign-out');
      document.body.dispatchEvent(new CustomEvent('treadle:changed', { detail: {} }));
    }""")
    banner = browser_page.get_by_role("status")
    await expect(banner).to_contain_text("nothing you typed is lost")
    async with browser_page.context.expect_page() as opening:
        await banner.get_by_role("link", name="Sign in again").click()
    other = await opening.value
    await other.get_by_label("Token").fill(token)
    await other.get_by_role("button", name="Sign in").click()
    await other.wait_for_url(f"{server.url}/nowhere")
    await expect(banner).to_be_hidden()
    await expect(browser_page.locator(".who")).to_have_text("bea")
    console_errors.clear()


@BROWSER
async def test_stale_tab_goes_on(browser_page: Page, server: Server, console_errors: list[str]) -> None:
    await browser_page.goto("/sign-in")
    users = Users(server.store.with_name("letters.db.web"))
    token = await asyncio.to_thread(users.add, "bea", Role.REVIEWER)
    # In another tab of the same browser somebody signs in anew, and the token that this page was given is worth nothing.
    answer = await browser_page.context.request.post("/sign-in", form={"token": token}, headers={"Origin": server.url})
    assert answer.ok
    claimed = await browser_page.evaluate("""async () => {
      const { send } = await import('/static/http.js');
      return (await send('POST', '/api/v1/reviews/ask-1/summary/claim', { minutes: 5 })).status;
    }""")
    assert claimed == 200
    stale = await browser_page.evaluate("""async () => {
      document.querySelector('meta[name="treadle-token"]').content = 'stale';
      await htmx.ajax('POST', '/api/v1/reviews/ask-1/summary/release', { swap: 'none' });
    }""")
    assert stale is None
    assert all("403" in error for error in console_errors)
    console_errors.clear()
    async with open_store(server.store) as store:
        review = (await Inbox(store).show("ask-1", "summary")).review
    assert review.holder is None


@BROWSER
async def test_page_open_all_day_does_not_grow(browser_page: Page) -> None:
    await browser_page.goto("/sign-in")
    session = await browser_page.context.new_cdp_session(browser_page)
    await session.send("Performance.enable")

    async def measured() -> dict[str, float]:
        await session.send("HeapProfiler.collectGarbage")
        metrics = (await session.send("Performance.getMetrics"))["metrics"]
        return {metric["name"]: metric["value"] for metric in metrics}

    async def refreshed(times: int) -> None:
        for _ in range(times):
            async with browser_page.expect_response("**/parts/header*"):
                await browser_page.evaluate("document.body.dispatchEvent(new CustomEvent('treadle:changed', { detail: {} }))")

    await refreshed(20)
    before = await measured()
    await refreshed(150)

    async def is_as_small() -> bool:
        # The last answers may have come and not be on the page yet, and what they replace is not let go of at once.
        after = await measured()
        return (
            after["Nodes"] <= before["Nodes"] + 20
            and after["JSEventListeners"] <= before["JSEventListeners"] + 5
            and after["JSHeapUsedSize"] < before["JSHeapUsedSize"] * 1.1
        )

    await eventually(is_as_small, "the page is no larger than before")
