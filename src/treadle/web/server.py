"""Serves an app at an address until told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI


async def serve(app: FastAPI, *, host: str, port: int, on_listening: Callable[[int], None]) -> None:
    """The app was served until SIGTERM or Ctrl-C; ``on_listening`` heard the port once it could be asked."""
    config = uvicorn.Config(app, host=host, port=port, log_level="warning", lifespan="off")
    await _Server(config, on_listening).serve()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_listening: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_listening(self.servers[0].sockets[0].getsockname()[1])
