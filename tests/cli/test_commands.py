"""Commands as a user gives them, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

import treadle

APP = """
from pathlib import Path
from treadle import AwaitingReview, ReviewData, Workflow

flow = Workflow("notes")


@flow.source
def scan(folder: Path):
    for path in sorted(folder.glob("*.txt")):
        yield {"id": path.name, "text": path.read_text()}


@flow.stage
async def read(item):
    if item["text"] == "bad":
        raise ValueError("cannot read \\x1b[31mthis")
    return item["text"]


@flow.stage
async def ask(item, read):
    if read == "short":
        return AwaitingReview(ReviewData("=SUM(A1) keep it?"))
    return read
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "in").mkdir()
    for name, text in (("a", "long enough"), ("b", "short"), ("=c", "bad")):
        (tmp_path / "in" / f"{name}.txt").write_text(text)
    return tmp_path


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("TREADLE_")}
    return subprocess.run(
        [sys.executable, "-m", "treadle.cli", *words], cwd=folder, capture_output=True, text=True, env=env, check=False
    )


def test_the_whole_way_of_a_few_notes(folder: Path) -> None:
    ran = call(folder, "run", "app.py", "in")
    assert ran.returncode == 1, ran.stderr
    assert "3 items: 1 completed, 1 failed, 1 need a person" in ran.stdout
    status = call(folder, "status")
    assert (status.returncode, status.stdout.splitlines()[0][:8]) == (1, "3 items:")
    assert max(map(len, status.stdout.splitlines())) <= 80
    machine = json.loads(call(folder, "status", "--format", "json").stdout)
    assert machine["stages"]["read"] == {"completed": 2, "failed": 1}
    shown = call(folder, "show", "=c.txt", "read")
    assert "\x1b" not in shown.stdout
    assert "ValueError: cannot read" in shown.stdout
    assert "app.py:17 in read" in shown.stdout
    assert "b.txt" in call(folder, "review", "list").stdout
    assert call(folder, "review", "approve", "b.txt", "ask", "--reviewer", "ann").returncode == 0
    late = call(folder, "review", "reject", "b.txt", "ask", "no", "--reviewer", "bob")
    assert (late.returncode, late.stderr.count("\n")) == (2, 1)
    assert call(folder, "retry", "--state", "failed", "--dry-run").stdout.startswith("=c.txt would be tried again")
    assert call(folder, "retry", "=c.txt", "--reason", "the disk is back").returncode == 0
    assert "stage_retried read the disk is back" in call(folder, "events", "--item", "=c.txt").stdout
    assert call(folder, "run", "app.py", "in").returncode == 1
    assert call(folder, "cancel", "=c.txt", "--reason", "hopeless").returncode == 0
    assert call(folder, "status").returncode == 0
    assert "'=c.txt,cancelled" in call(folder, "export", "--format", "csv").stdout
    assert len(call(folder, "export").stdout.splitlines()) == 3
    assert "item_cancelled" in call(folder, "events", "--item", "=c.txt").stdout
    assert call(folder, "doctor").returncode == 0
    assert "failed" in call(folder, "items", "--stage", "read", "--state", "failed", "--format", "json").stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("status",), 3, "no store at treadle.db"),
        (("run",), 2, "which workflow?"),
        (("run", "nofile.py"), 2, "no file nofile.py"),
        (("run", "app.py:nope", "in"), 2, "has no workflow 'nope'; it has flow"),
        (("run", "app.py", "nowhere"), 2, "there is no nowhere"),
        (("run", "app.py", "in", "more"), 2, "takes 1 argument, not 2"),
        (("bogus",), 2, "bogus"),
        (("status", "--store", "app.py"), 3, "app.py is no SQLite database"),
        (("retry",), 2, "retry what?"),
    ],
)
def test_what_goes_wrong_is_one_line_that_says_what_to_do(folder: Path, words: tuple[str, ...], code: int, says: str) -> None:
    done = call(folder, *words)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / "treadle.db").exists()


def test_graphs_and_checks(folder: Path) -> None:
    assert call(folder, "graph", "app.py").stdout == "read\n└── ask\n"
    assert "<svg" in call(folder, "graph", "app.py", "--format", "svg").stdout
    assert json.loads(call(folder, "graph", "app.py", "--format", "json").stdout)["workflow"] == "notes"
    assert call(folder, "check", "app.py").stdout == "notes: 2 stages, no problems\n"
    assert call(folder, "--version").stdout.strip() == treadle.__version__


def test_init_writes_a_pipeline_whose_test_passes(tmp_path: Path) -> None:
    assert call(tmp_path, "init", "new").returncode == 0
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "new",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout
    again = call(tmp_path, "init", "new")
    assert (again.returncode, "nothing was written" in again.stderr) == (2, True)
    (tmp_path / "new" / "a.txt").write_text("one two three four")
    assert call(tmp_path / "new", "run", "pipeline.py").returncode == 0


def test_a_terminal_of_80_columns_shows_a_bar_and_the_report(folder: Path) -> None:
    (folder / "in" / "=c.txt").unlink()
    child = pexpect.spawn(
        sys.executable,
        ["-m", "treadle.cli", "run", "app.py", "in"],
        cwd=str(folder),
        dimensions=(24, 80),
        timeout=30,
        encoding="utf-8",
    )
    child.expect("2 items: 1 completed, 1 need a person")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 4


def test_importing_treadle_loads_the_standard_library_only() -> None:
    code = "import sys, treadle; print([m for m in sys.modules if m.split('.')[0] not in sys.stdlib_module_names and m.split('.')[0] not in ('treadle', '__main__')])"
    env = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_PROCESS")}
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(Path(treadle.__file__).parent.parent)!r}); {code}"],
        capture_output=True,
        text=True,
        env=env,
        check=True,
    )
    assert done.stdout.strip() == "[]"
