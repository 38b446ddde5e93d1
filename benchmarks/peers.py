"""W1 on what a user would pick instead, each in a virtual environment of its own, pinned by ``peers/NAME.txt``."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parent / "peers"
ITEMS = {"burr": 2_000, "langgraph": 1_000, "dbos": 300, "huey": 1_000}
"""Enough to take some seconds each."""
_LONGEST = 600


def peers(rounds: int) -> dict[str, list[float]]:
    """Stages a second of each peer, every round."""
    return {f"W1 {name}, stages/s": [measured(name) for _ in range(rounds)] for name in ITEMS}


def measured(name: str) -> float:
    """Stages a second, each recorded on disk before the next one of its item starts, with ``synchronous=FULL``."""
    python = installed(name)
    done = subprocess.run(
        [python, FOLDER / f"w1_{name}.py", str(ITEMS[name])], check=True, capture_output=True, text=True, timeout=_LONGEST
    )
    return float(done.stdout.splitlines()[-1])


def installed(name: str) -> Path:
    """The interpreter of the peer's environment, which is made when it is first needed."""
    home, pins = FOLDER / ".venvs" / name, FOLDER / f"{name}.txt"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = home / "installed.txt"
    if not stamp.exists() or stamp.read_text() != pins.read_text():
        print(f"installing {name} ...", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "-q", "--disable-pip-version-check", "install", "-r", pins], check=True)
        stamp.write_text(pins.read_text())
    return python


def ratios(figures: dict[str, list[float]]) -> str:
    """How many times as fast this is as each peer, for people."""
    from statistics import median

    ours = median(figures["W1 1000 in flight, stages/s"])
    lines = [
        f"{name:<12}{median(figures[f'W1 {name}, stages/s']):>12,.0f} stages/s{ours / median(figures[f'W1 {name}, stages/s']):>10,.0f} x"
        for name in ITEMS
    ]
    return "\n".join([f"{'treadle':<12}{ours:>12,.0f} stages/s", *lines])
