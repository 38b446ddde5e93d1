"""A hostile page in another tab of the browser in which somebody is signed in."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.web.conftest import BROWSER, Server, eventually
from treadle import Inbox, open_store

HOSTILE = Path(__file__).with_name("hostile.html")


@pytest.fixture
def hostile_site(server: Server) -> Iterator[str]:
    """A page of another server on this machine: the same site, as browsers count, so that cookies may go along."""
    page = HOSTILE.read_text("utf-8").replace("TARGET", server.url).encode()

    class Hostile(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as listening:
        thread = threading.Thread(target=listening.serve_forever, name="hostile")
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}/"
        listening.shutdown()
        thread.join()


@BROWSER
async def test_hostile_page_in_another_tab(
    browser_page: Page, server: Server, hostile_site: str, console_errors: list[str]
) -> None:
    tab = await browser_page.context.new_page()
    asked: list[str] = []
    for end in ("requestfinished", "requestfailed"):
        tab.on(end, lambda request: asked.append(request.method) if "decide" in request.url else None)
    await tab.goto(hostile_site)
    assert await tab.evaluate("window.done") == []

    async def all_asked() -> bool:
        return len(asked) >= 3

    await eventually(all_asked, "a form and two requests have been answered")
    assert set(asked) == {"POST"}
    async with open_store(server.store) as store:
        assert (await Inbox(store).show("ask-1", "summary")).review.is_open
    assert not [frame for frame in tab.frames if await frame.query_selector("#sign-in")], "it cannot be framed"
    console_errors.clear()
