"""The command that serves the web."""

from __future__ import annotations

import asyncio
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from treadle.cli.common import WrongUse, existing_store, load_app, setting, store_url
from treadle.cli.people import who
from treadle.engine import Engine
from treadle.store import StateStore
from treadle.stores.opening import open_store
from treadle.workflow import Workflow

if TYPE_CHECKING:
    import socket

    from treadle.web.door import OwnDoor
    from treadle.web.server import Server


def serve(
    app: str | None = None,
    *,
    store: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    work: bool = False,
    concurrency: int = 100,
    open: bool = False,  # noqa: A002 - the flag's name
    allow_host: tuple[str, ...] = (),
    trusted_proxy_header: str | None = None,
    trusted_proxy: tuple[str, ...] = (),
) -> int:
    """Serve pages and API of a store until told to stop. The link it prints signs you in, once.

    Args:
        app: file.py:name, module:name, or a file with one workflow; without one, what the store knows must do.
        store: the store's path or address.
        host: the address to listen at; one that others can reach needs users, or a trusted proxy.
        port: the port to listen at; 0 takes a free one.
        work: move items too, in the same process.
        concurrency: with --work, how many items move at once.
        open: open the link in a browser.
        allow_host: another name by which browsers reach it; once for each name.
        trusted_proxy_header: the header in which a proxy names who has signed in there, such as X-Forwarded-User.
        trusted_proxy: an address from which that header is believed; once for each address.
    """
    if concurrency < 1:
        raise WrongUse("--concurrency is 1 or more")
    try:
        from treadle.web import create_app, server
    except ModuleNotFoundError as error:
        raise WrongUse(f"`treadle serve` needs {error.name}: pip install 'treadle[web]'") from error
    workflow = load_app(app) if work or setting("app", app) is not None else None
    if workflow is not None:
        workflow.validate()
    url = store_url(store)
    door = _door(url, host, trusted_proxy_header, trusted_proxy)
    try:
        with server.listen(host, port) as listening:
            at = server.address(host, listening.getsockname()[1])
            link = door.write_link(f"http://{at}") or f"http://{at}/sign-in"

            def server_of(opened: StateStore) -> server.Server:
                made = server.Server(create_app(opened, workflow, door=door, hosts=[*server.names_of(at), *allow_host]))
                made.on_start = lambda: _say(link, show=open)
                return made

            asyncio.run(_serve(url, workflow, server_of, listening, concurrency if work else None))
    finally:
        door.forget_link()
    return 0


def _say(link: str, *, show: bool) -> None:
    from treadle.web.assets import HOW_TO_MEND, missing

    if names := missing():
        print(f"built without {', '.join(names)}, so pages cannot work as they should: {HOW_TO_MEND}", file=sys.stderr)
    print(f"serving {link}\nCtrl-C or SIGTERM ends it", file=sys.stderr, flush=True)
    if show:
        webbrowser.open(link)


def _door(url: str, host: str, header: str | None, peers: tuple[str, ...]) -> OwnDoor:
    """Who may come in; never nobody, and never everybody."""
    from treadle.web.door import OwnDoor, TrustedProxy
    from treadle.web.private import private_folder
    from treadle.web.server import is_loopback

    if bool(header) != bool(peers):
        raise WrongUse("--trusted-proxy-header and --trusted-proxy go together: which header, and from whom")
    proxy = TrustedProxy(header, peers) if header else None
    owner = who(None) if is_loopback(host) else None
    door = OwnDoor(private_folder(url), owner=owner, proxy=proxy)
    if owner is None and proxy is None and not door.users.all():
        raise WrongUse(
            f"others can reach {host}, and nobody is known by a token: `treadle user add NAME --role operator` first, "
            "or name a company login (--trusted-proxy-header, --trusted-proxy), or leave --host out"
        )
    return door


async def _serve(
    url: str,
    workflow: Workflow | None,
    server_of: Callable[[StateStore], Server],
    listening: socket.socket,
    concurrency: int | None,
) -> None:
    async with _opened(url, workflow) as store:
        serving = server_of(store)
        if concurrency is None or workflow is None:
            await serving.serve([listening])
        else:
            await _serve_and_work(serving, listening, Engine(workflow, store), concurrency)


async def _serve_and_work(serving: Server, listening: socket.socket, engine: Engine, concurrency: int) -> None:
    """Both until a signal; if the worker fails, the pages go too, with its error."""
    async with engine:
        serving.on_stop = lambda: engine.stop(now=engine.stopping)
        working = asyncio.create_task(engine.work(concurrency=concurrency))
        working.add_done_callback(lambda work: None if work.cancelled() or work.exception() is None else serving.stop())
        try:
            await serving.serve([listening])
        finally:
            engine.stop()
            await working


@asynccontextmanager
async def _opened(url: str, workflow: Workflow | None) -> AsyncIterator[StateStore]:
    """The store; a new one belongs to the workflow, another workflow's is refused."""
    async with existing_store(url) if workflow is None else open_store(url) as store:
        shape = await store.shape()
        if workflow is not None and shape is None:
            await store.bind(workflow.definition)
        elif workflow is not None and shape is not None and shape.workflow != workflow.name:
            raise WrongUse(f"the store {url} belongs to workflow {shape.workflow!r}, not {workflow.name!r}; name its own --store")
        yield store
