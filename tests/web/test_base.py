"""What every page has."""

from __future__ import annotations

import httpx
from playwright.async_api import Page, expect

from tests.web.conftest import BROWSER


async def test_header_shows_what_waits_and_what_failed(client: httpx.AsyncClient) -> None:
    part = (await client.get("/parts/header?active=inbox")).text
    assert "letters" in part
    assert '<span class="count s-awaiting_review">3</span>' in part
    assert '<span class="count s-failed">1</span>' in part
    assert part.count('aria-current="page"') == 1


@BROWSER
async def test_page_in_a_browser(browser_page: Page, console_errors: list[str]) -> None:
    await browser_page.goto("/nowhere")
    await expect(browser_page.get_by_role("link", name="Inbox")).to_be_visible()
    assert all("404" in error for error in console_errors)
    console_errors.clear()
