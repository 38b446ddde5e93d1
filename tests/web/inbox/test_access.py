"""With a keyboard alone, a screen reader, a small screen, in light and dark, and as somebody who may only look."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.web.conftest import BROWSER, assert_accessible, assert_fits
from tests.web.inbox.conftest import Desk
from treadle.web import Role
from treadle.web.private import private_folder
from treadle.web.users import Users

pytestmark = BROWSER


@pytest.fixture
def token_to_look(store_path: Path) -> str:
    """The token of vera, who may only look."""
    return Users(private_folder(str(store_path))).add("vera", Role.VIEWER)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(desk: Desk, scheme: str) -> None:
    await desk.page.emulate_media(color_scheme=scheme)
    await desk.open()
    await assert_accessible(desk.page)
    await desk.press("e")
    await desk.page.get_by_label("Expression").fill("nonsense")
    await expect(desk.page.locator("#edit-diff .added")).to_be_visible()
    await assert_accessible(desk.page)
    await desk.press("Escape", "r")
    await expect(desk.page.locator("#reason")).to_be_visible()
    await assert_accessible(desk.page)
    await desk.press("Escape", "?")
    await assert_accessible(desk.page)
    await desk.press("Escape", "b")
    await desk.page.locator("#bulk-send").click()
    await expect(desk.page.locator("#bulk-preview")).to_contain_text("would be")
    await assert_accessible(desk.page)


async def test_axe_finds_nothing_serious_on_a_phone(desk: Desk) -> None:
    await desk.page.set_viewport_size({"width": 390, "height": 844})
    await desk.page.goto("/inbox")
    await assert_accessible(desk.page)
    await desk.page.get_by_role("link", name="paper-1").click()
    await desk.is_at("paper-1")
    await assert_accessible(desk.page)
    await assert_fits(desk.page)
    small = await desk.page.evaluate(
        "[...document.querySelectorAll('#actions button')].filter((one) => one.offsetParent && one.offsetHeight < 44).length"
    )
    assert small == 0, "what is pressed with a thumb is large enough"


async def test_tab_reaches_the_queue_the_review_and_what_decides(desk: Desk) -> None:
    await desk.open()
    await desk.page.locator("#filter-item").focus()
    reached = set()
    for _ in range(60):
        await desk.press("Tab")
        reached.add(await desk.page.evaluate("document.activeElement.closest('section')?.getAttribute('aria-label') ?? ''"))
        if await desk.page.evaluate("document.activeElement.dataset.act === 'reject'"):
            break
    assert {"Reviews that wait", "Review"} <= reached
    await desk.press("Enter")
    await expect(desk.page.locator("#reason-text")).to_be_focused()


async def test_what_happens_is_said(desk: Desk) -> None:
    await desk.open()
    said = desk.page.locator("#said")
    await desk.press("j")
    await expect(said).to_contain_text("paper-2, identify: is paper-2 public domain?")
    await desk.press("a")
    await desk.is_at("paper-3")
    await expect(desk.page.locator("#notices")).to_have_attribute("role", "alert")
    await expect(desk.page.locator("#undo-words")).to_have_text("approved")


async def test_whoever_may_only_look_finds_nothing_to_press(desk: Desk, browser: Browser, token_to_look: str) -> None:
    async with await browser.new_context(base_url=desk.server.url) as context:
        page = await context.new_page()
        await page.goto("/sign-in")
        await page.get_by_label("Token").fill(token_to_look)
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{desk.server.url}/")
        await page.goto("/inbox/paper-1/identify")
        await expect(page.locator("#review")).to_contain_text("that takes a reviewer")
        for act in ("approve", "edit", "changes", "reject"):
            await expect(page.locator(f"[data-act={act}]")).to_be_disabled()
        await page.keyboard.press("a")
        await page.keyboard.press("r")
        await expect(page.locator("#reason")).to_be_hidden()
    assert (await desk.look("paper-1")).is_open


async def test_nobody_decides_on_their_own_work(desk: Desk) -> None:
    await desk.page.goto("/inbox/own-1/identify")
    await expect(desk.page.locator("#review")).to_contain_text("This is your own work: somebody else must decide.")
    await expect(desk.page.locator("[data-act=approve]")).to_be_disabled()
    await desk.press("a")
    assert (await desk.look("own-1")).is_open
