"""What the benchmark says of two runs, what it draws, and that its witness would see an engine that lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import curves, peers, results
from benchmarks.__main__ import options
from benchmarks.svg import chart
from benchmarks.witness import Witness
from benchmarks.workloads import witnessed
from treadle import Engine, Workflow, open_store

BEFORE = {"W1 fast, stages/s": [100.0, 104.0, 96.0], "W4 import, ms": [20.0, 20.5, 19.5], "once": [10.0], "gone": [1.0]}


def said(**changed: list[float]) -> list[str]:
    after = BEFORE | {{"fast": "W1 fast, stages/s", "ms": "W4 import, ms"}.get(k, k): v for k, v in changed.items()}
    return [f"{figure.label} {'better' if figure.is_better else 'worse'}" for figure in results.moved(BEFORE, after)]


def test_only_what_is_beyond_the_noise_of_both_runs_has_moved() -> None:
    assert said() == []
    assert said(fast=[107.0, 105.0, 109.0]) == [], "within the spread of the first run's rounds"
    assert said(fast=[120.0, 119.0, 121.0]) == ["W1 fast, stages/s better"]
    assert said(fast=[120.0, 90.0, 150.0]) == [], "the second run's own rounds lie further apart"
    assert said(ms=[22.0, 22.0, 22.0], fast=[80.0, 80.0, 80.0]) == ["W1 fast, stages/s worse", "W4 import, ms worse"]
    assert said(ms=[18.0, 18.0, 18.0]) == ["W4 import, ms better"]
    assert said(once=[10.5]) == [], "a figure measured once is as noisy as the noisiest"
    assert said(once=[20.0], new=[1.0]) == ["once better"]


def test_a_run_that_was_kept_comes_back_and_is_compared(tmp_path: Path) -> None:
    results.save(BEFORE, tmp_path / "run.json")
    assert results.load(tmp_path / "run.json") == BEFORE
    assert results.compared(BEFORE, BEFORE) == "nothing moved beyond noise"
    assert "+50 %  better" in results.compared(BEFORE, {"W1 fast, stages/s": [150.0, 151.0, 149.0]})
    assert "8%" in results.table(BEFORE)


def test_of_rates_more_is_better_whatever_their_names_say() -> None:
    assert results.Moved("W2 in memory, stages/s", 100.0, 80.0).is_better is False
    assert results.Moved("W5 memory, MB", 100.0, 80.0).is_better is True


def test_charts_are_well_formed_and_say_what_they_show() -> None:
    drawn = chart("a < b", {"one": [(1, 5), (1000, 50_000)], "two": [(1, 3), (1000, 3)]}, x_label="x", y_label="y", log_x=True)
    texts = [element.text for element in ET.fromstring(drawn).iter() if element.tag.endswith("text")]
    assert {"a < b", "x", "y", "one", "two", "50k", "1k"} <= set(texts)


def test_the_charts_of_the_docs_are_those_of_the_kept_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {file.name: file.read_text() for file in curves.DRAWN.glob("*.svg")}
    monkeypatch.setattr(curves, "DRAWN", tmp_path)
    curves.main(full=False, plot_only=True)
    assert {name: (tmp_path / name).read_text() for name in ("in-flight.svg", "rows.svg")}.items() <= kept.items()


@pytest.mark.may_block  # the witness has a connection of its own
async def test_the_witness_sees_a_stage_that_starts_too_early(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    assert await witnessed(path, 300, 100) > 0
    flow, witness = Workflow("liar"), Witness(tmp_path / "liar.db")
    errors: list[Any] = []

    @flow.stage
    async def one(item: dict[str, Any]) -> None:
        try:
            witness.look(item["id"], "one")
        except AssertionError as error:
            errors.append(str(error))

    async with open_store(tmp_path / "liar.db") as store:
        await Engine(flow, store).run([{"id": "x"}])
    witness.close()
    assert errors[0].startswith("a stage of x started before one was on disk: ")
    with pytest.raises(AssertionError, match="no stage was looked at"):
        Witness(path).close()


def test_the_command_line_takes_a_number_or_a_name() -> None:
    assert (options(["500"]).what, options(["500"]).size, options([]).what) == ("all", 500, "all")
    assert (options(["inbox", "7"]).what, options(["inbox", "7"]).size) == ("inbox", 7)
    with pytest.raises(SystemExit):
        options(["nonsense"])


def test_every_peer_is_pinned_and_its_ratio_told() -> None:
    for name in peers.ITEMS:
        pins = (peers.FOLDER / f"{name}.txt").read_text().splitlines()
        assert pins
        assert all("==" in pin for pin in pins)
        assert (peers.FOLDER / f"w1_{name}.py").is_file()
    figures = {"W1 1000 in flight, stages/s": [1000.0]} | {f"W1 {name}, stages/s": [10.0] for name in peers.ITEMS}
    assert peers.ratios(figures).count("100 x") == 4
