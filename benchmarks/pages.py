"""What open pages cost a running engine: ``python -m benchmarks pages [ITEMS]``.

W1 runs alone and beside a server whose pages are open, each in a browser of its own: each listens, and asks for what has changed.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.workloads import chain, durable
from treadle import open_store
from treadle.web import Role
from treadle.web.private import private_folder
from treadle.web.users import Users

PAGES = 50
ROUNDS = 3
_APART = 0.7
"""Seconds between two refreshes of a page."""
_PARTS = ("/parts/header?active=overview", "/parts/overview", "/parts/beside")


def pages(count: int) -> dict[str, float]:
    """Rates alone and watched, measured in turn, and what the server's process spent."""
    seen: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        for place in range(ROUNDS):
            alone, watched = (Path(name) / f"{kind}-{place}.db" for kind in ("alone", "watched"))
            for path in (alone, watched):
                asyncio.run(_bound(path))
            rate, spent = _rate(alone, count)
            seen["W1 alone, stages/s"].append(rate)
            seen["W1 alone, CPU of the engine, s"].append(spent)
            with _watched(watched) as server:
                before, began = _cpu(server), time.perf_counter()
                rate, spent = _rate(watched, count)
                busy = (_cpu(server) - before) / (time.perf_counter() - began)
            seen[f"W1 with {PAGES} pages open, stages/s"].append(rate)
            seen[f"W1 with {PAGES} pages open, CPU of the engine, s"].append(spent)
            seen["CPU of the server meanwhile, % of a core"].append(100 * busy)
    figures = {label: median(values) for label, values in seen.items()}
    figures["Pages cost the engine, % of its rate"] = 100 * (
        1 - figures[f"W1 with {PAGES} pages open, stages/s"] / figures["W1 alone, stages/s"]
    )
    return figures


async def _bound(path: Path) -> None:
    async with open_store(path) as store:
        await store.bind(chain().definition)


def _rate(path: Path, count: int) -> tuple[float, float]:
    """Stages a second, and seconds of CPU."""
    before = time.process_time()
    rate = 5 * count / asyncio.run(durable(chain(), path, count, 1000))
    return rate, time.process_time() - before


def _cpu(pid: int) -> float:
    """Seconds of CPU that the process has spent (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@contextmanager
def _watched(path: Path) -> Iterator[int]:
    """A server of the store with pages open; its pid."""
    token = Users(private_folder(str(path))).add("ann", Role.VIEWER)
    serve = [sys.executable, "-m", "treadle.cli", "serve", "--store", str(path), "--port", "0"]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        said = re.search(r"127\.0\.0\.1:(\d+)", server.stderr.readline())
        assert said is not None
        watch = [sys.executable, "-m", "benchmarks.pages", said[1], token]
        with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as browsers:
            assert browsers.stdout is not None
            assert browsers.stdout.readline() == "open\n"
            yield server.pid
            browsers.terminate()
        server.terminate()


async def _browse(port: int, token: str) -> None:
    opened = [asyncio.Event() for _ in range(PAGES)]
    async with asyncio.TaskGroup() as group:
        for one in opened:
            group.create_task(_page(port, token, one))
        for one in opened:
            await one.wait()
        print("open", flush=True)


async def _page(port: int, token: str, opened: asyncio.Event) -> None:
    """A page that listens, and asks for its parts as often as pages do."""
    asked_at = 0.0
    stream, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request(port, token, "/live"))
    parts = await asyncio.open_connection("127.0.0.1", port)
    while line := await stream.readline():
        opened.set()
        if line.startswith(b"event: changed") and time.monotonic() - asked_at > _APART:
            asked_at = time.monotonic()
            for path in _PARTS:
                parts[1].write(_request(port, token, path))
                head = await parts[0].readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                assert head.startswith(b"HTTP/1.1 200"), head
                assert length is not None
                await parts[0].readexactly(int(length[1]))


def _request(port: int, token: str, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


if __name__ == "__main__":
    asyncio.run(_browse(int(sys.argv[1]), sys.argv[2]))
