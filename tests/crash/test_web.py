"""``kill -9`` of ``treadle serve`` while people decide: each decision that was answered is stored, and none is made twice."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.judge import decisions, faults, half_decided
from tests.crash.lab import LONG, Forked, Twist, sql, until
from treadle.web import Role
from treadle.web.private import private_folder
from treadle.web.users import Users

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(3600 if LONG else 300)]  # other processes are what is tested

APP = "from tests.crash import apps\nflow = apps.asking()\n"
KILLS = 150 if LONG else 3
A_LIFE = 12
"""Items that are decided between two kills, about."""
PEOPLE = ("ann", "bo", "cy")
LONGEST = 1.2
"""Seconds in which a server begins."""
SAID = {"approve": "approved by", "reject": "rejected by"}


class Answer(NamedTuple):
    """What the server said to a decision."""

    item: str
    who: str
    decision: str
    status: int
    detail: str


class Person:
    """Decides on all items, in an order of their own; asks again under the same key until there is an answer."""

    def __init__(self, name: str, address: str, token: str, answers: list[Answer]) -> None:
        self._name = name
        self._chance = random.Random(name)
        self._answers = answers
        self._client = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=20)

    def decide_all(self, items: Sequence[str]) -> None:
        with self._client:
            for item in self._chance.sample(items, len(items)):
                self._decide(item)

    def _decide(self, item: str) -> None:
        path = f"/api/v1/reviews/{item}%2Fwork"
        review = self._asked("GET", path).json()["review"]
        decision = self._chance.choice(["approve", "reject"])
        body = {"decision": decision, "revision": review["revision"], "digest": review["digest"]}
        if decision == "reject":
            body["reason"] = "no"
        # Some ask again even after an answer: it may be another server by then.
        for _ in range(2 if self._chance.random() < 0.3 else 1):
            answer = self._asked("POST", f"{path}/decide", json=body, headers={"Idempotency-Key": f"{self._name} {item}"})
            detail = answer.json()["detail"] if answer.content else ""
            self._answers.append(Answer(item, self._name, decision, answer.status_code, detail))

    def _asked(self, method: str, path: str, **more: object) -> httpx.Response:
        end = time.monotonic() + 30
        while True:
            try:
                return self._client.request(method, path, **more)  # type: ignore[arg-type]
            except httpx.TransportError:
                assert time.monotonic() < end, "the server is away for too long"
                time.sleep(0.01)


def served(bench: Bench, tally: Tally, kills: int, how: str, *twists: Twist) -> None:
    """Kill server after server while people decide, and look at what they were told."""
    folder = bench.folder()
    store, app = folder / "s.db", folder / "app.py"
    app.write_text(APP)
    items = [f"i{n}" for n in range(kills * A_LIFE)]
    bench.start(folder, "ask", store, len(items)).finish(60)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    users = Users(private_folder(str(store)))
    answers: list[Answer] = []
    people = [Person(name, f"http://127.0.0.1:{port}", users.add(name, Role.REVIEWER), answers) for name in PEOPLE]

    def start() -> Forked:
        words = ("serve", app, "--store", store, "--port", port, "--work")
        return bench.start(folder, how, folder / "said", *words, twists=twists)

    with ThreadPoolExecutor(len(people)) as pool:
        server = start()
        deciding = [pool.submit(person.decide_all, items) for person in people]
        for _ in range(kills):
            _let_decide(bench, answers, len(items))
            tally.case([] if server.kill() else [f"it ended: {server.errors.read_text()[-2000:]}"])
            server = start()
        for one in deciding:
            one.result()
        server.kill()
    bench.start(folder, "ask", store, len(items)).finish(60)
    tally.case(_untrue(store, answers, items), count=0)


def _let_decide(bench: Bench, answers: Sequence[Answer], items: int) -> None:
    """Until a moment by chance: of the server's beginning, or when so much has been answered."""
    if bench.chance.random() < 0.2:
        time.sleep(bench.chance.uniform(0, LONGEST))
        return
    goal = min(len(answers) + bench.chance.randrange(1, 3 * A_LIFE), items * len(PEOPLE))
    until(lambda: len(answers) >= goal, 30, every=0.0005)


def _untrue(store: Path, answers: Sequence[Answer], items: Sequence[str]) -> list[str]:
    """What people were told that is not so, and what is wrong with the store."""
    made, found = decisions(store), [*faults(store), *half_decided(store, "work")]
    for answer in answers:
        decision, who = made.get(answer.item, ("nothing", "nobody"))
        true = {204: (decision, who) == (answer.decision, answer.who), 409: f"{SAID.get(decision)} {who}" in answer.detail}
        if not true.get(answer.status):
            found.append(f"{answer}, and {decision} by {who} is stored")
    found += [f"{item} was never decided" for item in items if item not in made]
    stuck = sql(store, "SELECT key FROM items WHERE phase NOT IN (1, 2)")
    return found + [f"{row[0]} is stuck" for row in stuck]


@pytest.mark.promise("a decision that was answered survives kill -9 (treadle serve), and asking again under its key tells")
def test_decisions_over_the_web_survive(bench: Bench, tally: Tally) -> None:
    served(bench, tally, KILLS, "command")
    tally.check()


def test_the_lab_would_see_decisions_that_are_answered_early(bench: Bench, tally: Tally) -> None:
    served(bench, tally, 1, "called", ("decide_later",))
    assert tally.failures
