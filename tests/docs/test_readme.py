"""The README shows what is printed, letter for letter."""

from __future__ import annotations

from pathlib import Path

from examples.licence_audit.pipeline import audit
from treadle import ItemPhase, StageState, drawing
from treadle.status import overview
from treadle.store import Counts

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")


def test_the_graph_is_the_audits() -> None:
    assert f"```mermaid\n{drawing.mermaid(audit.graph).rstrip()}\n```" in README


def test_the_table_is_the_one_that_status_and_the_demo_print() -> None:
    stages = {name: {StageState.COMPLETED: 102} for name in audit.stages}
    stages["identified"] = {StageState.COMPLETED: 94, StageState.AWAITING_REVIEW: 8}
    stages["ruling"] = {StageState.COMPLETED: 94, StageState.PENDING: 8}
    stages["decision"] = {StageState.COMPLETED: 93, StageState.AWAITING_REVIEW: 1, StageState.PENDING: 8}
    counts = Counts({ItemPhase.COMPLETED: 93, ItemPhase.AWAITING_REVIEW: 9}, stages)
    assert f"```text\n{overview(counts)}\n```" in README
