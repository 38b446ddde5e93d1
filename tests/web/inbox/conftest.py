"""An inbox in a browser, before a workflow that asks people in every way there is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

import treadle
from tests.web.conftest import ROOT, Server, eventually, serving
from tests.web.inbox.papers import PAPERS, papers
from treadle import Inbox, open_store
from treadle.history import Review

APP = f"{ROOT / 'tests' / 'web' / 'inbox' / 'papers.py'}:papers"


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("papers") / "papers.db"
    for paper in PAPERS:  # one after the other, so that the queue has their order
        treadle.run(papers, [paper], store=path)
    return path


@pytest.fixture
def server(store_path: Path) -> Iterator[Server]:
    with serving(store_path, papers) as found:
        yield found


class Desk:
    """The inbox on a page, and the same inbox for whoever else works with it."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server

    async def open(self, item: str = "", stage: str = "identify") -> None:
        """The inbox is there, with that review before you and in your hands."""
        await self.page.goto(f"/inbox/{item}/{stage}" if item else "/inbox")
        await self.is_at(item or "paper-1")
        await expect(self.page.locator("#held")).to_contain_text("held by you")

    async def is_at(self, item: str) -> None:
        """That review is before you."""
        await expect(self.page.locator("#review-title")).to_have_text(item)

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.page.keyboard.press(key)

    async def type(self, text: str) -> None:
        await self.page.keyboard.type(text)

    async def says(self, text: str) -> None:
        """A notice says so."""
        await expect(self.page.locator("#notices")).to_contain_text(text)

    async def look(self, item: str, stage: str = "identify") -> Review:
        """The review as the store has it."""
        async with open_store(self.server.store) as store:
            return (await Inbox(store).show(item, stage)).review

    async def act(self, work: Callable[[Inbox], Awaitable[Any]]) -> None:
        """Somebody does something elsewhere."""
        async with open_store(self.server.store) as store:
            await work(Inbox(store))

    async def decided(self, item: str, stage: str = "identify") -> Review:
        """The review, once somebody has decided."""

        async def closed() -> Review | None:
            review = await self.look(item, stage)
            return None if review.is_open else review

        return await eventually(closed, f"{item} is decided")

    async def reopened(self, item: str, stage: str = "identify") -> None:
        async def is_open() -> bool:
            return (await self.look(item, stage)).is_open

        await eventually(is_open, f"{item} waits again")

    @property
    def rows(self) -> Any:
        return self.page.locator(".queue-row")


@pytest_asyncio.fixture(loop_scope="session")
async def desk(browser_page: Page, server: Server, console_errors: list[str]) -> Desk:
    console_errors.clear()
    return Desk(browser_page, server)


@pytest_asyncio.fixture(loop_scope="session")
async def second(browser: Browser, desk: Desk) -> AsyncIterator[Desk]:
    """Another tab of the same person."""
    page = await desk.page.context.new_page()
    yield Desk(page, desk.server)
    await page.close()
