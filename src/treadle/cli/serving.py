"""The command that serves the web."""

from __future__ import annotations

import asyncio
import sys

from treadle.cli.common import WrongUse, load_app, setting, store_url
from treadle.stores.opening import open_store


def serve(app: str | None = None, *, store: str | None = None, host: str = "127.0.0.1", port: int = 8765) -> int:
    """Serve pages and API of a store until told to stop.

    Args:
        app: file.py:name, module:name, or a file with one workflow; without one, what the store knows must do.
        store: the store's path or address.
        host: the address to listen at.
        port: the port to listen at; 0 takes a free one.
    """
    try:
        from treadle.web import create_app, server
    except ModuleNotFoundError as error:
        raise WrongUse(f"`treadle serve` needs {error.name}: pip install 'treadle[web]'") from error
    workflow = load_app(app) if setting("app", app) is not None else None
    if workflow is not None:
        workflow.validate()

    async def at_it() -> None:
        async with open_store(store_url(store)) as opened:
            if workflow is not None:
                await opened.bind(workflow.definition)
            await server.serve(create_app(opened, workflow), host=host, port=port, on_listening=lambda at: _say(host, at))

    asyncio.run(at_it())
    return 0


def _say(host: str, port: int) -> None:
    print(f"serving http://{host}:{port}/", file=sys.stderr, flush=True)
