"""Bad input as a user meets it: a real process, one line that says what to do, and the next run goes on."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAD = """
import asyncio, os, sys, threading, time
from treadle import Workflow

flow = Workflow("bad")


@flow.source
def scan(count: int = 3):
    for n in range(count):
        yield {"id": str(n), "n": n}

"""
FINE = HEAD + "\n@flow.stage\nasync def body(item):\n    return item['n']\n"


def call(folder: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("TREADLE_")}
    return subprocess.run(
        [sys.executable, "-m", "treadle.cli", *words],
        cwd=folder, capture_output=True, text=True, env=env, check=False, timeout=50, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("app", "text", "says"),
    [
        ("nofile.py", None, "no file nofile.py; APP is file.py:name or module:name"),
        ("nomodule:flow", None, "nomodule:flow cannot be loaded: ModuleNotFoundError: No module named 'nomodule'"),
        ("app.py", "def (", "app.py cannot be loaded: SyntaxError"),
        ("app.py", "1 / 0", "app.py cannot be loaded: ZeroDivisionError"),
        ("app.py", "import sys; sys.exit(3)", "app.py cannot be loaded: SystemExit: 3"),
        ("app.py", "x = 1", "app.py has 0 workflows (none); name one as app.py:NAME"),
        ("app.py", "from treadle import Workflow\na, b = Workflow('a'), Workflow('b')", "app.py has 2 workflows (a, b)"),
        ("app.py:nope", FINE, "app.py has no workflow 'nope'; it has flow"),
        ("app.py:sys", FINE, "app.py has no workflow 'sys'; it has flow"),
        ("app.py", "from treadle import Workflow\na = Workflow('a')", "it has no stages"),
    ],
)
def test_a_wrong_app(tmp_path: Path, app: str, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "app.py").write_text(text)
    done = call(tmp_path, "run", app)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "treadle.db").exists()


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        ("def scan():\n    raise OSError('no network')", 1, "the source scan raised OSError: no network; nothing was added"),
        ("def scan():\n    return None", 2, "the source scan returned a NoneType; it must return or yield items"),
        (
            "def scan():\n    yield {'id': 'a'}\n    raise OSError('gone')",
            1,
            "raised OSError: gone (after 1 item, which is stored)",
        ),
        ("def scan():\n    yield {'id': 'a'}\n    yield {'name': 'b'}", 1, "an item has no id: {'name': 'b'}"),
        (
            "def scan():\n    yield {'id': 'a'}\n    yield {'id': 'b\\n'}",
            1,
            "cannot be an item's id: it holds the control character",
        ),
        ("def scan():\n    yield {'id': 'a'}\n    yield {'id': 'a', 'n': 2}", 1, "item 'a' is already stored with other content"),
    ],
)
def test_a_bad_source(tmp_path: Path, source: str, code: int, says: str) -> None:
    head, _, _ = HEAD.partition("@flow.source")
    (tmp_path / "app.py").write_text(f"{head}@flow.source\n{source}\n\n@flow.stage\nasync def body(item):\n    return 1\n")
    done = call(tmp_path, "run", "app.py")
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert says in done.stderr
    if "yield" in source:
        assert "1 item: 1 completed" in call(tmp_path, "status").stdout


@pytest.mark.parametrize(
    "words",
    [("status",), ("items",), ("show", "x"), ("events",), ("retry", "x"), ("cancel", "x"), ("export",), ("doctor",),
     ("review", "list"), ("review", "approve", "x", "body"), ("run", "app.py")],
)  # fmt: skip
def test_a_store_that_cannot_be_used_is_left_untouched(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "app.py").write_text(FINE)
    letter, newer = tmp_path / "letter.txt", tmp_path / "newer.db"
    letter.write_text("Dear Sir or Madam")
    con = sqlite3.connect(newer)
    con.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
    con.execute("INSERT INTO schema_version VALUES (99)")
    con.commit()
    con.close()
    for path, says in ((letter, "is no SQLite database"), (newer, "has schema 99, this Treadle knows up to")):
        before = path.read_bytes()
        done = call(tmp_path, *words, "--store", path.name)
        assert done.returncode == 3, done.stderr
        assert says in done.stderr
        assert path.name in done.stderr
        assert done.stderr.count("\n") == 1
        assert path.read_bytes() == before
    if words[0] != "run":
        done = call(tmp_path, *words, "--store", "none.db")
        assert (done.returncode, "no store at none.db" in done.stderr) == (3, True)
    assert {path.name for path in tmp_path.iterdir()} <= {"app.py", "letter.txt", "newer.db", "__pycache__"}


def test_a_store_of_another_workflow_and_a_deleted_stage(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FINE.replace("return item['n']", "raise ValueError"))
    (tmp_path / "other.py").write_text(FINE.replace('Workflow("bad")', 'Workflow("other")'))
    (tmp_path / "deleted.py").write_text(FINE.replace("def body", "def renamed"))
    assert call(tmp_path, "run", "app.py").returncode == 1
    done = call(tmp_path, "run", "other.py")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "belongs to workflow 'bad', not 'other'" in done.stderr
    done = call(tmp_path, "run", "deleted.py")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "'body': 3 items, among them '0', '1', '2'" in done.stderr
    for item in "012":
        assert call(tmp_path, "cancel", item).returncode == 0
    assert call(tmp_path, "run", "deleted.py", "0").returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are bytes elsewhere")
def test_a_reason_of_any_bytes_is_kept(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FINE.replace("return item['n']", "return 1 if item['n'] else 1 / 0"))
    assert call(tmp_path, "run", "app.py").returncode == 1
    for act in (["retry", "0"], ["cancel", "0"], ["rerun", "1", "body"]):
        done = call(tmp_path, *act, "--reason", "a\udcff")
        assert (done.returncode, done.stderr) == (0, ""), act
    assert call(tmp_path, "events").stdout.count(" a?") == 3


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_stage_that_prints_megabytes_is_no_trouble(tmp_path: Path, executor: str) -> None:
    stage = f"""
@flow.stage(executor="{executor}")
def body(item):
    for _ in range(40):
        print("x" * 100_000)
    sys.stderr.write("y" * 1_000_000)
    return "printed"
"""
    (tmp_path / "app.py").write_text(HEAD + stage)
    done = call(tmp_path, "run", "app.py")
    assert done.returncode == 0
    assert "3 items: 3 completed" in done.stdout
    assert len(done.stdout) + len(done.stderr) > 3 * 4_000_000


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "asyncio.CancelledError"])
@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_stage_that_raises_past_exceptions(tmp_path: Path, name: str, executor: str) -> None:
    stage = f'\n@flow.stage(executor="{executor}")\ndef body(item):\n    if item["n"] == 1:\n        raise {name}("on purpose")\n'
    (tmp_path / "app.py").write_text(HEAD + stage)
    done = call(tmp_path, "run", "app.py")
    assert done.returncode == 1, done.stderr
    assert "3 items: 2 completed, 1 failed" in done.stdout
    assert f"{name.removeprefix('asyncio.')}: on purpose" in call(tmp_path, "status", "1").stdout


NEVER = {
    "deaf": """
@flow.stage(timeout=0.3)
async def body(item):
    while item["n"] == 1:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            continue
""",
    "thread": """
@flow.stage(timeout=0.3)
def body(item):
    while item["n"] == 1:
        time.sleep(600)
""",
    "process": """
@flow.stage(timeout=3, executor="process")
def body(item):
    while item["n"] == 1:
        pass
""",
}


@pytest.mark.parametrize("kind", list(NEVER))
def test_a_stage_that_never_returns_is_timed_out_and_the_process_ends(tmp_path: Path, kind: str) -> None:
    (tmp_path / "app.py").write_text(HEAD + NEVER[kind])
    done = call(tmp_path, "run", "app.py")
    assert done.returncode == 1
    assert "3 items: 2 completed, 1 failed" in done.stdout
    assert done.stderr == ""
    assert "timed out after" in call(tmp_path, "status", "1").stdout


SIGNALS = (
    HEAD
    + """
def tell(word):
    print(word, flush=True)


@flow.stage
async def body(item):
    tell("running")
    {wait}
    return 1


@flow.stage
async def then(item, body):
    return 2
"""
)
DEAF = """while not os.path.exists("go"):
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            continue"""


def start(folder: Path, wait: str) -> subprocess.Popen[str]:
    (folder / "app.py").write_text(SIGNALS.replace("{wait}", wait))
    env = {key: value for key, value in os.environ.items() if not key.startswith("TREADLE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "treadle.cli", "run", "app.py", "1"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    return process


def rows(folder: Path) -> list[tuple[str, str, int]]:
    con = sqlite3.connect(folder / "treadle.db")
    found = con.execute("SELECT stage, state, attempt FROM stage_statuses ORDER BY stage").fetchall()
    assert con.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert con.execute("SELECT count(*) FROM items WHERE worker IS NOT NULL").fetchone() == (0,)
    con.close()
    return found


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_what_runs_end_and_the_next_run_goes_on(tmp_path: Path, sign: signal.Signals) -> None:
    process = start(tmp_path, 'while not os.path.exists("go"): await asyncio.sleep(0.01)')
    process.send_signal(sign)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("stopping when what runs has ended")
    (tmp_path / "go").touch()
    out, _ = process.communicate(timeout=30)
    assert "1 item: 0 completed, 1 pending; 1 stage run" in out
    assert rows(tmp_path) == [("body", "completed", 1)]
    assert "1 item: 1 completed; 1 stage run" in call(tmp_path, "run", "app.py", "1").stdout


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_puts_back_what_runs_without_a_charge(tmp_path: Path, sign: signal.Signals) -> None:
    process = start(tmp_path, 'await asyncio.sleep(0 if os.path.exists("go") else 600)')
    process.send_signal(sign)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(sign)
    out, _ = process.communicate(timeout=30)
    assert re.search(r"1 item: 0 completed, 1 pending; 0 stages run in \d", out)
    assert rows(tmp_path) == [("body", "pending", 1)]
    (tmp_path / "go").touch()
    assert "1 completed; 2 stages run" in call(tmp_path, "run", "app.py", "1").stdout
    con = sqlite3.connect(tmp_path / "treadle.db")
    assert con.execute("SELECT spent, interruptions FROM stages WHERE stage = 1").fetchone() == (0, 0)
    con.close()


def test_the_second_signal_ends_the_run_even_if_a_stage_ignores_it(tmp_path: Path) -> None:
    process = start(tmp_path, DEAF)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert "1 item: 0 completed, 1 pending" in out
    assert "Traceback" not in err
    (tmp_path / "go").touch()
    assert "1 completed; 2 stages run" in call(tmp_path, "run", "app.py", "1").stdout


def test_the_third_signal_ends_a_process_whose_loop_is_blocked(tmp_path: Path) -> None:
    process = start(tmp_path, 'time.sleep(0 if os.path.exists("go") else 600)')
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=0.3)  # signals that come together count as one
        except subprocess.TimeoutExpired:
            continue
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    (tmp_path / "go").touch()
    assert "1 completed; 2 stages run" in call(tmp_path, "run", "app.py", "1").stdout
