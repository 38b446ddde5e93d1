"""Many rows in one statement: every row, in its order, however many there are."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from treadle.stores.sqlite_many import Many


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 95, 1_000])
def test_every_row_is_inserted_in_its_place(count: int) -> None:
    many = Many("INSERT INTO t (a, b)", "(?, nullif(?, 0))")
    rows = [(f"row {number}", number % 3) for number in range(count)]
    with closing(sqlite3.connect(":memory:")) as con:
        con.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER)")
        many.write(con, rows)
        assert con.execute("SELECT a, coalesce(b, 0) FROM t ORDER BY id").fetchall() == rows


def test_a_later_row_takes_the_place_of_an_earlier_one_in_the_same_statement() -> None:
    many = Many("INSERT INTO t", "(?,?)", " ON CONFLICT DO UPDATE SET b = excluded.b")
    with closing(sqlite3.connect(":memory:")) as con:
        con.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)")
        many.write(con, [(number % 5, number) for number in range(60)])
        assert con.execute("SELECT a, b FROM t ORDER BY a").fetchall() == [(key, 55 + key) for key in range(5)]
