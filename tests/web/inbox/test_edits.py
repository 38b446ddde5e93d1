"""Edits: a form from the schema, the difference before it is sent, problems where they belong, nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Route, expect

from tests.web.conftest import BROWSER, eventually
from tests.web.inbox.conftest import Desk
from tests.web.inbox.papers import papers
from treadle import Engine, Inbox, RequestChanges, open_store
from treadle.state import Decided

pytestmark = BROWSER


async def test_an_edit_shows_its_difference_and_is_sent_with_a(desk: Desk) -> None:
    await desk.open()
    await desk.press("e")
    await expect(desk.page.get_by_label("Expression")).to_be_focused()
    await desk.press("Control+a")
    await desk.type("BSD-2-Clause")
    await desk.page.get_by_label("Holders").fill("David Goodger\nthe contributors")
    await desk.page.get_by_label("Notice").check()
    diff = desk.page.locator("#edit-diff")
    await expect(diff.locator(".removed").first).to_contain_text('"expression": "CC-PDDC"')
    await expect(diff.locator(".added").first).to_contain_text('"expression": "BSD-2-Clause"')
    await expect(desk.page.locator("[data-act=approve]")).to_contain_text("Approve with edits")
    await desk.press("a")
    await desk.is_at("paper-2")
    review = await desk.decided("paper-1")
    assert review.decision is Decided.APPROVE_WITH_EDITS
    assert review.edited == {
        "expression": "BSD-2-Clause", "confidence": 0.62, "holders": ["David Goodger", "the contributors"], "family": "permissive", "notice": True,
    }  # fmt: skip
    assert {change["path"] for change in review.patch or ()} == {"/expression", "/holders/1", "/notice"}


async def test_an_edit_that_changes_nothing_is_an_approval(desk: Desk) -> None:
    await desk.open()
    await desk.press("e")
    await expect(desk.page.get_by_label("Expression")).to_be_focused()
    await desk.press("Escape", "a")
    assert (await desk.decided("paper-1")).decision is Decided.APPROVE


async def test_a_number_that_a_browser_writes_otherwise_is_no_change(desk: Desk) -> None:
    await desk.open("paper-5")
    await desk.press("e")
    await expect(desk.page.locator("#edit-diff")).to_have_text("Nothing is changed yet.")
    await expect(desk.page.get_by_label("Confidence")).to_have_value("1")


async def test_a_reason_does_not_take_the_place_of_an_edit(desk: Desk) -> None:
    await desk.open()
    await desk.press("e")
    await desk.page.get_by_label("Expression").fill("ISC")
    await desk.press("Escape", "r")
    await desk.type("or rather not")
    await desk.page.reload()
    await expect(desk.page.locator("#reason-text")).to_have_value("or rather not")
    await desk.press("Escape", "e")
    await expect(desk.page.get_by_label("Expression")).to_have_value("ISC")


async def test_an_edit_that_was_put_aside_is_not_passed_over(desk: Desk) -> None:
    await desk.open()
    await desk.press("e")
    await desk.page.get_by_label("Expression").fill("ISC")
    await desk.press("Escape", "Escape")
    await expect(desk.page.locator("#edit")).to_be_hidden()
    await desk.press("a")
    await desk.says("Here is your edit, which is not sent yet")
    assert (await desk.look("paper-1")).is_open
    await desk.page.get_by_role("button", name="Discard it").click()
    await expect(desk.page.locator("#edit")).to_be_hidden()
    await desk.press("a")
    assert (await desk.decided("paper-1")).decision is Decided.APPROVE


async def test_what_does_not_fit_is_said_at_its_field_and_nothing_is_sent(desk: Desk, console_errors: list[str]) -> None:
    await desk.open()
    await desk.press("e")
    await desk.page.get_by_label("Confidence").fill("")
    await desk.press("Escape", "a")
    problem = desk.page.locator(".server-problem")
    await expect(problem).to_contain_text("Value must be of type number")
    await desk.page.get_by_label("Confidence").fill("0.9")
    await desk.page.get_by_label("Expression").fill("nonsense")
    await desk.press("Escape", "a")
    await expect(desk.page.locator("#edit-diff .added").first).to_contain_text("nonsense")
    await expect(problem).to_contain_text("no licence is called that")
    field = desk.page.get_by_label("Expression")
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("aria-invalid", "true")
    assert await field.get_attribute("aria-describedby") == await problem.get_attribute("id")
    assert all("422" in error for error in console_errors)
    console_errors.clear()
    await field.fill("")
    await desk.press("Escape", "a")
    assert (await desk.decided("paper-1")).edited["expression"] is None, "an empty optional text is none"


async def test_what_is_typed_outlives_the_page(desk: Desk) -> None:
    await desk.open()
    await desk.press("e")
    await desk.page.get_by_label("Expression").fill("MIT AND ISC")
    await expect(desk.page.locator(".queue-row.chosen .queue-draft")).to_be_visible()
    await desk.page.reload()
    await expect(desk.page.get_by_label("Expression")).to_have_value("MIT AND ISC")
    await desk.page.get_by_label("Expression").fill("CC-PDDC")
    await expect(desk.page.locator(".queue-row.chosen .queue-draft")).to_be_hidden()
    await desk.page.get_by_label("Expression").fill("MIT AND ISC")
    await desk.press("Escape", "j")
    await desk.is_at("paper-2")
    await desk.press("r")
    await desk.type("half a reas")
    await desk.press("Escape", "k")
    await expect(desk.page.get_by_label("Expression")).to_have_value("MIT AND ISC")
    await desk.press("j")
    await desk.is_at("paper-2")
    await expect(desk.page.locator("#reason-text")).to_have_value("half a reas")
    await desk.page.locator("#reason-text").fill("half a reason")
    await desk.page.locator("#reason-send").click()
    await desk.decided("paper-2")
    await desk.press("u")
    await desk.is_at("paper-2")
    await expect(desk.page.locator("#reason-text")).to_have_value("half a reason")


async def test_what_was_typed_a_moment_ago_is_looked_at_too(desk: Desk, console_errors: list[str]) -> None:
    await desk.open()
    await desk.press("e")
    field = desk.page.get_by_label("Confidence")
    await expect(field).to_be_visible()
    await field.evaluate("""(field) => {
        field.value = '';
        field.dispatchEvent(new Event('input', { bubbles: true }));
        document.querySelector('[data-act=approve]').click();
    }""")
    await expect(desk.page.locator(".server-problem")).to_contain_text("Value must be of type number")
    assert not console_errors, "nothing was sent"


@asynccontextmanager
async def unready_draft(desk: Desk) -> AsyncIterator[asyncio.Event]:
    """The inbox again with an edit that lies unsent, whose form comes only with the event."""
    await desk.open()
    await desk.press("e")
    await desk.page.get_by_label("Expression").fill("MIT AND ISC")
    await expect(desk.page.locator(".queue-row.chosen .queue-draft")).to_be_visible()
    come = asyncio.Event()

    async def late(route: Route) -> None:
        await come.wait()
        await route.continue_()

    # A load of the page does not wait for what its own code adds later.
    await desk.page.route("**/jsoneditor.js", late)
    await desk.page.reload(wait_until="commit")
    await desk.is_at("paper-1")
    await expect(desk.page.locator("#edit")).to_be_visible()
    yield come
    come.set()


async def test_keys_do_not_wait_for_the_form_of_a_draft(desk: Desk) -> None:
    async with unready_draft(desk):
        await desk.press("j")
        await desk.is_at("paper-2")
        await desk.press("r")
        await expect(desk.page.locator("#reason")).to_be_visible()
    await desk.press("Escape", "k")
    await expect(desk.page.get_by_label("Expression")).to_have_value("MIT AND ISC")


async def test_a_form_that_comes_late_does_not_push_aside_a_reason(desk: Desk) -> None:
    async with unready_draft(desk) as come:
        await desk.press("r")
        await desk.type("no licence")
        await expect(desk.page.locator("#edit")).to_be_hidden()
        come.set()
        await eventually(lambda: desk.page.evaluate("'JSONEditor' in window"), "the form's maker is there")
    await desk.press("Escape", "e")
    await expect(desk.page.get_by_label("Expression")).to_have_count(1)
    await expect(desk.page.get_by_label("Expression")).to_have_value("MIT AND ISC")
    await desk.press("Escape", "Escape", "r")
    await expect(desk.page.locator("#reason-text")).to_have_value("no licence")
    await expect(desk.page.locator("#edit")).to_be_hidden()


async def test_a_draft_is_opened_once_by_whoever_asks_for_it_meanwhile(desk: Desk) -> None:
    async with unready_draft(desk) as come:
        await desk.press("e", "a", "j")
        come.set()
        field = desk.page.get_by_label("Expression")
        await expect(field).to_have_value("MIT AND ISC")
        await expect(field).to_have_count(1)
        await expect(field).to_be_focused()
        await desk.is_at("paper-1")
        assert (await desk.look("paper-1")).is_open


async def test_an_undo_on_the_heels_of_a_decision_keeps_its_words(desk: Desk) -> None:
    await desk.open()
    await desk.press("r")
    await desk.type("in a hurry")
    await desk.press("Enter", "u")
    await desk.is_at("paper-1")
    await expect(desk.page.locator("#reason-text")).to_have_value("in a hurry")
    await desk.reopened("paper-1")


async def test_another_question_keeps_what_was_typed_and_shows_what_changed(desk: Desk, console_errors: list[str]) -> None:
    await desk.open()
    await desk.press("e")
    await desk.page.get_by_label("Expression").fill("mine")
    await expect(desk.page.locator("#edit-diff .added")).to_contain_text("mine")

    async def elsewhere(inbox: Inbox) -> None:
        reader = await desk.page.locator("#inbox").get_attribute("data-reader") or ""
        await inbox.decide("paper-1", "identify", RequestChanges("again"), reviewer=reader)

    await desk.act(elsewhere)
    await desk.press("Escape", "a")
    await desk.says("sent back for changes by")
    assert all("409" in error for error in console_errors)
    console_errors.clear()
    await desk.page.reload()
    await expect(desk.page.locator(".answer")).to_contain_text("Sent back for changes")
    draft = await desk.page.evaluate("Object.entries(localStorage).find(([name]) => name.endsWith('paper-1/identify'))[1]")
    assert "mine" in draft


async def test_an_edit_of_an_older_result_stands_beside_what_changed_since(desk: Desk) -> None:
    await desk.open()
    await desk.press("e")
    await desk.page.get_by_label("Expression").fill("mine")
    await expect(desk.page.locator("#edit-diff .added")).to_contain_text("mine")
    await desk.press("Escape", "j")
    await desk.is_at("paper-2")
    async with open_store(desk.server.store) as store:

        async def let_go() -> bool:
            return (await Inbox(store).show("paper-1", "identify")).review.holder is None

        await eventually(let_go, "the page gives back what it leaves")
        await Inbox(store).decide("paper-1", "identify", RequestChanges("again"), reviewer="bob")
        async with Engine(papers, store) as engine:
            await engine.advance("paper-1")
    await desk.page.goto("/inbox/paper-1/identify")
    note = desk.page.locator("#edit-note")
    await expect(note).to_contain_text("The result is another one since you began")
    await expect(note.locator(".added")).to_contain_text("CC0-1.0")
    await expect(desk.page.get_by_label("Expression")).to_have_value("mine")
    await desk.press("a")
    assert (await desk.decided("paper-1")).edited["expression"] == "mine"


async def test_nothing_is_claimed_behind_an_edit_that_is_on_its_way(desk: Desk) -> None:
    """Else the server says that it is decided already, which a person would read as somebody else's doing."""
    await desk.open()
    await desk.press("e")
    await desk.page.get_by_label("Expression").fill("mine")
    await desk.press("Escape")

    async def late(route: Route) -> None:
        answer = await route.fetch()
        await asyncio.sleep(1)
        await route.fulfill(response=answer)

    claimed: list[str] = []
    desk.page.on(
        "request", lambda request: claimed.append(request.url) if "paper-1" in request.url and "/claim" in request.url else None
    )
    await desk.page.route("**/decide", late)
    await desk.page.reload()
    await expect(desk.page.get_by_label("Expression")).to_have_value("mine")
    before = len(claimed)
    await desk.press("a")
    await desk.is_at("paper-2")
    assert len(claimed) == before
    assert (await desk.decided("paper-1")).edited["expression"] == "mine"


async def send_an_edit(desk: Desk) -> None:
    """The first review's edit is on its way."""
    await desk.open()
    await desk.press("e")
    await desk.page.get_by_label("Expression").fill("mine")
    await desk.press("Escape")
    async with desk.page.expect_request("**/decide"):
        await desk.press("a")


async def refused_later(desk: Desk) -> asyncio.Event:
    """The first review's edit is on its way; it does not fit, which the page is told when this is set."""
    told = asyncio.Event()

    async def refuse(route: Route) -> None:
        await told.wait()
        await route.fulfill(status=422, json={"detail": "it does not fit"})

    await desk.page.route("**/decide", refuse)
    await send_an_edit(desk)
    return told


async def test_a_review_that_was_left_before_its_edit_was_refused_is_given_back(desk: Desk, console_errors: list[str]) -> None:
    left = await refused_later(desk)
    await desk.press("j")
    await desk.is_at("paper-2")
    left.set()

    async def given_back() -> bool:
        return (await desk.look("paper-1")).holder is None

    await eventually(given_back, "nobody holds what was left")
    console_errors.clear()  # the refusal is meant


async def test_whoever_has_gone_on_is_told_which_edit_was_refused(desk: Desk, console_errors: list[str]) -> None:
    left = await refused_later(desk)
    await desk.press("j")
    await desk.is_at("paper-2")
    await desk.press("e")
    left.set()
    await desk.says("paper-1 was not approved: it does not fit. Your edit is kept.")
    await expect(desk.page.locator("#edit-problems")).to_be_hidden()
    await desk.page.get_by_role("button", name="Show it").click()
    await desk.is_at("paper-1")
    await expect(desk.page.get_by_label("Expression")).to_have_value("mine")
    console_errors.clear()  # the refusal is meant


async def test_whoever_has_gone_on_before_an_edit_was_taken_stays_where_they_are(desk: Desk) -> None:
    left = asyncio.Event()

    async def late(route: Route) -> None:
        await left.wait()
        await route.fulfill(response=await route.fetch())

    await desk.page.route("**/decide", late)
    await send_an_edit(desk)
    await desk.press("j", "j")
    await desk.is_at("paper-3")
    left.set()
    await desk.decided("paper-1")
    await expect(desk.page.locator("#undo-words")).to_have_text("edited")
    await desk.is_at("paper-3")
    await expect(desk.rows.first).to_contain_text("paper-2")
    await desk.is_at("paper-3")


@pytest.mark.parametrize(("item", "made"), [("raw-1", {"big": 2**60 + 1}), ("raw-2", {"big": 3, "more": "kept"})])
async def test_values_that_no_form_holds_are_edited_as_json_to_the_last_digit(
    desk: Desk, item: str, made: dict[str, Any]
) -> None:
    await desk.open(item, "raw")
    await desk.press("e")
    field = desk.page.get_by_label("The result as JSON")
    await expect(field).to_be_focused()
    text = await field.input_value()
    assert str(made["big"]) in text
    await field.fill("{not json")
    await desk.press("Escape", "a")
    await expect(desk.page.locator("#edit-problems")).to_contain_text("This is not JSON")
    await field.fill(text.replace("as it is", "as it should be"))
    await desk.press("Escape", "a")
    assert (await desk.decided(item, "raw")).edited == made | {"text": "as it should be"}
