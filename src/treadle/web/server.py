"""Serves an app at an address until told to stop."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from treadle.web.access import AccessError
from treadle.web.guard import LOCAL_NAMES
from treadle.web.live import Live

_GRACE = 5
"""Seconds that answers under way have to end."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        AccessError: it cannot; says why, and what to give instead.
    """
    if not 0 <= port < 1 << 16:
        raise AccessError(f"cannot listen at port {port}: ports go from 1 to 65535; --port 0 takes a free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        is_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
        reason = os.strerror(error.errno) if is_port and error.errno else error
        hint = "choose another with --port, or --port 0 for a free one" if is_port else "give another --host"
        raise AccessError(f"cannot listen at {host}:{port}: {reason}; {hint}") from error


def address(host: str, port: int) -> str:
    """Host and port as they stand in an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def names_of(at: str) -> list[str]:
    """What may stand in the ``Host`` header of requests to that address; no browser says the port that goes without saying."""
    host, _, port = at.rpartition(":")
    names = sorted({*LOCAL_NAMES, host})
    return [f"{name}:{port}" for name in names] + (names if port == "80" else [])


class Server(uvicorn.Server):
    """Serves an app until SIGTERM or Ctrl-C: asked once it stops in good order, asked twice at once."""

    on_start: Callable[[], None] = staticmethod(lambda: None)
    """Called once it can be asked, and told to stop."""
    on_stop: Callable[[], None] = staticmethod(lambda: None)
    """Called each time it is asked to stop."""

    def __init__(self, app: FastAPI) -> None:
        config = uvicorn.Config(
            app, log_level="warning", lifespan="off", proxy_headers=False, server_header=False, timeout_graceful_shutdown=_GRACE, ws="none"
        )  # fmt: skip
        super().__init__(config)
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        self._asked = 0
        self._live: Live = app.state.live

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_start()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """A signal ends the serving and nothing else: raised again, it would end the worker beside it too early."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Signals are for whoever has that one.
            return
        loop = asyncio.get_running_loop()

        def stop(_number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.stop)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Take no more requests, and end."""
        self._asked += 1
        self.should_exit = True
        if self._asked > 1:
            self.force_exit = True
        self._live.close()
        self.on_stop()


def _is_news(record: logging.LogRecord) -> bool:
    """Streams that are cut when the server stops are no errors."""
    return "timeout graceful shutdown exceeded" not in record.getMessage()
