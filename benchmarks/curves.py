"""Throughput against items in flight, and against rows in the store: measured, kept as JSON, drawn as SVG for the docs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.ceiling import ceiling
from benchmarks.svg import chart
from benchmarks.workloads import witnessed

KEPT = Path(__file__).parent / "curves.json"
DRAWN = Path(__file__).parent.parent / "docs" / "images"
IN_FLIGHT = (1, 3, 10, 30, 100, 300, 1_000, 3_000)
ROUNDS = 3
_STAGES = 5
_STEPS = 10


def main(*, full: bool, plot_only: bool) -> None:
    """Measure (to a million items, which are five million rows of stages, when ``full``) and draw; or only draw what is kept."""
    if not plot_only:
        KEPT.write_text(json.dumps(measured(1_000_000 if full else 40_000), indent=1) + "\n")
    draw(json.loads(KEPT.read_text()))


def measured(items: int) -> dict[str, list[list[float]]]:
    """Points of each curve."""
    with tempfile.TemporaryDirectory() as name:
        return in_flight(Path(name)) | {"rows": rows(Path(name), items)}


def in_flight(folder: Path) -> dict[str, list[list[float]]]:
    """W1 and its ceiling, by how many items move at once."""
    found: dict[str, list[list[float]]] = {"in flight": [], "ceiling": []}
    for number in IN_FLIGHT:
        amount = max(500, min(20 * number, 20_000))
        ours, tops = [], []
        for turn in range(ROUNDS):
            tops.append(ceiling(Path(tempfile.mkdtemp(dir=folder)), amount, number))
            ours.append(_STAGES * amount / asyncio.run(witnessed(folder / f"{number}-{turn}.db", amount, number)))
        found["in flight"].append([number, median(ours)])
        found["ceiling"].append([number, median(tops)])
    return found


def rows(folder: Path, items: int) -> list[list[float]]:
    """W1 on a store that grows, by how many rows of stages it holds at the end of each step."""
    step, found = items // _STEPS, []
    for place in range(_STEPS):
        out = subprocess.run(
            [sys.executable, "-m", "benchmarks.million", "fill", str(folder / "rows.db"), str(step), str(place * step)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        found.append([float(_STAGES * step * (place + 1)), json.loads(out.stdout)[0]])
    return found


def draw(kept: dict[str, list[list[float]]]) -> None:
    """Both charts, where the docs expect them."""
    DRAWN.mkdir(parents=True, exist_ok=True)
    lines = {name: [(x, y) for x, y in kept[key]] for name, key in (("ceiling", "ceiling"), ("Treadle", "in flight"))}
    flight = chart("Throughput by items in flight", lines, x_label="items in flight", y_label="stages a second", log_x=True)
    (DRAWN / "in-flight.svg").write_text(flight)
    grown = {"Treadle, 1,000 in flight": [(x, y) for x, y in kept["rows"]]}
    (DRAWN / "rows.svg").write_text(
        chart("Throughput by rows in the store", grown, x_label="rows of stages", y_label="stages a second", log_x=False)
    )
