"""Open a SQLite store only to read it: nothing is made, upgraded or written."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any, NoReturn

from treadle.errors import StoreUnavailable
from treadle.stores.filesystem import is_read_only
from treadle.stores.sqlite_migrating import VERSION, check_version
from treadle.stores.sqlite_schema import check_file, opening, waiting


class NoWriter:
    """Stands where the writer would, and refuses."""

    def __init__(self, path: str) -> None:
        self._path = path

    def act(self, _act: Any) -> asyncio.Future[Any]:
        self._refuse()

    def change(self, _change: Any) -> asyncio.Future[Any]:
        self._refuse()

    def changes(self, _changes: Any) -> asyncio.Future[Any]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StoreUnavailable(f"store {self._path} was opened for reading only; open it without read_only to change it")

    def end(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing waits to be written."""


def open_for_reading(path: str) -> sqlite3.Connection:
    """A connection that cannot write, to a store of the current schema.

    Raises:
        StoreUnavailable: it is not there or cannot be read; or it has an older schema, and must be upgraded first.
        SchemaTooNew, StoreCorrupt: as when it is opened for writing.
    """
    try:
        check_file(path)
    except FileNotFoundError:
        raise StoreUnavailable(f"no store at {path}") from None
    with opening(path):
        return waiting(lambda: _checked(path))


def _checked(path: str) -> sqlite3.Connection:
    con = _connected(path)
    try:
        if (version := check_version(con, path)) < VERSION:
            raise StoreUnavailable(
                f"store {path} has schema {version} and must be upgraded to {VERSION} first; open it once for writing,"
                " for instance with `treadle work` or `treadle resume`, or a copy of it"
            )
    except BaseException:
        con.close()
        raise
    return con


def _connected(path: str) -> sqlite3.Connection:
    address = f"{Path(path).absolute().as_uri()}?mode=ro"
    con = _connection(address)
    try:
        con.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        con.close()
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        return _unchanging(path, address, error)
    return con


def _unchanging(path: str, address: str, error: sqlite3.Error) -> sqlite3.Connection:
    """Where not even the log's index can be made: the file as it is, if it is whole and nobody can change it."""
    file, wal = Path(path), Path(f"{path}-wal")
    if not is_read_only(file):
        raise StoreUnavailable(f"store {path}: {error}; its folder must be writable while others may write to it") from error
    if wal.exists() and wal.stat().st_size:
        raise StoreUnavailable(
            f"store {path} lies on a read-only file system, and its log {wal.name} holds what is not in the file yet;"
            " copy both to a place that can be written, and read it there"
        ) from error
    return _connection(f"{address}&immutable=1")


def _connection(address: str) -> sqlite3.Connection:
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
