"""Other people, other tabs, and many reviews at once."""

from __future__ import annotations

from playwright.async_api import expect

from tests.web.conftest import BROWSER, eventually
from tests.web.inbox.conftest import Desk
from treadle import Approve, Inbox, Reject

pytestmark = BROWSER


async def test_two_tabs_one_decision_and_the_other_is_told(desk: Desk, second: Desk, console_errors: list[str]) -> None:
    await desk.open()
    await second.open()
    await desk.press("a")
    await desk.decided("paper-1")
    await second.press("r", "Enter")
    await second.is_at("paper-1")
    await second.says("Not rejected")
    await second.says("was approved by")
    await expect(second.page.locator(".answer")).to_contain_text("Approved by")
    console_errors.clear()


async def test_what_somebody_else_decided_is_said_before_you_decide(desk: Desk, console_errors: list[str]) -> None:
    await desk.open()
    reader = await desk.page.locator("#inbox").get_attribute("data-reader") or ""
    await desk.act(lambda inbox: inbox.decide("paper-1", "identify", Reject("too late"), reviewer=reader))
    await desk.says("Meanwhile: rejected by")
    await expect(desk.page.locator("[data-act=approve]")).to_be_disabled()
    await desk.press("j")
    await desk.is_at("paper-2")
    await expect(desk.rows.filter(has_text="paper-1")).to_have_count(0)


async def test_what_another_holds_is_shown_and_left_alone_until_it_is_free(desk: Desk) -> None:
    await desk.act(lambda inbox: inbox.claim("paper-2", "identify", reviewer="bob", minutes=0.25))
    await desk.open()
    await expect(desk.rows.filter(has_text="paper-2").locator(".queue-held")).to_have_text("bob")
    await desk.press("j")
    await desk.is_at("paper-2")
    await expect(desk.page.locator("#held")).to_contain_text("held by bob, 0:")
    await expect(desk.page.locator("[data-act=approve]")).to_be_disabled()
    await desk.press("a")
    assert (await desk.look("paper-2")).is_open
    await desk.press("k")
    await desk.is_at("paper-1")
    await desk.press("a")
    await desk.is_at("paper-3")
    await desk.press("k")
    await expect(desk.page.locator("#held")).to_contain_text("held by you", timeout=30_000)
    await desk.press("a")
    await desk.decided("paper-2")


async def test_leaving_a_review_gives_it_back(desk: Desk) -> None:
    await desk.open()
    reader = (await desk.look("paper-1")).holder
    await desk.press("j")
    await expect(desk.page.locator("#held")).to_contain_text("held by you")
    assert (await desk.look("paper-2")).holder == reader
    await desk.act(lambda inbox: inbox.claim("paper-1", "identify", reviewer="bob"))
    await desk.page.goto("about:blank")

    async def is_free() -> bool:
        return (await desk.look("paper-2")).holder is None

    await eventually(is_free, "paper-2 is in nobody's hands")


async def test_many_are_decided_after_a_look_at_which(desk: Desk) -> None:
    await desk.act(lambda inbox: inbox.claim("paper-3", "identify", reviewer="bob"))
    await desk.page.goto("/inbox?stage=identify")
    await desk.is_at("paper-1")
    await expect(desk.page.locator("#held")).to_contain_text("held by you")
    await desk.press("b")
    dialog = desk.page.locator("#bulk")
    await expect(dialog).to_contain_text("stage identify")
    await dialog.get_by_label("Reject").check()
    await dialog.locator("#bulk-send").click()
    assert (await desk.look("paper-4")).is_open, "without a reason there is nothing to look at"
    await dialog.get_by_label("Why?").fill("none of these")
    await dialog.locator("#bulk-send").click()
    await expect(dialog).to_contain_text("4 reviews would be rejected")
    await expect(dialog).to_contain_text("paper-5 · identify")
    await expect(dialog).to_contain_text("2 refused")
    await expect(dialog).to_contain_text("in the hands of bob")
    assert (await desk.look("paper-4")).is_open
    await dialog.get_by_role("button", name="Reject 4 reviews").click()
    await expect(dialog).to_contain_text("4 reviews rejected")
    assert (await desk.decided("paper-4")).note == "none of these"
    await desk.press("Escape")
    await expect(desk.page.locator(".queue-row:not(.gone)")).to_have_count(2)


async def test_what_is_asked_meanwhile_joins_the_queue(desk: Desk) -> None:
    async def answer(inbox: Inbox) -> None:
        await inbox.decide("paper-5", "identify", Approve(), reviewer="bob")

    await desk.act(answer)
    await desk.open()
    await expect(desk.rows).to_have_count(8)
    await desk.act(lambda inbox: inbox.undo("paper-5", "identify"))
    await expect(desk.rows).to_have_count(9)


async def test_an_item_that_is_gone_is_said_to_be(desk: Desk, console_errors: list[str]) -> None:
    await desk.open()
    await desk.page.evaluate(
        "document.querySelectorAll('.queue-row')[4].dataset.key = 'vanished/identify';"
        "document.querySelectorAll('.queue-row')[4].querySelector('a').click()"
    )
    await desk.says("vanished/identify is not there any more")
    await desk.is_at("paper-1")
    console_errors.clear()
