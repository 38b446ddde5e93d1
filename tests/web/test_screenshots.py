"""The pictures of the README and the documentation: pages of a real licence audit.

``make screenshots`` writes them to docs/images; the test audits a few distributions and looks at what it gets.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

from playwright.async_api import Browser, Page

from examples.licence_audit.distributions import site_packages
from examples.licence_audit.pipeline import audit, installed
from tests.web.conftest import BROWSER, ROOT, eventually
from treadle import Engine, Inbox, StateStore, open_store
from treadle.state import ItemPhase
from treadle.web import Principal, Role, create_app
from treadle.web import server as web_server

pytestmark = BROWSER

WANTED = os.environ.get("TREADLE_SCREENSHOTS")
"""Where ``make screenshots`` wants them."""
_LARGEST = 250_000


@asynccontextmanager
async def _served(store: StateStore) -> AsyncIterator[str]:
    app = create_app(store, audit, authenticate=lambda request: Principal("ann", Role.OPERATOR))
    with web_server.listen("127.0.0.1", 0) as listening:
        serving, ready = web_server.Server(app), asyncio.Event()
        serving.on_start = ready.set
        task = asyncio.create_task(serving.serve([listening]))
        await ready.wait()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        serving.stop()
        await task


async def _at_work(page: Page) -> None:
    """The inbox, one review decided, and an edit of the one that asks most under way."""
    await page.goto("/inbox")
    await page.locator("#held", has_text="held by you").wait_for()
    await page.keyboard.press("a")
    rows = page.locator(".queue-row")
    if await rows.count() == 0:
        return
    named = rows.filter(has_text="docutils")
    await (named if await named.count() else rows).first.click()
    await page.locator("#held", has_text="held by you").wait_for()
    await page.keyboard.press("e")
    if await page.get_by_label("Expression").count():
        await page.get_by_label("Expression").fill("CC-PDDC AND BSD-2-Clause AND GPL-3.0-or-later")
        await page.locator("#edit-diff .added").first.wait_for()


async def _take(page: Page, folder: Path, name: str, path: str | None = None, shows: str = "html[data-live=live]") -> None:
    if path is not None:
        await page.goto(path)
    await page.locator(shows).first.wait_for()
    file = folder / f"{name}.png"
    await page.screenshot(path=file)
    assert 10_000 < file.stat().st_size < _LARGEST, f"{file} has {file.stat().st_size:,} bytes"


async def test_pictures_of_the_licence_audit(browser: Browser, tmp_path: Path) -> None:
    folder = ROOT / WANTED if WANTED else tmp_path
    folder.mkdir(exist_ok=True)
    found = list(islice(installed(site_packages()), None if WANTED else 12))
    async with (
        open_store(tmp_path / "audit.db") as store,
        Engine(audit, store, name="worker 1") as engine,
        _served(store) as address,
        await browser.new_context(base_url=address, viewport={"width": 1280, "height": 800}, reduced_motion="reduce") as context,
    ):
        page = await context.new_page()
        running = asyncio.create_task(engine.run(found, concurrency=8))

        async def is_under_way() -> bool:
            phases = (await store.counts()).phases
            enough = phases.get(ItemPhase.COMPLETED, 0) > len(found) // 5 and phases.get(ItemPhase.AWAITING_REVIEW, 0)
            return bool(enough) or running.done()

        # A picture is of one moment: nothing on it is refreshed before the rest.
        await page.route("**/live?*", lambda route: route.abort())
        await eventually(is_under_way, "a part of the audit", seconds=50)
        await _take(page, folder, "overview", "/", "svg.is-placed")
        await page.unroute("**/live?*")
        await running
        await _take(page, folder, "items", "/items")
        if (await Inbox(store).stats()).waiting:
            await _at_work(page)
            await _take(page, folder, "inbox")
            await page.goto("/items?state=awaiting_review")
            await page.locator("tbody th a").first.click()
            await _take(page, folder, "item", page.url.removeprefix(address))
        await page.emulate_media(color_scheme="dark")
        await _take(page, folder, "overview-dark", "/")
