"""Open a SQLite file as a store: check it, bring its schema up to date, or refuse it untouched."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from treadle.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from treadle.stores.filesystem import refused_as_network
from treadle.stores.sqlite_migrating import check_version, migrate

_PATIENCE = 30.0
"""Seconds to wait for another process that opens the same file."""

_HEADER = b"SQLite format 3\x00"
_KINDS: dict[int, type[StoreError]] = {
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_CORRUPT: StoreCorrupt,
    sqlite3.SQLITE_NOTADB: StoreCorrupt,
    sqlite3.SQLITE_CANTOPEN: StoreUnavailable,
    sqlite3.SQLITE_READONLY: StoreUnavailable,
    sqlite3.SQLITE_IOERR: StoreUnavailable,
    sqlite3.SQLITE_BUSY: StoreUnavailable,
    sqlite3.SQLITE_LOCKED: StoreUnavailable,
}


_PASSING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
"""Faults of a disk or a lock, which may be over a moment later."""


def mapped(error: sqlite3.Error, path: str) -> StoreError:
    """Our error for one of SQLite's."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == 0 and "decode" in str(error):
        code = sqlite3.SQLITE_CORRUPT
    if code == sqlite3.SQLITE_ERROR and str(error).startswith("no such"):
        # Our statements name only what there is: the description of the tables is damaged.
        code = sqlite3.SQLITE_CORRUPT
    told = _KINDS.get(code, StoreError)(f"store {path}: {error}")
    told.may_pass = code in _PASSING
    return told


@contextmanager
def mapping_errors(path: str) -> Iterator[None]:
    """SQLite's errors come out as ours, and so does what only a damaged file can cause."""
    try:
        yield
    except sqlite3.Error as error:
        raise mapped(error, path) from error
    except (UnicodeDecodeError, KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise StoreCorrupt(f"store {path}: something in it cannot be read ({type(error).__name__}: {error})") from error


def connect(path: str, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in which every transaction is explicit."""
    if path == ":memory:":
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    address = f"{Path(path).absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=30)


def open_file(path: str) -> sqlite3.Connection:
    """The writing connection of a store whose schema is current.

    Raises:
        StoreCorrupt: the file is no database, or not one of ours.
        SchemaTooNew: a later Treadle wrote it; not one byte of it has changed.
        StoreUnavailable: it cannot be opened.
    """
    if path != ":memory:":
        if reason := refused_as_network(path):
            raise StoreUnavailable(reason)
        _check_file(path)
    with mapping_errors(path):
        con = connect(path)
        try:
            check_version(con, path)
            if path != ":memory:":
                _use_wal(con)
            prepare(con)
            migrate(con, path)
        except BaseException:
            con.close()
            raise
    return con


def prepare(con: sqlite3.Connection) -> None:
    """What this connection commits, a power cut does not lose."""
    # No autocheckpoint: SQLite before 3.51.3 has a race between checkpoints and commits that only a checkpoint
    # holding the writer's lock avoids.
    con.execute("PRAGMA synchronous=FULL")
    con.execute("PRAGMA wal_autocheckpoint=0")
    con.execute("PRAGMA cache_size=-32768")


def _use_wal(con: sqlite3.Connection) -> None:
    """Turn the log on. SQLite gives up at once, whatever its busy timeout, while another process does the same."""
    until = time.monotonic() + _PATIENCE
    while con.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            con.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _check_file(path: str) -> None:
    """There is a file, made now if need be, and it is no other kind of file."""
    try:
        check_header(path)
    except FileNotFoundError:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError as error:
            raise StoreUnavailable(f"store {path} cannot be made: {error.strerror}") from error


def check_header(path: str) -> None:
    """Return if the file is empty or begins as a database does; ``FileNotFoundError`` if there is none."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(len(_HEADER))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreUnavailable(f"store {path} cannot be opened: {error.strerror}") from error
    if head and head != _HEADER:
        raise StoreCorrupt(f"{path} is no SQLite database; name another file for the store")
