"""Every key of the inbox, and what is printed on what it does."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Route, expect

from tests.web.conftest import BROWSER, assert_fits
from tests.web.inbox.conftest import Desk
from treadle.state import Decided

pytestmark = BROWSER


async def test_j_and_k_move_and_arrive_from_what_was_fetched_ahead(desk: Desk) -> None:
    await desk.open()
    await desk.press("j")
    await desk.is_at("paper-2")
    await expect(desk.page.locator(".queue-row.chosen .queue-item")).to_have_text("paper-2")
    await desk.press("k")
    await desk.is_at("paper-1")
    took = await desk.page.evaluate(
        """() => new Promise((done) => {
            const began = performance.now();
            new MutationObserver(() => done(performance.now() - began)).observe(document.getElementById('review'), {childList: true});
            document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'j', bubbles: true}));
        })"""
    )
    assert took < 100, f"{took} ms from the key to the next review"


async def test_a_approves_with_one_press_and_the_next_review_is_there(desk: Desk) -> None:
    await desk.open()
    async with desk.page.expect_request("**/decide") as sent:
        await desk.press("a")
    assert (await sent.value).post_data_json["rests"] == 8, "the item waits for an undo"
    await desk.is_at("paper-2")
    await expect(desk.page.locator("#undo")).to_contain_text("paper-1 approved")
    review = await desk.decided("paper-1")
    reader = await desk.page.locator("#inbox").get_attribute("data-reader")
    assert (review.decision, review.reviewer) == (Decided.APPROVE, reader)
    await expect(desk.rows).to_have_count(8)


async def test_r_rejects_with_the_gates_words_or_your_own(desk: Desk) -> None:
    await desk.open()
    await desk.press("r", "Enter")
    await desk.is_at("paper-2")
    assert (await desk.decided("paper-1")).note == "is paper-1 public domain?"
    await desk.press("r")
    await desk.type("no, it is not")
    await desk.press("Enter")
    await desk.is_at("paper-3")
    review = await desk.decided("paper-2")
    assert (review.decision, review.note) == (Decided.REJECT, "no, it is not")


async def test_c_asks_again_with_what_was_missed_or_your_own_words(desk: Desk) -> None:
    await desk.open()
    await desk.press("c")
    await expect(desk.page.locator("#reason-text")).to_have_value("expression is known is CC-PDDC, should be an SPDX licence")
    await desk.type("read COPYING, all of it")
    await desk.press("Enter")
    review = await desk.decided("paper-1")
    assert (review.decision, review.note) == (Decided.REQUEST_CHANGES, "read COPYING, all of it")


async def test_u_takes_the_last_decision_back(desk: Desk) -> None:
    await desk.open()
    await desk.press("a")
    await desk.is_at("paper-2")
    await desk.decided("paper-1")
    await desk.press("u")
    await desk.is_at("paper-1")
    await desk.reopened("paper-1")
    await expect(desk.rows).to_have_count(9)


async def test_undo_before_the_decision_has_left_sends_nothing(desk: Desk, console_errors: list[str]) -> None:
    # Before the page is there: what a page asks for right after it was told of a route may still go past it.
    await desk.page.route("**/decide", lambda route: route.abort())
    await desk.open()
    await desk.press("a")
    await desk.is_at("paper-2")
    await desk.press("a")
    await desk.is_at("paper-3")
    await desk.press("u")
    await desk.is_at("paper-2")
    await desk.page.unroute("**/decide")
    console_errors.clear()
    await desk.decided("paper-1")
    assert (await desk.look("paper-2")).is_open


async def test_slash_filters_and_the_address_says_so(desk: Desk) -> None:
    await desk.open()
    await desk.press("/")
    await expect(desk.page.locator("#filter-item")).to_be_focused()
    await desk.type("paper-4")
    await desk.press("Enter")
    await desk.page.wait_for_url("**/inbox?item=paper-4**")
    await desk.is_at("paper-4")
    await expect(desk.rows).to_have_count(1)


async def test_question_mark_shows_the_keys_and_escape_goes_back(desk: Desk) -> None:
    await desk.open()
    await desk.press("?")
    await expect(desk.page.locator("#help")).to_be_visible()
    await desk.press("a")
    assert (await desk.look("paper-1")).is_open, "no key decides behind a dialog"
    await desk.press("Escape")
    await expect(desk.page.locator("#help")).to_be_hidden()
    await desk.press("r", "Escape")
    await expect(desk.page.locator("#reason")).to_be_hidden()
    await desk.press("e")
    await expect(desk.page.get_by_label("Expression")).to_be_focused()
    await desk.press("Escape", "Escape")
    await expect(desk.page.locator("#edit")).to_be_hidden()


async def test_spent_attempts_are_chosen_by_number(desk: Desk) -> None:
    await desk.open("spent-1", "tried")
    await desk.press("a")
    await expect(desk.page.locator("#choose")).to_be_visible()
    await desk.press("2")
    review = await desk.decided("spent-1", "tried")
    assert review.decision is Decided.APPROVE
    await expect(desk.page.locator("#choose")).to_be_hidden()


async def test_keys_do_nothing_while_somebody_types_nor_with_modifiers_nor_when_held(desk: Desk) -> None:
    await desk.open()
    await desk.press("/")
    await desk.type("arcuejk?")
    await expect(desk.page.locator("#filter-item")).to_have_value("arcuejk?")
    await desk.press("Escape")
    for combination in ("Control+a", "Alt+a", "Meta+a", "Shift+a"):
        await desk.press(combination)
    await desk.page.evaluate(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'a', bubbles: true, repeat: true}))",
    )
    await desk.press("j")
    await desk.is_at("paper-2")
    assert (await desk.look("paper-1")).is_open


@pytest.mark.parametrize("width", [1280, 390])
async def test_every_act_is_a_button_that_a_pointer_can_press(desk: Desk, width: int) -> None:
    await desk.page.set_viewport_size({"width": width, "height": 844})
    await desk.page.goto("/inbox")
    if width < 720:
        await expect(desk.page.locator("#actions")).to_be_hidden()
        await desk.page.get_by_role("link", name="paper-1").click()
    await desk.is_at("paper-1")
    for act in ("Approve", "Edit", "Ask again", "Reject"):
        await expect(desk.page.locator("#actions").get_by_role("button", name=act)).to_be_visible()
    await assert_fits(desk.page)
    await desk.page.locator("[data-act=approve]").click()
    await desk.decided("paper-1")
    await desk.page.locator("[data-act=undo]").click()
    await desk.reopened("paper-1")
    if width < 720:
        await desk.page.locator("[data-act=back]").click()
        await expect(desk.rows.first).to_be_visible()


async def test_whoever_went_back_to_the_queue_is_left_there_when_an_answer_comes_late(desk: Desk) -> None:
    answered = asyncio.Event()

    async def late(route: Route) -> None:
        answer = await route.fetch()
        await answered.wait()
        await route.fulfill(response=answer)

    await desk.page.set_viewport_size({"width": 390, "height": 844})
    await desk.page.route("**/undo", late)
    await desk.open("paper-1")
    await desk.page.locator("[data-act=approve]").click()
    await desk.is_at("paper-2")
    await desk.decided("paper-1")
    await desk.page.locator("[data-act=undo]").click()
    await desk.reopened("paper-1")
    await desk.page.locator("[data-act=back]").click()
    answered.set()
    await expect(desk.page.locator("#said")).to_have_text("It waits again.")
    await expect(desk.rows.first).to_be_visible()
