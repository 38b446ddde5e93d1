"""What commands print, read as a person reads it: nothing too wide, nothing left to guess."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pexpect
import pytest

from treadle.cli.common import cells_wide, table
from treadle.state import ItemPhase, StageState
from treadle.status import lasted, overview
from treadle.store import Counts

APP = """
import asyncio
from pathlib import Path
from treadle import AwaitingReview, FanOut, RetryBudget, ReviewData, SubTask, Workflow

flow = Workflow("notes")


@flow.source
def scan(count: int = 6):
    for n in range(count):
        yield {"id": f"note {n}", "n": n}


@flow.stage(retry=RetryBudget(max_attempts=2))
async def read(item):
    if item["n"] == 3:
        raise ValueError("cannot read this\\nat all")
    return item["n"]


@flow.stage
async def ask(item, read):
    if read == 5:
        return AwaitingReview(ReviewData("keep it?"))


@flow.stage
async def parts(item):
    return FanOut([SubTask(f"p{n}") for n in range(30)])


@parts.subtask
async def part(item, subtask):
    if item["n"] == 2:
        raise ValueError("bad part")
    return 1
"""
SLOW = """
import asyncio, sys
from treadle import AwaitingReview, ReviewData, Workflow

flow = Workflow("slow")


@flow.source
def scan(count: int):
    for n in range(count):
        yield {"id": str(n), "n": n}


@flow.stage
async def one(item):
    if item["n"] == 1:
        raise ValueError("no")
    if item["n"] == 2:
        return AwaitingReview(ReviewData("well?"))
    if item["n"] >= 3:
        await asyncio.sleep(600)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store has seen one run."""
    folder = tmp_path_factory.mktemp("reading")
    (folder / "app.py").write_text(APP)
    assert call(folder, "run", "app.py").returncode == 1
    return folder


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("TREADLE_")}
    return subprocess.run(
        [sys.executable, "-m", "treadle.cli", *words], cwd=folder, capture_output=True, text=True, env=env, check=False
    )


def spawn(folder: Path, *words: str) -> pexpect.spawn[str]:
    return pexpect.spawn(
        sys.executable, ["-m", "treadle.cli", *words], cwd=str(folder), dimensions=(24, 80), timeout=30, encoding="utf-8"
    )


def test_the_table_of_all_items(folder: Path) -> None:
    assert call(folder, "status").stdout.splitlines() == [
        "6 items: 3 completed, 2 failed, 1 need a person",
        "stage  ✓ completed  ● need a person  × failed  · pending",
        "read             5                0         1          0",
        "ask              4                1         0          1",
        "parts            5                0         1          0",
    ]


def test_one_item_shows_times_tries_errors_and_subtasks(folder: Path) -> None:
    lines = call(folder, "status", "note 3").stdout.splitlines()
    assert lines[0] == "note 3: failed, 33 % of 3 stages"
    assert lines[1].startswith("  × read   failed         ")
    assert " ms, " in lines[1]
    assert lines[1].endswith("attempt 2; ValueError: cannot read this")
    assert lines[2] == "  · ask    pending"
    assert lines[3].endswith("30 of 30 subtasks")
    failed = call(folder, "status", "note 2").stdout
    assert failed.count("ValueError: bad part") == 20
    assert "      × p0  ValueError: bad part\n" in failed
    assert "and 10 more: treadle show 'note 2' parts" in failed
    asked = call(folder, "status", "note 5")
    assert "● ask    need a person  for " in asked.stdout
    assert asked.returncode == 4
    machine = json.loads(call(folder, "status", "note 3", "--format", "json").stdout)
    entry = machine["stages"][0]
    assert (
        datetime.fromisoformat(entry["updated_at"])
        >= datetime.fromisoformat(entry["started_at"])
        > datetime(2020, 1, 1, tzinfo=UTC)
    )


def test_a_store_without_items_says_how_to_add_some(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    assert call(tmp_path, "run", "app.py", "0").returncode == 0
    done = call(tmp_path, "status")
    assert (done.returncode, done.stdout.splitlines()[0][:26]) == (0, "no items yet in treadle.db")
    assert json.loads(call(tmp_path, "status", "--format", "json").stdout)["items"] == 0
    assert call(tmp_path, "items").stdout == "no such items\n"
    assert call(tmp_path, "review", "list").stdout == "nothing waits for a person\n"
    assert call(tmp_path, "retry", "--state", "failed").stdout == "nothing to try again: no item has failed\n"


def test_pages_name_the_command_of_the_next_one(folder: Path) -> None:
    seen, command = [], ["items", "--limit", "2", "--stage", "read", "--state", "completed"]
    while True:
        lines = call(folder, *command).stdout.splitlines()
        assert lines[0].split() == ["item", "stages", "stands", "changed"]
        seen += [line[:6] for line in lines[1:] if line.startswith("note")]
        if not lines[-1].startswith("more: treadle "):
            break
        import shlex

        command = shlex.split(lines[-1].removeprefix("more: treadle "))
    assert seen == ["note 0", "note 1", "note 2", "note 4", "note 5"]
    assert call(folder, "items", "--limit", "0").stderr == "--limit is 1 or more\n"
    assert "no stage 'nope'; stages are read, ask, parts" in call(folder, "items", "--stage", "nope").stderr


def test_a_dry_run_names_what_it_would_do_and_changes_nothing(folder: Path) -> None:
    done = call(folder, "retry", "--stage", "read", "--state", "failed", "--dry-run")
    assert done.stdout == "note 3 would be tried again\n"
    assert (
        call(folder, "retry", "--state", "failed", "--dry-run").stdout == "  × note 2\n  × note 3\n2 items would be tried again\n"
    )
    assert call(folder, "retry", "note 3", "--dry-run").stdout == "note 3 would be tried again\n"
    assert "only a failed stage can be tried again" in call(folder, "retry", "note 1", "--dry-run").stderr
    assert "no item 'nobody'" in call(folder, "retry", "nobody", "--dry-run").stderr
    assert "no stage 'nope'" in call(folder, "retry", "--stage", "nope", "--state", "failed").stderr
    assert json.loads(call(folder, "status", "--format", "json").stdout)["phases"]["failed"] == 2


def test_many_are_retried_and_cancelled_items_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    call(tmp_path, "run", "app.py")
    assert call(tmp_path, "cancel", "note 3", "--reason", "no use").stdout == "note 3: cancelled\n"
    assert "already cancelled" in call(tmp_path, "cancel", "note 3").stderr
    assert call(tmp_path, "retry", "--state", "failed").stdout == "note 2: pending again; `treadle run` goes on\n"
    phases = json.loads(call(tmp_path, "status", "--format", "json").stdout)["phases"]
    assert phases == {"completed": 3, "pending": 1, "awaiting_review": 1, "cancelled": 1}


def test_exports_hold_states_and_artefacts_of_fan_outs_too(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(call(folder, "export", "--format", "csv").stdout)))
    assert rows[2] == {"item": "note 2", "phase": "failed", "read": "completed", "ask": "completed", "parts": "failed"}
    lines = [json.loads(line) for line in call(folder, "export").stdout.splitlines()]
    assert lines[1]["artefacts"] == {"read": 1, "parts": {f"p{n}": 1 for n in range(30)}}
    assert lines[1]["item"] == {"id": "note 1", "n": 1}


def test_the_journal_is_followed_until_somebody_has_seen_enough(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    call(tmp_path, "run", "app.py")
    child = spawn(tmp_path, "events", "-f", "--item", "note 3")
    child.expect("note 3  item_added")
    child.expect("stage_failed read ValueError: cannot read this")
    assert call(tmp_path, "retry", "note 3").returncode == 0
    child.expect("note 3  stage_retried read")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in (child.before or "")


def test_a_reader_that_stops_reading_is_no_error(folder: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m treadle.cli events | head -1", shell=True, cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == "item_added"
    assert done.stderr == ""


def test_completion_knows_the_commands(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    done = subprocess.run(
        [sys.executable, "-m", "treadle.cli", "--install-completion", "--shell", "bash", "--output", str(script)],
        env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert {"status", "retry", "review"} <= set(script.read_text().replace('"', " ").replace("'", " ").split())


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal_shows_items_and_stages_and_stops_at_the_second_signal(tmp_path: Path, sign: signal.Signals) -> None:
    (tmp_path / "app.py").write_text(SLOW)
    child = spawn(tmp_path, "run", "app.py", "9")
    child.expect("items/s +[0-9]+ stages/s")
    child.expect("items  ✓ 1 of 9 done  × 1 failed  ● 1 need a person")
    child.expect("stages ✓ 1 of 9 done  × 1 failed  ● 1 need a person")
    child.kill(sign)
    child.expect("stopping when what runs has ended; once more stops at once")
    child.kill(sign)
    child.expect("9 items: 1 completed, 1 failed, 1 need a person, 6 pending")
    child.expect("run again to go on")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SLOW)
    code = "import sys; from treadle import progress; from treadle.cli import main; progress._LOOK = progress._LINE_EVERY = 0.01; main(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "app.py", "4"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = ""
    while "✓ 1 of 4 done  × 1 failed  ● 1 need a person; stages ✓ 1 of 4 done" not in line:
        line = process.stderr.readline()
        assert line
    assert "\x1b" not in line
    process.send_signal(signal.SIGTERM)
    while "stopping" not in line:
        line = process.stderr.readline()
        assert line
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert "4 items: 1 completed, 1 failed, 1 need a person, 1 pending" in out


def test_a_table_too_wide_for_its_terminal_shows_shapes_and_says_what_they_mean() -> None:
    every = dict.fromkeys(StageState, 1_234_567)
    text = overview(Counts({ItemPhase.PENDING: 7_407_402}, {"a_rather_long_name": every, "b": {}}), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[1].split() == ["stage", "✓", "…", "●", "×", "–", "·"]
    assert text.splitlines()[-1] == "✓ completed  … running  ● need a person  × failed  – skipped  · pending"
    assert overview(Counts({}, {}), 80) == "no items yet"
    assert overview(Counts({ItemPhase.COMPLETED: 1}, {}), 80) == "1 item: 1 completed"


def test_long_and_wide_cells_keep_every_column_in_sight() -> None:
    lines = table(
        ["item", "stands"], [["x" * 500, "failed"], ["文件" * 30, "failed"], ["\x1b[31m", "fine"]], width=40
    ).splitlines()
    assert max(map(cells_wide, lines)) <= 40
    assert all(line.rstrip().endswith(("failed", "stands", "fine")) for line in lines)
    assert "\x1b" not in "".join(lines)


def test_stretches_of_time() -> None:
    assert [lasted(s) for s in (0.0123, 1.25, 59.94, 61, 7_199, 90_000)] == [
        "12 ms",
        "1.2 s",
        "59.9 s",
        "1 min",
        "120 min",
        "25 h",
    ]
