"""Logging of the command line: to standard error, only when asked for, as text or as JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
from treadle import Workflow

flow = Workflow("logs")


@flow.source
def scan():
    yield {"id": "bad"}


@flow.stage
async def read(item):
    raise ValueError("cannot read \\x1b[31mthis")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def call(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("TREADLE_")} | settings
    return subprocess.run(
        [sys.executable, "-m", "treadle.cli", *words], cwd=folder, capture_output=True, text=True, env=env, check=False
    )


def test_without_a_level_nothing_is_logged(folder: Path) -> None:
    assert call(folder, "run", "app.py").stderr == ""


@pytest.mark.parametrize("before", [True, False])
def test_text_is_for_people_and_obeys_no_data(folder: Path, before: bool) -> None:
    flags = ("--log-level", "warning")
    done = call(folder, *((*flags, "run", "app.py") if before else ("run", "app.py", *flags)))
    assert "ERROR stage failed: item 'bad', stage 'read', attempt 1: ValueError: cannot read \ufffd[31mthis" in done.stderr
    assert "\x1b" not in done.stderr


def test_json_lines_by_environment(folder: Path) -> None:
    done = call(folder, "run", "app.py", TREADLE_LOG_LEVEL="debug", TREADLE_LOG_FORMAT="json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    failed = next(line for line in lines if line.get("event") == "stage_failed")
    assert (failed["item"], failed["stage"], failed["attempt"], failed["level"]) == ("bad", "read", 1, "error")
    assert "stage_started" in {line.get("event") for line in lines}


def test_a_level_by_project_file_and_one_that_does_not_exist(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.treadle]\nlog_level = "loud"\n')
    done = call(folder, "run", "app.py")
    assert (done.returncode, done.stderr) == (2, "log_level is 'loud'; it can be debug, info, warning, error\n")
    assert "stage failed" in call(folder, "run", "app.py", "--log-level", "error").stderr


def test_debug_shows_the_trace_and_is_no_argument_of_a_command(folder: Path) -> None:
    quiet, loud = call(folder, "status", "--store", "nowhere"), call(folder, "status", "--store", "nowhere", "--debug")
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in loud.stderr
    assert loud.stderr.rstrip().splitlines()[-1].endswith(quiet.stderr.rstrip())
    assert (quiet.returncode, loud.returncode) == (3, 3)
