"""An upgrade takes place as a whole or not at all, whoever is killed in it and however many begin it at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.lab import LONG, ROOT, Twist, sql, until

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(900 if LONG else 300)]  # other processes are what is tested

GOLDEN = ROOT / "tests/stores/golden/schema-1.sql"
STATUSES = "SELECT item_id, stage, state, error FROM stage_statuses ORDER BY 1, 2"
CHILDREN = "SELECT item_id, stage, subtask_name, state, error FROM subtask_statuses ORDER BY 1, 2, 3"


def old(folder: Path) -> Path:
    con = sqlite3.connect(folder / "s.db")
    con.executescript(GOLDEN.read_text())
    con.close()
    return folder / "s.db"


def content(path: Path) -> list[list[tuple[object, ...]]]:
    return [sql(path, STATUSES), sql(path, CHILDREN)]


def version(path: Path) -> int:
    return int(sql(path, "SELECT version FROM schema_version")[0][0])


def killed(bench: Bench, statement: int, *twists: Twist) -> tuple[bool, Sequence[str]]:
    """Whether the upgrade was killed before its statement of that number, and what went wrong."""
    folder = bench.folder()
    store = old(folder)
    before = content(store)
    process = bench.start(folder, "opened", store, twists=[("kill_at_statement", statement), *twists])
    until(lambda: process.code is not None)
    found = []
    try:
        half = (version(store), content(store))
        bench.start(folder, "opened", store).finish()
        if half[1] != before or content(store) != before:
            found.append(f"killed at statement {statement}: rows are lost")
    except (sqlite3.Error, AssertionError) as error:
        found.append(f"killed at statement {statement}: {error}")
    return process.code != 0, found


@pytest.mark.promise("an upgrade that is killed at any of its statements took place as a whole or not at all")
def test_an_upgrade_is_atomic(bench: Bench, tally: Tally) -> None:
    statement, alive = 1, True
    while alive:
        alive, found = killed(bench, statement)
        tally.case(found)
        statement += 1 if LONG else 8
    assert statement > 60
    tally.check()


def test_the_lab_would_see_an_upgrade_in_pieces(bench: Bench, tally: Tally) -> None:
    for statement in range(15, 60, 10):
        tally.case(killed(bench, statement, ("migrate_in_pieces",))[1])
    assert tally.failures


@pytest.mark.promise("8 processes that open an old file at once upgrade it once")
def test_many_open_an_old_file_at_once(bench: Bench, tally: Tally) -> None:
    for _ in range(100 if LONG else 4):
        folder = bench.folder()
        store = old(folder)
        before = content(store)
        for process in [bench.start(folder, "opened", store) for _ in range(8)]:
            process.finish()
        copy = Path(f"{store}.schema-1")
        fine = content(store) == before == content(copy) and version(copy) == 1 and copy.stat().st_mode & 0o77 == 0
        left = [file.name for file in folder.iterdir() if file.name.startswith(".")]
        tally.case([] if fine and not left else [f"something was lost or left: {left}"])
    tally.check()
