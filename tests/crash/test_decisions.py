"""Decisions of several processes on one file: one winner each, the loser told who and what, nothing acknowledged lost.

``TREADLE_RACES`` sets how many races are run; without it 10,000 in the long version, else as many as fit in about 6 seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.bench import Tally
from tests.crash.lab import LONG
from treadle import Engine, Inbox, ReviewPolicy, Workflow, open_store

RACES = int(os.environ.get("TREADLE_RACES", "10000" if LONG else "0"))
SECONDS = 6.0
ROUND = 250
PEOPLE = ("ann", "bo", "cy", "di")
WON = {"Approve": "approved by {}", "Reject": "rejected by {}", "ApproveWithEdits": "approved with edits by {}"}

# Each reads where a round begins and decides on all of its items as fast as it can, in its own order; what it was
# told about each goes to its side log, which survives its death.
PERSON = """
import asyncio, json, os, random, sys
from treadle import Approve, ApproveWithEdits, Inbox, Reject, ReviewConflict, open_store

path, log, name = sys.argv[1:4]
witness = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
chance = random.Random(name)


async def decide(inbox, item):
    decision = chance.choice([Approve(), Reject("no"), ApproveWithEdits({"by": name})])
    told = None
    try:
        await inbox.decide(item, "work", decision, reviewer=name)
    except ReviewConflict as error:
        told = str(error)
    line = {"item": item, "who": name, "what": type(decision).__name__, "told": told}
    os.write(witness, (json.dumps(line) + "\\n").encode())


async def main():
    async with open_store(path) as store:
        inbox = Inbox(store)
        print("up", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            first, count = map(int, line.split())
            order = list(range(first, first + count))
            chance.shuffle(order)
            for at in range(0, count, 8):
                await asyncio.gather(*(decide(inbox, f"i{n}") for n in order[at : at + 8]))
            print("done", flush=True)


asyncio.run(main())
"""


def flow() -> Workflow:
    workflow = Workflow("races")

    @workflow.stage(review=ReviewPolicy.ALWAYS)
    async def work(item: dict[str, Any]) -> dict[str, Any]:
        return {"by": "machine"}

    @workflow.stage
    async def then(item: dict[str, Any], work: dict[str, Any]) -> str:
        made: str = work["by"]
        return made

    return workflow


async def asked(path: Path, first: int, count: int) -> None:
    async with open_store(path) as store, Engine(flow(), store) as engine:
        await engine.run([{"id": f"i{n}"} for n in range(first, first + count)])


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Any]:
    """Starts people, each a process of its own; none of them outlives the test."""
    script = tmp_path / "person.py"
    script.write_text(PERSON)
    started: list[subprocess.Popen[str]] = []

    def start(store: Path, name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(script), str(store), str(tmp_path / f"{name}.log"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for name in PEOPLE for line in (folder / f"{name}.log").read_text().splitlines()]


def stored(path: Path) -> dict[str, tuple[str, str, str | None]]:
    """Decision, reviewer and edit of each item; fails if one was decided twice."""
    con = sqlite3.connect(path)
    rows = con.execute(
        "SELECT i.key, r.decision, r.reviewer, r.edited, r.revision FROM reviews r JOIN items i ON i.id = r.item"
        " WHERE r.decision IS NOT NULL"
    ).fetchall()
    decided = con.execute(
        "SELECT i.key, count(*) FROM events e JOIN items i ON i.id = e.item WHERE e.kind = 10 GROUP BY 1"
    ).fetchall()
    assert con.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    con.close()
    assert all(count == 1 for _, count in decided), "an item was decided more than once"
    assert len(decided) == len(rows) == len({row[0] for row in rows})
    return {key: (decision, reviewer, edited) for key, decision, reviewer, edited, _ in rows}


@pytest.mark.promise("of four people who decide at once one wins, and the others are told who and what (races)")
@pytest.mark.may_block  # the test is a process among others
@pytest.mark.timeout(600 if RACES else 300)
def test_of_all_who_decide_at_once_one_wins_and_the_others_are_told(tmp_path: Path, person: Any, tally: Tally) -> None:
    path = tmp_path / "s.db"
    asyncio.run(asked(path, 0, ROUND))
    people = [person(path, name) for name in PEOPLE]
    began, races = time.monotonic(), 0
    while races < RACES if RACES else time.monotonic() - began < SECONDS:
        if races:
            asyncio.run(asked(path, races, ROUND))
        for process in people:
            process.stdin.write(f"{races} {ROUND}\n")
            process.stdin.flush()
        for process in people:
            assert process.stdout.readline() == "done\n"
        races += ROUND
    for process in people:
        process.stdin.close()
        assert process.wait() == 0
    words, truth = logged(tmp_path), stored(path)
    assert len(words) == races * len(PEOPLE)
    assert len(truth) == races
    winners = {word["item"]: word for word in words if word["told"] is None}
    assert sum(word["told"] is None for word in words) == len(winners) == races, "a race has not exactly one winner"
    for item, (decision, reviewer, edited) in truth.items():
        won = winners[item]
        assert (decision.replace("_", ""), reviewer) == (won["what"].lower(), won["who"])
        assert (edited is not None) == (won["what"] == "ApproveWithEdits")
    for word in words:
        if word["told"] is not None:
            won = winners[word["item"]]
            assert WON[won["what"]].format(won["who"]) in word["told"], word["told"]
    assert len(Counter(word["who"] for word in winners.values())) > 1, "nobody ever raced"
    tally.case(count=races)
    # What was decided is what the item goes on with.
    asyncio.run(asked(path, 0, 1))
    con = sqlite3.connect(path)
    seen = dict(con.execute("SELECT item_id, artefact FROM stage_statuses WHERE stage = 'then'").fetchall())
    con.close()
    for item, (decision, reviewer, _) in truth.items():
        expected = {"approve": '"machine"', "approve_with_edits": json.dumps(reviewer)}.get(decision)
        assert seen.get(item) == expected


@pytest.mark.promise("a decision that was acknowledged survives kill -9 (Inbox)")
@pytest.mark.may_block
@pytest.mark.timeout(300)
def test_an_acknowledged_decision_survives_a_kill(tmp_path: Path, person: Any, tally: Tally) -> None:
    path, chance = tmp_path / "s.db", random.Random(7)
    asyncio.run(asked(path, 0, 600))
    for name in PEOPLE:
        (tmp_path / f"{name}.log").touch()
    kills = 0
    for start in range(0, 600, 40):
        people = [person(path, name) for name in PEOPLE[:2]]
        for process in people:
            process.stdin.write(f"{start} 40\n")
            process.stdin.flush()
        goal = sum((tmp_path / f"{name}.log").stat().st_size for name in PEOPLE) + chance.randrange(100, 2_000)
        while sum((tmp_path / f"{name}.log").stat().st_size for name in PEOPLE) < goal and any(p.poll() is None for p in people):
            if all(is_done(process) for process in people):
                break
            time.sleep(0.0005)
        for process in people:
            kills += not is_done(process)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    assert kills > 10, "they were faster than their end"
    tally.case(count=kills)
    truth, acknowledged = stored(path), [word for word in logged(tmp_path) if word["told"] is None]
    assert len(acknowledged) > 50
    for word in acknowledged:
        decision, reviewer, _ = truth[word["item"]]
        assert (decision.replace("_", ""), reviewer) == (word["what"].lower(), word["who"])


def is_done(process: subprocess.Popen[str]) -> bool:
    return bool(select.select([process.stdout], [], [], 0)[0])


@pytest.mark.may_block
async def test_decisions_of_another_process_while_siblings_run_lose_nothing_and_are_heeded_at_once(
    tmp_path: Path, person: Any
) -> None:  # fmt: skip
    path, count = tmp_path / "s.db", 40
    let_go = asyncio.Event()
    went_on: dict[str, float] = {}
    workflow = Workflow("races")

    @workflow.stage(review=ReviewPolicy.ALWAYS)
    async def work(item: dict[str, Any]) -> dict[str, Any]:
        return {"by": "machine"}

    @workflow.stage
    async def beside(item: dict[str, Any]) -> int:
        await let_go.wait()
        return 1

    @workflow.stage
    async def then(item: dict[str, Any], work: dict[str, Any]) -> str:
        went_on[item["id"]] = time.monotonic()
        made: str = work["by"]
        return made

    @workflow.stage
    async def join(item: dict[str, Any], then: str, beside: int) -> str:
        return then

    async with open_store(path) as store, Engine(workflow, store) as engine:
        running = asyncio.create_task(engine.run([{"id": f"i{n}"} for n in range(count)], concurrency=count))
        async with asyncio.timeout(20):
            waiting = 0
            async for event in engine.events(follow=True):
                waiting += event.kind == "review_required"
                if waiting == count:
                    break
        process = await asyncio.to_thread(person, path, "ann")
        process.stdin.write(f"0 {count}\n")
        process.stdin.flush()
        assert await asyncio.to_thread(process.stdout.readline) == "done\n"
        decided = time.monotonic()
        words = [json.loads(line) for line in (tmp_path / "ann.log").read_text().splitlines()]
        assert all(word["told"] is None for word in words)
        expected = {word["item"] for word in words if word["what"] != "Reject"}
        async with asyncio.timeout(5):
            while set(went_on) != expected:  # noqa: ASYNC110 - what is waited for is how long it takes
                await asyncio.sleep(0.01)
        assert max(went_on.values()) - decided < 1
        assert not running.done()
        let_go.set()
        await running
        inbox = Inbox(store)
        for word in words:
            review = (await inbox.show(word["item"], "work")).review
            assert (review.reviewer, (review.decision or "").replace("_", "")) == ("ann", word["what"].lower())
            made = (await engine.status(word["item"]))["join"].state.value
            assert made == ("pending" if word["what"] == "Reject" else "completed")
