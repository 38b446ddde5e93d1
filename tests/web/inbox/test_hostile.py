"""Reviews full of HTML, script, changes of direction and escapes, ten megabytes of it, are shown and do nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import expect

import treadle
from tests.web.conftest import BROWSER, Server, serving
from tests.web.inbox.conftest import Desk
from tests.web.inbox.poison import BAITS, BIDI, ESCAPES, EVIL, ID, poison
from treadle import Inbox, Reject, open_store
from treadle.state import Decided

pytestmark = BROWSER
UNSEEN = {character for character in BIDI + ESCAPES if not character.isprintable()}


@pytest.fixture(scope="module")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("poison") / "poison.db"
    treadle.run(poison, BAITS, store=path, concurrency=1)
    return path


@pytest.fixture
def store_path(sample_store: Path) -> Path:
    return sample_store


@pytest.fixture
def server(store_path: Path) -> Iterator[Server]:
    with serving(store_path, poison) as found:
        yield found


async def harmless(desk: Desk) -> None:
    """Nothing of it has run, and nothing hides what it is."""
    assert await desk.page.title() != "TAKEN"
    assert await desk.page.evaluate("({}).polluted") is None
    assert await desk.page.locator("img[onerror]").count() == 0
    seen = await desk.page.evaluate("document.body.innerText")
    assert not set(seen) & UNSEEN
    assert "<script>" in seen, "it is shown as what it is"
    assert "49" not in await desk.page.locator(".question").inner_text()


async def test_a_hostile_review_is_shown_edited_and_decided_like_any_other(desk: Desk) -> None:
    await desk.page.goto(f"/inbox/{quote(f'{ID}/bait', safe='')}")
    await expect(desk.page.locator("#held")).to_contain_text("held by you")
    await harmless(desk)
    await desk.press("e")
    field = desk.page.get_by_label("The result as JSON")
    await expect(field).to_be_focused()
    await field.fill((await field.input_value()).replace('"x"', '"y"'))
    await expect(desk.page.locator("#edit-diff .added")).to_have_count(1)
    await harmless(desk)
    await desk.press("Escape", "a")
    await expect(desk.page.locator("#undo")).to_contain_text("edited")
    await desk.page.keyboard.press("b")
    await desk.page.locator("#bulk-send").click()
    await expect(desk.page.locator("#bulk-preview")).to_contain_text("would be approved")
    assert await desk.page.title() != "TAKEN"
    review = await desk.decided(ID, "bait")
    assert review.decision is Decided.APPROVE_WITH_EDITS
    assert review.edited["text"] == "y"
    assert review.edited[EVIL] == EVIL
    await desk.page.goto(f"/inbox/{quote(f'{ID}/bait', safe='')}")
    await harmless(desk)


async def test_ten_megabytes_are_cut_and_quick_and_to_be_had_whole(desk: Desk) -> None:
    began = time.monotonic()
    await desk.page.goto("/inbox/big/bait")
    await desk.is_at("big")
    assert time.monotonic() - began < 3
    assert await desk.page.evaluate("document.documentElement.outerHTML.length") < 300_000
    await harmless(desk)
    await desk.press("e")
    await desk.says("too large to be edited here")
    whole = await desk.page.context.request.get(await desk.page.locator("#result a.all").first.get_attribute("href") or "")
    assert whole.headers["content-type"].startswith("text/plain")
    text = await whole.text()
    assert text.count("x") > 10_000_000
    assert not set(text) & UNSEEN


async def test_a_hostile_note_is_only_text(desk: Desk) -> None:
    async with open_store(desk.server.store) as store:
        await Inbox(store).decide("decided", "bait", Reject(EVIL), reviewer="<b>bob</b>")
    await desk.page.goto("/inbox/decided/bait")
    await expect(desk.page.locator(".answer")).to_contain_text("by <b>bob</b>")
    await harmless(desk)
