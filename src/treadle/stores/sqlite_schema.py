"""Open a SQLite file as a store: check it, bring its schema up to date, or refuse it untouched."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from treadle.clock import to_us
from treadle.errors import SchemaTooNew, StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from treadle.stores.filesystem import refused_as_network

VERSION = 6
STATES = ("pending", "running", "completed", "failed", "awaiting_review", "skipped")
"""Stored as their places here."""

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
    except (UnicodeDecodeError, KeyError, IndexError, TypeError, ValueError) as error:
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
            version = stored_version(con, path)
            if version > VERSION:
                raise SchemaTooNew(f"store {path} has schema {version}, this Treadle knows up to {VERSION}; upgrade Treadle")
            if path != ":memory:":
                _use_wal(con)
            prepare(con)
            if version < VERSION:
                _migrate(con, path)
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


def stored_version(con: sqlite3.Connection, path: str) -> int:
    """The version of the schema in the file; 0 if it is empty."""
    tables = {row[0] for row in con.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")}
    if not tables:
        return 0
    if "schema_version" not in tables:
        raise StoreCorrupt(
            f"{path} is a database of something else (it has the tables {', '.join(sorted(tables)[:5])}); name another file"
        )
    row = con.execute("SELECT version FROM schema_version").fetchone()
    if row is None or not isinstance(row[0], int):
        raise StoreCorrupt(f"store {path}: table schema_version holds no version")
    return row[0]


def _migrate(con: sqlite3.Connection, path: str) -> None:
    """Every step up to the current version, in one transaction."""
    con.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster while this one waited for the lock.
        version = stored_version(con, path)
        if version == 1:
            con.execute("ALTER TABLE stage_statuses RENAME TO old_stages")
            con.execute("ALTER TABLE subtask_statuses RENAME TO old_subtasks")
            con.execute("DROP INDEX IF EXISTS idx_stage_state")
        steps = {int(file.name[:4]): file for file in files("treadle.stores").joinpath("migrations").iterdir()}
        for number in sorted(steps):
            if number > version:
                _run(con, steps[number].read_text())
        if version == 1:
            _carry_over(con)
        if version == 0:
            con.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        con.execute("DELETE FROM schema_version")
        con.execute("INSERT INTO schema_version (version) VALUES (?)", (VERSION,))
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise


def _run(con: sqlite3.Connection, script: str) -> None:
    """Like ``executescript``, which would commit the transaction first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            con.execute(statement)
            statement = ""


def _carry_over(con: sqlite3.Connection) -> None:
    """Statuses of version 1. What cannot be read stays as it is: reading it will name the row."""
    con.execute(
        "INSERT INTO items (key, added) SELECT item_id, 0 FROM"
        " (SELECT item_id FROM old_stages UNION SELECT item_id FROM old_subtasks) ORDER BY item_id"
    )
    con.execute(
        "INSERT INTO names (name) SELECT stage FROM (SELECT stage FROM old_stages UNION SELECT stage FROM old_subtasks) ORDER BY stage"
    )
    con.create_function("treadle_state", 1, lambda text: STATES.index(text) if text in STATES else text, deterministic=True)
    con.create_function("treadle_time", 1, _time, deterministic=True)
    con.execute(
        "INSERT INTO stages (item, stage, state, attempt, updated, error, review, spent, interruptions, fan_out)"
        " SELECT i.id, n.id, treadle_state(o.state), 0, treadle_time(o.updated_at), o.error, o.review_data, 0, 0,"
        " EXISTS (SELECT 1 FROM old_subtasks c WHERE c.item_id = o.item_id AND c.stage = o.stage)"
        " FROM old_stages o JOIN items i ON i.key = o.item_id JOIN names n ON n.name = o.stage"
    )
    con.execute(
        "INSERT INTO subtasks (item, stage, seq, name, state, attempt, updated, error, spent, interruptions)"
        " SELECT i.id, n.id, row_number() OVER (PARTITION BY i.id, n.id ORDER BY o.rowid) - 1, o.subtask_name, treadle_state(o.state),"
        " 0, treadle_time(o.updated_at), o.error, 0, 0"
        " FROM old_subtasks o JOIN items i ON i.key = o.item_id JOIN names n ON n.name = o.stage"
    )
    con.execute(
        "INSERT INTO reviews (item, stage, revision, asked_by, attempt, opened, question, digest)"
        " SELECT item, stage, 1, 'stage', 0, updated, review, '' FROM stages"
        " WHERE state = 4 AND review IS NOT NULL AND typeof(updated) = 'integer'"
    )
    con.execute("DROP TABLE old_stages")
    con.execute("DROP TABLE old_subtasks")


def _time(text: str) -> int | str:
    try:
        return to_us(datetime.fromisoformat(text))
    except ValueError:
        return text
