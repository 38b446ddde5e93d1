"""A definition that has changed: what is stale is told and done again when asked; nothing is stranded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.crash.lab import check_invariants, ran, sql, states, treadle
from treadle.changes import Plan, StaleStage
from treadle.cli.changing import _lines

OLD = """
from treadle import AwaitingReview, ReviewData, Workflow
flow = Workflow("change")

@flow.stage(version="1")
async def read(item):
    return 1

@flow.stage
async def judge(item, read):
    if item["id"] == "asked":
        return AwaitingReview(ReviewData("keep it?"))
    if item["id"] == "bad":
        raise ValueError("no")
    return 2

@flow.stage
async def send(item, judge):
    return 3

@flow.source
def items():
    return [{"id": name} for name in ("asked", "bad", "good", "fine")]
"""


class Shop:
    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / "s.db"
        self.write(OLD)
        assert self.call("run", self.app).returncode == 1

    @property
    def app(self) -> Path:
        return self.folder / "app.py"

    def write(self, text: str) -> None:
        self.app.write_text(text)

    def call(self, *words: str | Path):  # type: ignore[no-untyped-def]
        return ran(*treadle(*words, "--store", self.store))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_changed_version_is_told_and_done_again_only_when_asked(shop: Shop) -> None:
    assert "as the workflow would have it" in shop.call("plan", shop.app).stdout
    assert shop.call("review", "approve", "asked", "judge", "--reviewer", "ann").returncode == 0
    shop.write(OLD.replace('version="1"', 'version="2"'))
    said = json.loads(shop.call("plan", shop.app, "--format", "json").stdout)["stale"]
    assert (said["read"]["items"], said["read"]["versions"], said["judge"]["items"]) == (4, {"1": 4}, 4)
    assert said["judge"]["decisions"] == 1
    assert "! read: 4 items are stale (4 by version 1)" in shop.call("plan", shop.app).stdout
    shop.call("run", shop.app)
    assert {row[0] for row in sql(shop.store, "SELECT version FROM stages JOIN names ON id = stage WHERE name = 'read'")} == {"1"}
    done = shop.call("rerun", "--stale", "--app", shop.app, "--dry-run")
    assert "4 items would run again" in done.stdout
    assert set(states(shop.store, "read").values()) == {"completed"}
    assert shop.call("rerun", "--stale", "--app", shop.app).returncode == 0
    assert set(states(shop.store, "read").values()) == {"pending"}
    shop.call("run", shop.app)
    assert {row[0] for row in sql(shop.store, "SELECT version FROM stages JOIN names ON id = stage WHERE name = 'read'")} == {"2"}
    # What a person decided holds for the same content.
    assert states(shop.store, "send")["asked"] == "completed"
    assert "as the workflow would have it" in shop.call("plan", shop.app).stdout
    check_invariants(shop.store)


def test_a_renamed_stage_is_refused_until_it_is_said_what_became_of_it(shop: Shop) -> None:
    shop.write(OLD.replace("async def judge", "async def weigh").replace("send(item, judge)", "send(item, weigh)"))
    said = shop.call("plan", shop.app).stdout
    assert "+ weigh: new" in said
    assert "- judge: no more; 2 items wait in it: `treadle migrate --rename judge=NEW` or `--drop judge`" in said
    assert "~ send: waits for other stages" in said
    refused = shop.call("run", shop.app)
    assert refused.returncode == 3
    assert "`treadle migrate --rename OLD=NEW`" in refused.stderr
    assert shop.call("migrate", "--rename", "judge=weigh").returncode == 0
    assert states(shop.store, "weigh") == {"asked": "awaiting_review", "bad": "failed", "good": "completed", "fine": "completed"}
    assert shop.call("review", "approve", "asked", "weigh", "--reviewer", "ann").returncode == 0
    shop.call("run", shop.app)
    assert states(shop.store, "send") == {"asked": "completed", "good": "completed", "fine": "completed"}
    check_invariants(shop.store)


def test_one_item_and_one_decision_are_no_plurals() -> None:
    stale = StaleStage(items=1, versions={"1": 1}, decisions=1, seconds=2)
    removed, changed = _lines(Plan(removed={"judge": 1}, stale={"read": stale}))[:2]
    assert removed.startswith("- judge: no more; 1 item waits in it: ")
    assert changed == "! read: 1 item is stale (1 by version 1), 2.0 s of work; 1 decision may be asked again"


def test_items_that_wait_in_a_dropped_stage_go_on_without_it(shop: Shop) -> None:
    start, end = OLD.index("@flow.stage\nasync def judge"), OLD.index("@flow.stage\nasync def send")
    shop.write(OLD[:start] + OLD[end:].replace("send(item, judge)", "send(item, read)"))
    assert shop.call("run", shop.app).returncode == 3
    assert "2 items skip it" in shop.call("migrate", "--drop", "judge").stdout
    assert shop.call("run", shop.app).returncode == 0
    assert set(states(shop.store, "send").values()) == {"completed"}
    assert states(shop.store, "judge") == {"asked": "skipped", "bad": "skipped", "good": "completed", "fine": "completed"}
    assert shop.call("migrate", "--drop", "nope").returncode == 2
    assert shop.call("migrate").returncode == 2
    assert shop.call("migrate", "--rename", "judge").returncode == 2


def test_many_items_are_rerun_or_cancelled_by_a_filter(shop: Shop) -> None:
    refused = shop.call("rerun", "--stage", "judge", "--state", "completed", "--dry-run")
    assert refused.returncode == 1
    assert "send have built on" in refused.stdout
    done = shop.call("rerun", "--stage", "judge", "--state", "completed", "--prefix", "f", "--cascade", "--dry-run")
    assert (done.returncode, done.stdout.splitlines()) == (0, ["  fine", "1 item would run again"])
    assert states(shop.store, "judge")["fine"] == "completed"
    assert shop.call("rerun", "--stage", "judge", "--state", "completed", "--cascade").returncode == 0
    assert (states(shop.store, "judge")["fine"], states(shop.store, "send")["good"]) == ("pending", "pending")
    assert "2 items would move no more" in shop.call("cancel", "--stage", "judge", "--state", "pending", "--dry-run").stdout
    assert shop.call("cancel", "--stage", "judge", "--state", "pending", "--reason", "enough").returncode == 0
    assert sql(shop.store, "SELECT key FROM items WHERE phase = 4 ORDER BY key") == [("fine",), ("good",)]
    for words in (
        ("rerun",),
        ("rerun", "--stage", "judge"),
        ("cancel",),
        ("rerun", "x", "--stale"),
        ("rerun", "nobody", "judge", "--dry-run"),
    ):
        assert shop.call(*words).returncode == 2, words
    assert shop.call("cancel", "asked", "--dry-run").returncode == 0
    assert states(shop.store, "judge")["asked"] == "awaiting_review"
