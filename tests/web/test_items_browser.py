"""Overview, items, one item, failures and events in a browser."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.web.conftest import BROWSER, Server, assert_accessible, assert_fits
from tests.web.pipeline import Letter, letters
from treadle import Engine, Inbox, open_store
from treadle.clock import now_us
from treadle.outcome import Approve
from treadle.state import ItemPhase
from treadle.store import Pruning
from treadle.web.segments import segment

pytestmark = BROWSER

PAGES = ("/", "/items", "/items/fail-1", "/items/ask-1", "/items/ask%2F3%20%C3%BC", "/stages/summary", "/failures", "/events")


async def _open(page: Page, path: str) -> None:
    await page.goto(path)
    await _ready(page)


async def _ready(page: Page) -> None:
    """Its scripts have run, and it hears what happens."""
    await page.wait_for_load_state("load")
    await expect(page.locator("html")).to_have_attribute("data-live", "live")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_have_no_barriers(browser_page: Page, scheme: str) -> None:
    await browser_page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    for path in PAGES:
        await _open(browser_page, path)
        await assert_accessible(browser_page)


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["screen", "phone"])
async def test_pages_fit(browser_page: Page, size: tuple[int, int]) -> None:
    await browser_page.set_viewport_size({"width": size[0], "height": size[1]})
    for path in PAGES:
        await _open(browser_page, path)
        await assert_fits(browser_page)


async def test_the_dag_is_drawn_without_overlaps(browser_page: Page) -> None:
    await _open(browser_page, "/")
    await expect(browser_page.locator("svg.dag.is-placed")).to_be_visible()
    await expect(browser_page.locator(".dag .edges path")).to_have_count(4)
    boxes = [await node.bounding_box() for node in await browser_page.locator(".dag .box").all()]
    assert len(boxes) == 4
    for place, one in enumerate(boxes):
        for other in boxes[place + 1 :]:
            assert one is not None
            assert other is not None
            apart = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
            assert apart or one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
    await browser_page.get_by_role("link", name="× 1 failed in read").click()
    await expect(browser_page).to_have_url(re.compile(r"/failures\?stage=read$"))


async def test_counts_follow_what_happens_in_another_process(browser_page: Page, server: Server) -> None:
    await _open(browser_page, "/")
    node = browser_page.locator('[data-node="summary"]')
    await expect(node).to_contain_text("● 3")
    async with open_store(server.store) as store:
        await Inbox(store, letters).decide("ask-1", "summary", Approve(), reviewer="bob")
    await expect(node).to_contain_text("● 2", timeout=3000)
    await expect(node).to_contain_text("3 done")
    await expect(browser_page.locator("#beside")).to_contain_text("summary approved by bob")
    await expect(browser_page.locator("svg.dag.is-placed [data-node][transform]")).to_have_count(4)


async def test_items_are_paged_and_searched_by_keyboard(browser_page: Page, server: Server) -> None:
    async with open_store(server.store) as store, Engine(letters, store) as engine:
        await engine.run([Letter(f"more-{number:03}", "Dear all") for number in range(150)])
    await _open(browser_page, "/items?prefix=done-1")
    await browser_page.locator("tbody td[aria-label=completed]").nth(1).click()
    await expect(browser_page).to_have_url(re.compile(r"/items/done-1\?stage=summary$"))
    await _open(browser_page, "/items")
    first = browser_page.locator("tbody tr").first
    await expect(browser_page.locator("tbody tr")).to_have_count(100)
    await browser_page.keyboard.press("]")
    await expect(first).to_have_attribute("data-item", "more-094")
    await _ready(browser_page)
    await browser_page.keyboard.press("[")
    await expect(first).to_have_attribute("data-item", "ask-1")
    await _ready(browser_page)
    await browser_page.keyboard.press("j")
    await browser_page.keyboard.press("j")
    await browser_page.keyboard.press("Enter")
    await expect(browser_page).to_have_url(re.compile(r"/items/ask-2$"))
    await _ready(browser_page)
    await browser_page.keyboard.press("Escape")
    await expect(first).to_have_attribute("data-item", "ask-1")
    await _ready(browser_page)
    await browser_page.keyboard.press("/")
    await browser_page.keyboard.type("more-14")
    await browser_page.keyboard.press("Enter")
    await expect(browser_page).to_have_url(re.compile(r"/items\?prefix=more-14$"))
    await expect(browser_page.locator("tbody tr")).to_have_count(10)
    await _ready(browser_page)
    await browser_page.get_by_label("State").select_option("failed")
    await expect(browser_page).to_have_url(re.compile(r"prefix=more-14&state=failed$"))
    await expect(browser_page.locator("#rows")).to_contain_text("No item is like that.")


async def test_a_failed_item_is_tried_again_with_a_reason(browser_page: Page, server: Server) -> None:
    await _open(browser_page, "/items/fail-1")
    await browser_page.keyboard.press("r")
    dialog = browser_page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Failed stages are pending again with a new budget: read.")
    await assert_accessible(browser_page)
    await browser_page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await browser_page.keyboard.press("r")
    await dialog.get_by_role("button", name="Try again").click()
    await expect(dialog).to_be_visible()  # not without a reason
    await browser_page.keyboard.type("new ink")
    await dialog.get_by_role("button", name="Try again").click()
    await expect(dialog).to_be_hidden()
    await expect(browser_page.locator("#events")).to_contain_text("read is to be tried again by")
    await expect(browser_page.locator("#events")).to_contain_text("new ink")
    await expect(browser_page.locator(".item-head")).to_contain_text("pending")
    async with open_store(server.store) as store:
        state = await store.load("fail-1")
        assert state is not None
        assert state.phase is ItemPhase.PENDING


async def test_what_is_refused_says_why_and_keeps_what_was_typed(
    browser_page: Page, server: Server, console_errors: list[str]
) -> None:
    await _open(browser_page, "/items/done-1?stage=read")
    await browser_page.keyboard.press("n")
    dialog = browser_page.get_by_role("dialog")
    await dialog.get_by_label("Why").fill("better scan")
    await dialog.get_by_role("button", name="Do it again").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("have built on")
    await expect(dialog.get_by_label("Why")).to_have_value("better scan")
    await dialog.get_by_role("checkbox").check()
    await dialog.get_by_role("button", name="Do it again").click()
    await expect(dialog).to_be_hidden()
    await expect(browser_page.locator("#events")).to_contain_text("read is to be done again by")
    assert all("409" in error for error in console_errors)
    console_errors.clear()


async def test_failures_are_tried_again_after_a_look_at_which(browser_page: Page, server: Server) -> None:
    async with open_store(server.store) as store, Engine(letters, store) as engine:
        await engine.run([Letter("fail-2", "unreadable ink"), Letter("fail-3", "unreadable hand")])
    await _open(browser_page, "/failures")
    row = browser_page.locator("tr", has_text="unreadable ink")
    await row.get_by_role("button", name="Try again").click()
    dialog = browser_page.get_by_role("dialog")
    await expect(dialog).to_contain_text("2 items would be pending again: fail-1, fail-2")
    await dialog.get_by_label("Why").fill("new ink")
    await dialog.get_by_role("button", name="Try again").click()
    await expect(browser_page.locator("#done")).to_contain_text("2 items pending again")
    await expect(row).to_have_count(0)
    await expect(browser_page.locator("tr", has_text="unreadable hand")).to_have_count(1)


async def test_an_item_that_is_removed_while_its_page_is_open_says_so(browser_page: Page, server: Server) -> None:
    await _open(browser_page, "/items/done-1")
    async with open_store(server.store) as store:
        wanted = Pruning(before=now_us() + 1, phases=frozenset({ItemPhase.COMPLETED}), at=now_us(), by="bob")
        await store.prune(wanted, 0, 100)
    await expect(browser_page.locator("#item")).to_contain_text("done-1 is no more", timeout=5000)


async def test_what_a_person_opened_stays_open(browser_page: Page, server: Server) -> None:
    await _open(browser_page, "/items/ask-1")
    await browser_page.get_by_text("What it made").last.click()
    made = browser_page.locator(".attempt > details[open]")
    await expect(made).to_have_count(1)
    async with open_store(server.store) as store:
        await Inbox(store, letters).decide("ask-1", "summary", Approve(), reviewer="bob")
    await expect(browser_page.locator("#item")).to_contain_text("approve by bob", timeout=5000)
    await expect(made).to_have_count(1)


async def test_events_follow_until_told_not_to(browser_page: Page, server: Server) -> None:
    await _open(browser_page, "/events")
    async with open_store(server.store) as store, Engine(letters, store) as engine:
        await engine.run([Letter("late-1", "Dear all")])
        await expect(browser_page.locator("#journal")).to_contain_text("late-1", timeout=5000)
        await browser_page.get_by_label("follow").uncheck()
        await engine.run([Letter("late-2", "Dear all")])
        await expect(browser_page.locator("nav a[aria-current]")).to_have_text("Events")
    await browser_page.get_by_label("Kind").select_option("stage_failed")
    await expect(browser_page.locator("#journal tr[id]")).to_have_count(1)
    assert "late-2" not in await browser_page.locator("#journal").inner_text()


async def test_nothing_from_data_runs(browser_page: Page, server: Server) -> None:
    bad = "<img src=x onerror=alert(1)>'\"&"
    letter = Letter(bad, f"unreadable {bad}<script>alert(1)</script>\u202e\x1b[31m")
    async with open_store(server.store) as store, Engine(letters, store) as engine:
        await engine.run([letter, Letter(f"ask/{bad}", f"{bad}?")])
    dialogs: list[str] = []
    browser_page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    for path in (
        "/",
        "/items",
        f"/items/{segment(bad)}",
        f"/items/{segment(f'ask/{bad}')}",
        "/failures",
        "/events",
        "/stages/read",
    ):
        await _open(browser_page, path)
        assert await browser_page.locator("img[src='x'], script:not([src])").count() == 0, path
    await browser_page.goto("/items?state=failed")
    await browser_page.get_by_role("link", name="<img").first.click()
    await expect(browser_page.locator("h1")).to_have_text(bad)
    await expect(browser_page.locator("#stage")).to_contain_text("⟨202E⟩␛[31m")
    assert dialogs == []
