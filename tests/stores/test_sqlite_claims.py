"""Claims that were found to hold are not looked up again, until somebody may have taken one away."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from treadle import open_store
from treadle.clock import now_us
from treadle.errors import LeaseLost
from treadle.state import ItemState, Transition
from treadle.stores.sqlite import SqliteStateStore
from treadle.stores.sqlite_claims import Claims
from treadle.stores.undo import Undo
from treadle.testing.contract_acts import ME, held


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "items.db"
    with closing(sqlite3.connect(path)) as con:
        con.execute("PRAGMA journal_mode=WAL")
        con.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, worker INTEGER, fence INTEGER)")
        con.executemany("INSERT INTO items VALUES (?, 1, 7)", [(1,), (2,), (3,)])
        con.commit()
    return path


@pytest.fixture
def con(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as con:
        yield con


class Asked:
    """Which statements ran on a connection."""

    def __init__(self, con: sqlite3.Connection) -> None:
        self.lookups = 0
        con.set_trace_callback(self._see)

    def _see(self, statement: str) -> None:
        self.lookups += "FROM items" in statement


def changes(*keys: int, fence: int = 7) -> list[tuple[ItemState, Transition]]:
    return [(ItemState(f"item {key}", "{}", key=key, fence=fence), Transition(0)) for key in keys]


def hold(claims: Claims, con: sqlite3.Connection, *keys: int, fence: int = 7) -> bool:
    """Asked in a transaction that takes place."""
    con.execute("BEGIN IMMEDIATE")
    answer = claims.all_hold(con, changes(*keys, fence=fence))
    con.execute("COMMIT")
    return answer


def test_what_was_found_to_hold_is_not_looked_up_again(con: sqlite3.Connection) -> None:
    claims, asked = Claims(Undo()), Asked(con)
    assert hold(claims, con, 1, 2)
    assert hold(claims, con, 2)
    assert hold(claims, con, 1, 2)
    assert asked.lookups == 1
    assert hold(claims, con, 1, 3)
    assert asked.lookups == 2


def test_a_write_of_somebody_else_may_have_taken_a_claim(path: Path, con: sqlite3.Connection) -> None:
    claims = Claims(Undo())
    assert hold(claims, con, 1, 2)
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE items SET worker = NULL, fence = 8 WHERE id = 2")
        other.commit()
    assert not hold(claims, con, 1, 2)
    assert hold(claims, con, 1)


def test_another_handle_in_place_of_a_broken_one_knows_nothing(path: Path, con: sqlite3.Connection) -> None:
    claims = Claims(Undo())
    assert hold(claims, con, 1)
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE items SET fence = 8 WHERE id = 1")
        other.commit()
    with closing(sqlite3.connect(path, isolation_level=None)) as new:
        assert not hold(claims, new, 1)


def test_an_act_here_may_take_a_claim(con: sqlite3.Connection) -> None:
    claims = Claims(Undo())
    assert hold(claims, con, 1)
    claims.forget()
    con.execute("UPDATE items SET fence = 8 WHERE id = 1")
    assert not hold(claims, con, 1)


def test_what_was_given_back_holds_no_more(con: sqlite3.Connection) -> None:
    claims = Claims(Undo())
    assert hold(claims, con, 1)
    claims.give_back([1])
    con.execute("UPDATE items SET worker = NULL WHERE id = 1")
    assert not hold(claims, con, 1)
    claims.give_back([1])


def test_a_transaction_that_took_no_place_taught_nothing(con: sqlite3.Connection) -> None:
    undo = Undo()
    claims, asked = Claims(undo), Asked(con)
    con.execute("BEGIN IMMEDIATE")
    con.execute("UPDATE items SET worker = 5, fence = 8 WHERE id = 1")
    assert claims.all_hold(con, changes(1, fence=8))
    con.execute("ROLLBACK")
    undo.undo()
    assert not hold(claims, con, 1, fence=8)
    assert asked.lookups == 2


def test_what_a_transaction_gave_back_that_took_no_place_still_holds(con: sqlite3.Connection) -> None:
    undo = Undo()
    claims = Claims(undo)
    assert hold(claims, con, 1)
    undo.keep()
    claims.give_back([1])
    undo.undo()
    assert hold(claims, con, 1)


def test_what_was_forgotten_before_it_was_undone_is_looked_up(con: sqlite3.Connection) -> None:
    undo = Undo()
    claims = Claims(undo)
    con.execute("BEGIN IMMEDIATE")
    assert claims.all_hold(con, changes(1, 2))
    claims.forget()
    assert claims.all_hold(con, changes(1))
    con.execute("ROLLBACK")
    undo.undo()
    assert hold(claims, con, 1, 2)


@pytest.mark.parametrize("fence", [6, 8])
def test_the_claim_of_another_time_does_not_hold(con: sqlite3.Connection, fence: int) -> None:
    claims = Claims(Undo())
    assert hold(claims, con, 1)
    assert not hold(claims, con, 1, fence=fence)


def test_one_item_twice_has_to_be_looked_at(con: sqlite3.Connection) -> None:
    claims = Claims(Undo())
    assert hold(claims, con, 1)
    con.execute("BEGIN IMMEDIATE")
    assert not claims.all_hold(con, changes(1) + changes(1))
    con.execute("COMMIT")


async def test_what_a_worker_has_just_claimed_is_not_looked_up(tmp_path: Path) -> None:
    async with SqliteStateStore.open(tmp_path / "s.db") as store:
        first, second = await held(store, "a", "b")
        asked = Asked(store._writer._con)  # type: ignore[union-attr]
        await store.commit(first, Transition(now_us()))
        assert await store.commit_all([(first, Transition(now_us())), (second, Transition(now_us()))]) == [None, None]
        assert asked.lookups == 0


async def test_who_is_taken_for_dead_in_the_same_process_has_lost_what_it_held(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.db") as store:
        (state,) = await held(store, "a")
        dead, other = (await store.workers())[0].number, await store.enlist(ME)
        await store.commit(state, Transition(now_us()))
        await store.claim(other, 0, now_us(), is_dead=lambda row: row.number == dead)
        with pytest.raises(LeaseLost):
            await store.commit(state, Transition(now_us()))
