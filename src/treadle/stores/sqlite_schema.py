"""Open a SQLite file as a store: check it, bring its schema up to date, or refuse it untouched."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR
from typing import TypeVar

from treadle.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from treadle.stores.filesystem import refused_as_network
from treadle.stores.forks import INSTEAD, is_inherited
from treadle.stores.sqlite_migrating import check_version, migrate

T = TypeVar("T")

_PATIENCE = 30.0
"""Seconds to wait for another process that is in the way of reading, or opens the same file."""

_KINDS: dict[int, type[StoreError]] = {
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_CORRUPT: StoreCorrupt,
    sqlite3.SQLITE_NOTADB: StoreCorrupt,
    sqlite3.SQLITE_CANTOPEN: StoreUnavailable,
    sqlite3.SQLITE_READONLY: StoreUnavailable,
    sqlite3.SQLITE_IOERR: StoreUnavailable,
    sqlite3.SQLITE_BUSY: StoreUnavailable,
    sqlite3.SQLITE_LOCKED: StoreUnavailable,
    sqlite3.SQLITE_PROTOCOL: StoreUnavailable,
}

_HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL})
_PASSING = _HELD | {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_LOCKED}
"""Faults of a disk or a lock, which may be over a moment later."""


def is_held(error: sqlite3.Error) -> bool:
    """Whether another process has the lock."""
    return _code(error) in _HELD


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def waiting(act: Callable[[], T], seconds: float = _PATIENCE) -> T:
    """What ``act`` returns, which begins a transaction and may be done again if nothing came of it.

    A process that is stopped in the instant in which it takes its place in the log's index keeps all others from reading,
    and so from writing too. SQLite looks for ten seconds then, whatever its busy timeout, and gives up with SQLITE_PROTOCOL.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return act()
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_PROTOCOL or time.monotonic() >= until:
                raise
            time.sleep(0.01)


def mapped(error: sqlite3.Error, path: str) -> StoreError:
    """Our error for one of SQLite's."""
    code = _code(error)
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


@contextmanager
def opening(path: str) -> Iterator[None]:
    """``mapping_errors``; and what was no database from the beginning is told so."""
    with mapping_errors(path):
        try:
            yield
        except sqlite3.DatabaseError as error:
            if _code(error) == sqlite3.SQLITE_NOTADB:
                raise StoreCorrupt(f"{path} is no SQLite database; name another file for the store") from error
            raise


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
        _make_file(path)
    with opening(path):
        con = connect(path)
        try:
            waiting(lambda: _make_ready(con, path))
        except BaseException:
            con.close()
            raise
    return con


def _make_ready(con: sqlite3.Connection, path: str) -> None:
    check_version(con, path)
    if path != ":memory:":
        _use_wal(con)
    prepare(con)
    migrate(con, path)


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
            if not is_held(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _make_file(path: str) -> None:
    """There is a file, made now if need be."""
    try:
        check_file(path)
    except FileNotFoundError:
        try:
            # Only if it is new: see ``check_file``.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            raise StoreUnavailable(f"store {path} cannot be made: {error.strerror}") from error


def check_file(path: str) -> None:
    """Return if there may be a database; ``FileNotFoundError`` if there is nothing.

    The file is not opened for that. Where a process closes any handle of a file, POSIX takes all of its locks on that file
    away, those of SQLite's connections too: another process would then take itself for the last user, and remove the log
    that is still written to.
    """
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreUnavailable(f"store {path} cannot be opened: {error.strerror}") from error
    if is_inherited(found):
        raise StoreUnavailable(f"store {path} was open when this process was forked; {INSTEAD}")
    problem = errno.EISDIR if S_ISDIR(found.st_mode) else 0 if os.access(path, os.R_OK) else errno.EACCES
    if problem:
        raise StoreUnavailable(f"store {path} cannot be opened: {os.strerror(problem)}")
