"""Bring the schema of a SQLite store up to date: numbered steps, in one transaction."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from treadle.clock import to_us
from treadle.durable_files import sync
from treadle.errors import SchemaTooNew, StoreCorrupt
from treadle.stores.sqlite_locks import changes_by_others

VERSION = 8
STATES = ("pending", "running", "completed", "failed", "awaiting_review", "skipped")
"""Stored as their places here."""

_MAJOR = frozenset({1})
"""Versions whose tables the next step takes apart: a copy of the file is kept before."""


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


def check_version(con: sqlite3.Connection, path: str) -> int:
    """``stored_version``, if this Treadle knows it; raises ``SchemaTooNew``."""
    version = stored_version(con, path)
    if version > VERSION:
        raise SchemaTooNew(f"store {path} has schema {version}, this Treadle knows up to {VERSION}; upgrade Treadle")
    return version


def migrate(con: sqlite3.Connection, path: str) -> None:
    """The schema is current; before a major step a copy of the file was put beside it, as ``FILE.schema-1``.

    Other processes may do the same at the same time: one of them does it, and the others find it done.
    """
    while True:
        # Before the version is read, so that nobody can upgrade the file between the two.
        before = changes_by_others(con)
        if (version := check_version(con, path)) == VERSION:
            return
        if version in _MAJOR:
            _keep_copy(con, path, version)
        con.execute("BEGIN IMMEDIATE")
        try:
            # Whatever somebody wrote since is not in the copy; perhaps it was the upgrade itself.
            if changes_by_others(con) == before:
                _step(con, version)
                con.execute("COMMIT")
            else:
                con.execute("ROLLBACK")
        except BaseException:
            if con.in_transaction:
                con.execute("ROLLBACK")
            raise


def _keep_copy(con: sqlite3.Connection, path: str, version: int) -> None:
    """A copy from before the upgrade is on the disk, if the file is still as it was before."""
    target = Path(f"{path}.schema-{version}")
    handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    os.close(handle)
    try:
        con.execute("VACUUM INTO ?", (name,))
        copy = sqlite3.connect(name)
        try:
            is_older = stored_version(copy, name) == version
        finally:
            copy.close()
        if is_older:
            sync(Path(name))
            Path(name).replace(target)
            sync(target.parent)
    finally:
        Path(name).unlink(missing_ok=True)


def _step(con: sqlite3.Connection, version: int) -> None:
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
