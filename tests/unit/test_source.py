"""A plain iterable is read in a thread: no further than is wanted, and no longer than anybody reads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from treadle.source import Source, open_source

LONG = 20.0


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "treadle-source"]


def counted(seen: list[int], count: int, error: BaseException | None = None) -> Iterator[int]:
    for number in range(count):
        seen.append(number)
        yield number
    if error is not None:
        raise error


async def all_of(source: Source, limit: int) -> list[int]:
    found: list[int] = []
    while not source.exhausted:
        found += await source.take(limit)
    return found


async def test_no_more_is_read_than_was_asked_for() -> None:
    seen: list[int] = []
    source = open_source(counted(seen, 100))
    for limit, until in ((1, 1), (5, 6), (2, 8)):
        assert len(await source.take(limit)) == limit
        assert len(seen) == until
    await source.close()


@pytest.mark.parametrize("count", [0, 1, 4, 9])
@pytest.mark.parametrize("error", [None, ValueError("no"), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
async def test_what_came_before_the_end_is_there_whatever_ended_it(count: int, error: BaseException | None) -> None:
    source = open_source(counted([], count, error))
    async with asyncio.timeout(LONG):
        assert await all_of(source, 4) == list(range(count))
    assert source.raised is error


def test_nothing_more_is_read_for_a_loop_that_was_closed() -> None:
    begun, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def items() -> Iterator[int]:
        begun.set()
        go_on.wait(LONG)
        yield from counted(seen, 100)

    async def read() -> None:
        taking = asyncio.ensure_future(open_source(items()).take(64))
        await asyncio.to_thread(begun.wait, LONG)
        taking.cancel()
        await asyncio.wait({taking})

    before = set(readers())
    asyncio.run(read())
    (reader,) = set(readers()) - before
    go_on.set()
    reader.join(LONG)
    assert not reader.is_alive()
    assert len(seen) <= 2
