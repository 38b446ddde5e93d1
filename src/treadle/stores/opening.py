"""A store by its address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from treadle.errors import StoreUnavailable
from treadle.store import StateStore

S = TypeVar("S", bound=StateStore)


class Opening(AbstractAsyncContextManager[S], Generic[S]):
    """A store that is about to be opened: ``await`` it, or ``async with`` it to have it closed as well."""

    def __init__(self, open_it: Callable[[], Awaitable[S]]) -> None:
        self._open = open_it
        self._store: S | None = None

    def __await__(self) -> Generator[Any, None, S]:
        return self._open().__await__()

    async def __aenter__(self) -> S:
        self._store = await self._open()
        return self._store

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._store is not None:
            await self._store.close()


def open_store(url: str | Path, *, read_only: bool = False) -> Opening[StateStore]:
    """The store at ``url``: a path or ``sqlite:///path`` (made if missing), or ``memory:``.

    With ``read_only`` a file is neither made nor changed, even where it could be.

    Example:
        .. code-block:: python

            async with open_store("papers.db") as store:
                ...

    Raises:
        StoreUnavailable: the address is of no kind that is known.
    """
    text = str(url)

    async def open_it() -> StateStore:
        if text == "memory:":
            from treadle.stores.memory import MemoryStateStore

            return MemoryStateStore()
        scheme, separator, rest = text.partition("://")
        if separator and scheme != "sqlite":
            raise StoreUnavailable(f"no store for addresses that begin with {scheme}://; use a path, sqlite:///path or memory:")
        from treadle.stores.sqlite import SqliteStateStore

        return await SqliteStateStore.open(rest.removeprefix("/") if separator else text, read_only=read_only)

    return Opening(open_it)
