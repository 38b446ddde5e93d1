"""What tests of the web share: a store with items everywhere, the app in process, a server in a process, a browser."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from playwright.async_api import Browser, Page, async_playwright, expect

import treadle
from tests.web.pipeline import SAMPLE, letters
from treadle import StateStore, Workflow, open_store
from treadle.web import Principal, Role, create_app
from treadle.web import server as web_server
from treadle.web.door import OwnDoor
from treadle.web.private import private_folder

ROOT = Path(__file__).resolve().parents[2]
APP = f"{ROOT / 'tests' / 'web' / 'pipeline.py'}:letters"
expect.set_options(timeout=20_000)  # as everywhere, what takes long is the machine's mood
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the sample has run; copy it, do not change it."""
    path = tmp_path_factory.mktemp("sample") / "letters.db"
    treadle.run(letters, SAMPLE, store=path)
    return path


@pytest.fixture
def store_path(sample_store: Path, tmp_path: Path) -> Path:
    """A store of this test's own in which the sample has run."""
    return Path(shutil.copy(sample_store, tmp_path / "letters.db"))


@pytest_asyncio.fixture
async def store(store_path: Path) -> AsyncIterator[StateStore]:
    async with open_store(store_path) as opened:
        yield opened


def app_as(store: StateStore, role: Role | None, workflow: Workflow | None = letters) -> FastAPI:
    """The app, whose every request comes from ann in that role; from nobody known without one."""
    return create_app(store, workflow, authenticate=lambda request: None if role is None else Principal("ann", role))


@contextlib.asynccontextmanager
async def web_client(app: Any, *, meant: bool = True, **given: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of an app in this process, whose changes are ``meant``: they come from our own page."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", **given) as client:
        if meant:
            session = (await client.get("/session")).json()
            client.headers.update({"Origin": "http://127.0.0.1", "X-Treadle-Token": session.get("token", "")})
        yield client


@pytest_asyncio.fixture
async def client(store: StateStore) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app over ``store``, signed in as the operator ann."""
    async with web_client(app_as(store, Role.OPERATOR)) as opened:
        yield opened


async def eventually(holds: Callable[[], Awaitable[Any]], what: str, seconds: float = 20) -> Any:
    """What ``holds()`` gives as soon as that is something."""
    until = time.monotonic() + seconds
    while not (found := await holds()):
        assert time.monotonic() < until, f"{seconds} s, and still not: {what}"
        await asyncio.sleep(0.02)
    return found


@dataclass
class Server:
    """A server of ``store`` at ``url``; ``link`` signs in, once."""

    url: str
    link: str
    store: Path
    end: Callable[[int], int]

    def stop(self, how: int = signal.SIGTERM) -> int:
        """It has ended, and this is its exit code."""
        return self.end(how)


def _end_of(process: subprocess.Popen[str]) -> Callable[[int], int]:
    def end(how: int) -> int:
        if process.poll() is None:
            process.send_signal(how)
        code = process.wait(20)
        assert process.stderr is not None
        process.stderr.close()
        return code

    return end


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Call it with a store, and options of ``treadle serve``, for a server that listens when the call returns."""
    started: list[Server] = []

    def start(store: Path, *options: str, app: str = APP) -> Server:
        words = [sys.executable, "-m", "treadle.cli", "serve", *([app] if app else []), "--store", str(store)]
        if "--port" not in options:
            words += ["--port", "0"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([*words, *options], stderr=subprocess.PIPE, text=True, env=environment)
        assert process.stderr is not None
        said = ""
        until = time.monotonic() + 20
        while (line := process.stderr.readline()) and time.monotonic() < until:
            said += line
            if found := re.search(r"http://\S+", line):
                started.append(Server(found[0].partition("/sign-in")[0], found[0], store, _end_of(process)))
                return started[-1]
        process.kill()
        raise AssertionError(f"treadle serve did not start: {said}")

    yield start
    for server in started:
        server.stop(signal.SIGKILL)


@contextlib.contextmanager
def serving(store_path: Path, workflow: Workflow) -> Iterator[Server]:
    """A server in a thread: what ``treadle serve`` does, without starting a process."""
    door = OwnDoor(private_folder(str(store_path)), owner=getpass.getuser())
    with web_server.listen("127.0.0.1", 0) as listening:
        at = web_server.address("127.0.0.1", listening.getsockname()[1])
        link = door.write_link(f"http://{at}")
        assert link is not None
        started: Future[tuple[web_server.Server, asyncio.AbstractEventLoop]] = Future()

        async def serve() -> None:
            async with open_store(store_path) as store:
                serving = web_server.Server(create_app(store, workflow, door=door, hosts=web_server.names_of(at)))
                serving.on_start = lambda: started.set_result((serving, asyncio.get_running_loop()))
                await serving.serve([listening])

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="web-server")
        thread.start()
        serving, loop = started.result(20)

        def end(how: int) -> int:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(serving.stop)
                if how == signal.SIGKILL:
                    loop.call_soon_threadsafe(serving.stop)
            thread.join(20)
            return 0

        yield Server(f"http://{at}", link, store_path, end)
        end(signal.SIGKILL)


@pytest.fixture
def server(store_path: Path) -> Iterator[Server]:
    """A server over this test's own store."""
    with serving(store_path, letters) as found:
        yield found


# The browser lives in the session's event loop: mark modules that use it with pytestmark = BROWSER from here.
BROWSER = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        reason = "no chromium on this machine: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        await launched.close()


@pytest.fixture
def console_errors() -> list[str]:
    """What the page's console called an error; a test that means to cause one clears the list."""
    return []


@pytest_asyncio.fixture(loop_scope="session")
async def browser_page(
    browser: Browser, server: Server, start_server: Callable[..., Server], console_errors: list[str]
) -> AsyncIterator[Page]:
    """A page signed in at ``server`` as its operator; the test fails where the page's console says an error."""
    del start_server  # what it starts must not end before the page does
    async with await browser.new_context(base_url=server.url, reduced_motion="reduce") as context:
        page = await context.new_page()
        page.on(
            "console", lambda said: console_errors.append(f"{said.text} {said.location['url']}") if said.type == "error" else None
        )
        page.on("pageerror", lambda error: console_errors.append(str(error)))
        await page.goto(server.link)
        await page.wait_for_url(f"{server.url}/")
        yield page
        assert not console_errors, f"the page's console: {console_errors}"


AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
_AXE_RUN = """async () => (await axe.run({ resultTypes: ['violations'] })).violations
  .filter((found) => ['serious', 'critical'].includes(found.impact))
  .map((found) => `${found.id}: ${found.nodes.map((node) => node.html + ' ' + node.failureSummary).join(' | ')}`)"""


async def assert_accessible(page: Page) -> None:
    """axe-core finds nothing serious on the page as it is now."""
    await page.evaluate(AXE.read_text("utf-8"))
    found = await page.evaluate(_AXE_RUN)
    assert not found, "\n".join(found)


async def assert_fits(page: Page) -> None:
    """Nothing of the page lies to the right of the screen."""
    wide, screen = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= screen, f"{wide} px on a screen of {screen}"
