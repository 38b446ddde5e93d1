"""The server goes away, the sign-in ends, the page closes: nothing typed is lost and nothing is decided twice."""

from __future__ import annotations

import signal
from collections.abc import Callable

from playwright.async_api import expect

from tests.web.conftest import BROWSER, Server
from tests.web.inbox.conftest import APP, Desk
from treadle.state import Decided

pytestmark = BROWSER


async def test_a_server_that_restarts_loses_no_decision_and_no_word(
    desk: Desk, start_server: Callable[..., Server], console_errors: list[str]
) -> None:
    await desk.open()
    await desk.press("j")
    await desk.is_at("paper-2")
    await desk.press("k")
    await desk.is_at("paper-1")
    await desk.press("r")
    await desk.type("typed before")
    desk.server.stop(signal.SIGKILL)
    await desk.type(" and after")
    await desk.press("Enter")
    await desk.is_at("paper-2")
    await desk.says("The server cannot be reached. 1 decision waits here")
    await desk.press("e")
    await desk.page.get_by_label("Expression").fill("typed while it was away")
    await desk.press("Escape", "a")
    await desk.says("Your edit is kept")
    start_server(desk.server.store, "--port", desk.server.url.rpartition(":")[2], app=APP)
    assert (await desk.decided("paper-1")).note == "typed before and after"
    await expect(desk.page.get_by_label("Expression")).to_have_value("typed while it was away")
    await desk.press("a")
    assert (await desk.decided("paper-2")).decision is Decided.APPROVE_WITH_EDITS
    await expect(desk.page.locator("[data-kind=server]")).to_have_count(0)
    console_errors.clear()


async def test_a_decision_that_has_not_left_survives_its_page(desk: Desk, console_errors: list[str]) -> None:
    await desk.page.route("**/decide", lambda route: route.abort())
    await desk.open()
    await desk.press("a")
    await desk.says("1 decision waits here")
    await desk.page.unroute("**/decide")
    await desk.page.reload()
    await desk.decided("paper-1")
    console_errors.clear()


async def test_an_expired_sign_in_keeps_what_was_typed_until_there_is_another(
    desk: Desk, second: Desk, start_server: Callable[..., Server], console_errors: list[str]
) -> None:
    await desk.open()
    await desk.press("r")
    await desk.type("a long reason")
    await desk.page.context.clear_cookies()
    await desk.press("Enter")
    await desk.says("Your sign-in has expired. 1 decision waits here")
    assert (await desk.look("paper-1")).is_open
    desk.server.stop()
    again = start_server(desk.server.store, "--port", desk.server.url.rpartition(":")[2], app=APP)
    await second.page.goto(again.link)
    assert (await desk.decided("paper-1")).note == "a long reason"
    console_errors.clear()


async def test_a_review_that_could_not_be_claimed_is_claimed_when_the_server_is_back(
    desk: Desk, console_errors: list[str]
) -> None:
    await desk.page.route("**/claim", lambda route: route.abort())
    await desk.page.goto("/inbox")
    await desk.is_at("paper-1")
    async with desk.page.expect_event("requestfailed", lambda request: "/claim" in request.url):
        pass
    await desk.page.unroute("**/claim")
    await expect(desk.page.locator("#held")).to_contain_text("held by you")
    assert (await desk.look("paper-1")).holder is not None
    console_errors.clear()
