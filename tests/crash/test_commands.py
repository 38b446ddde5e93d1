"""``kill -9`` of the command line: of workers that it started, and of people's decisions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.judge import Witness, decisions, faults, half_decided
from tests.crash.lab import LONG, Forked, Twist, sql, until

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(3600 if LONG else 300)]  # other processes are what is tested

APP = """
from pathlib import Path
from tests.crash import apps

flow = apps.chain(apps.Upstream(Path({side!r})))

@flow.source
def source():
    return apps.ids({number})
"""
ITEMS = 1_000
KILLS, DECISIONS = (500, 1_000) if LONG else (10, 20)
LONGEST = {"command": 0.8, "called": 0.3}
"""Seconds in which a command begins, as a process of its own or forked from one that has imported most of it."""


def workers_killed(bench: Bench, tally: Tally, kills: int, how: str, *twists: Twist) -> None:
    """Kill ``treadle run`` and ``treadle work`` in turn, until there were so many kills or one of them did harm."""
    while tally.cases < kills and not tally.failures:
        folder = bench.folder()
        store, side, app, said = (folder / name for name in ("s.db", "side", "app.py", "said"))
        app.write_text(APP.format(side=str(side), number=ITEMS))
        bench.start(folder, "fill", store, 1).finish()

        def start(*words: str | Path) -> Forked:
            return bench.start(folder, how, said, *words, "--store", store, twists=twists)  # noqa: B023 - only called here

        while tally.cases < kills and _is_open(store):
            worker = start("work" if tally.cases % 2 else "run", app)
            bench.let_work(side, LONGEST[how])
            if worker.kill():
                tally.case()
            elif worker.code not in (0, 1) or "Traceback" in worker.errors.read_text():  # 1: the poison that we made
                tally.case([f"it ended with {worker.code}: {worker.errors.read_text()[-2000:]}"])
        # Who is killed three times is taken for poison; here it was us, and the first of these runs may be who finds that out.
        first = start("run", app)
        until(lambda: first.code is not None, 60)  # noqa: B023 - called here alone
        start("retry", "--state", "failed").finish()
        start("run", app).finish(60)
        found = faults(store, Witness(side), ended=True)
        tally.case(
            found if f"{ITEMS:,} completed" in said.read_text() else [*found, "the last run did not complete all"], count=0
        )


def _is_open(store: Path) -> bool:
    """Whether not all items are there yet, or one of them can still move."""
    return sql(store, "SELECT count(*) FROM items WHERE phase <> 0") != [(ITEMS,)]


@pytest.mark.promise("an acknowledged write survives kill -9 (treadle run, treadle work)")
def test_workers_of_the_command_line_lose_nothing(bench: Bench, tally: Tally) -> None:
    workers_killed(bench, tally, KILLS, "command")
    tally.check()


def test_the_lab_would_see_a_command_that_acknowledges_early(bench: Bench, tally: Tally) -> None:
    workers_killed(bench, tally, 15, "called", ("acknowledge_before_commit",))
    assert tally.failures


def decided(bench: Bench, store: Path, number: int, how: str, *twists: Twist) -> Sequence[str]:
    """What went wrong with the decision of one who was killed, and with that of the next one who asks."""
    folder = store.parent / f"decision{number}"
    folder.mkdir()
    item, word, done = f"i{number}", *(("approve", "approved"), ("reject", "rejected"))[number % 2]
    reason = ("no",) if word == "reject" else ()
    more = ("--reviewer", "ann", "--store", store)
    person = bench.start(folder, how, folder / "said", "review", word, item, "work", *reason, *more, twists=twists)
    if number % 4 < 2:
        time.sleep(bench.chance.uniform(0, LONGEST[how]))
    else:
        # As soon as it can be seen, which is before it is said.
        until(lambda: item in decisions(store) or person.code is not None, every=0)
    person.kill()
    made = decisions(store).get(item)
    found = [] if made in (None, (word, "ann")) else [f"{item} was decided as {made}"]
    if f"{item}: work {done} by ann" in _read(folder / "said") and made is None:
        found.append(f"the decision on {item} was confirmed, and is not stored")
    found += [fault for fault in half_decided(store, "work") if f" {item} " in fault]
    again = bench.start(folder, how, folder / "again", "review", "approve", item, "work", "--reviewer", "bo", "--store", store)
    until(lambda: again.code is not None, 30)
    told = again.errors.read_text()
    if (again.code, f"{done} by ann" in told) != ((0, False) if made is None else (2, True)):
        found.append(f"{item} was decided as {made}; who asked again was told ({again.code}): {told}")
    return found


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def people_killed(bench: Bench, tally: Tally, number: int, how: str, *twists: Twist) -> None:
    """So many decisions, each by a person who is killed in it."""
    folder = bench.folder()
    store = folder / "s.db"
    bench.start(folder, "ask", store, number).finish(60)
    tally.side_by_side(2, lambda n: decided(bench, store, n, how, *twists), range(number))
    bench.start(folder, "ask", store, number).finish(60)
    stuck = sql(store, "SELECT key FROM items WHERE phase NOT IN (1, 2)")
    tally.case([*faults(store), *half_decided(store, "work"), *(f"{row[0]} is stuck" for row in stuck)], count=0)


@pytest.mark.promise(
    "a decision that was confirmed survives kill -9 (treadle review), and one that was not is whole or not there"
)
def test_decisions_of_the_command_line_are_whole(bench: Bench, tally: Tally) -> None:
    people_killed(bench, tally, DECISIONS // 4, "command")
    people_killed(bench, tally, DECISIONS, "called")
    tally.check()


def test_the_lab_would_see_decisions_in_pieces(bench: Bench, tally: Tally) -> None:
    people_killed(bench, tally, 8, "called", ("decide_in_pieces",))
    assert tally.failures
