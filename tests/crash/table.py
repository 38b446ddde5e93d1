"""The table of the crash lab: what is promised, in how many cases that was tried, and how often it was broken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

_ROWS: list[tuple[str, int, int]] = []
_FAILED: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what a test has counted; those of parallel workers come here too."""
    if report.failed:
        _FAILED.add(report.nodeid)
    if report.when == "teardown":
        for _, (promise, cases, failures) in [pair for pair in report.user_properties if pair[0] == "crash"]:
            # A test that broke off has not counted what broke it.
            _ROWS.append((promise, cases, max(failures, report.nodeid in _FAILED)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table, and write it where ``TREADLE_CRASH_TABLE`` says."""
    if not _ROWS:
        return
    rows = [
        ("promise", "cases", "failures"),
        *((promise, f"{cases:,}", f"{broken:,}") for promise, cases, broken in sorted(_ROWS)),
    ]
    width = max(len(row[0]) for row in rows)
    terminalreporter.section("crash lab")
    for promise, cases, broken in rows:
        terminalreporter.write_line(f"{promise:{width}}  {cases:>9}  {broken:>8}")
    if target := os.environ.get("TREADLE_CRASH_TABLE"):
        lines = [f"| {' | '.join(row)} |" for row in rows]
        Path(target).write_text("\n".join([lines[0], "|---|--:|--:|", *lines[1:]]) + "\n")
