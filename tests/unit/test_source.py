"""A plain iterable is read in a thread: no further than is wanted, and no longer than anybody reads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from treadle import source as source_module
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


async def test_what_was_asked_for_is_taken_as_soon_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "_PATIENCE", 10 * LONG)
    go_on = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        go_on.wait(LONG)
        yield from (1, 2)

    source = open_source(items())
    async with asyncio.timeout(LONG):
        asyncio.get_running_loop().call_later(0.02, go_on.set)
        assert await source.take(2) == [0, 1]
        assert await source.take(5) == [2]
    assert source.exhausted


async def test_nothing_more_is_read_after_close() -> None:
    seen: list[int] = []
    inside, go_on = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        inside.set()
        go_on.wait(LONG)
        yield from counted(seen, 100)

    before = set(readers())
    source = open_source(items())
    (reader,) = set(readers()) - before
    taking = asyncio.ensure_future(source.take(64))
    await asyncio.to_thread(inside.wait, LONG)
    taking.cancel()
    await asyncio.wait({taking})
    await source.close()
    go_on.set()
    await asyncio.to_thread(reader.join, LONG)
    assert not reader.is_alive()
    assert seen == [0]


async def test_an_iterator_needs_nothing_but_a_next_one() -> None:
    class Rows:
        def __init__(self) -> None:
            self.left = 3
            self.asked = 0

        def __iter__(self) -> Any:
            self.asked += 1
            return Cursor(self)

    class Cursor:
        def __init__(self, rows: Rows) -> None:
            self.rows = rows

        def __next__(self) -> int:
            if not self.rows.left:
                raise StopIteration
            self.rows.left -= 1
            return self.rows.left

    rows = Rows()
    async with asyncio.timeout(LONG):
        assert await all_of(open_source(rows), 2) == [2, 1, 0]
    assert rows.asked == 1


async def test_what_cannot_be_read_one_by_one_is_named() -> None:
    none: Any = 5
    with pytest.raises(TypeError, match="something iterable, which int is not"):
        open_source(none)


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
