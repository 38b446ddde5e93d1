"""What failed, by message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from treadle.clock import from_us
from treadle.state import StageRow, StageState
from treadle.store import StateStore

SAMPLE = 500
"""Failures of a stage that are looked at."""
_SAMPLED_IDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failures of one stage with one message.

    Args:
        message: the first line, with ``…`` in place of the item's own id.
        items: some of their ids.
        newest_at: when the last of them failed.
        is_cancelled: nothing went wrong, somebody stopped these.
    """

    stage: str
    message: str
    count: int
    items: Sequence[str]
    newest_at: datetime

    @property
    def is_cancelled(self) -> bool:
        """Whether nothing went wrong: somebody stopped these."""
        return self.message == "cancelled" or self.message.startswith("cancelled: ")

    @property
    def fragment(self) -> str:
        """The longest part of the message that all of them share, for searches."""
        return max(self.message.split("…"), key=len).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Failures by message, the most frequent first.

    Args:
        looked_at: how many failures the groups stand on: of each stage, those of the items that came last.
        total: how many there are.
    """

    groups: Sequence[FailureGroup] = ()
    looked_at: int = 0
    total: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether all failures were looked at."""
        return self.looked_at >= self.total


def message_of(item_id: str, error: str | None) -> str:
    """By which a failure is grouped: the first line, without what is only about this item."""
    line = (error or "").strip().split("\n", 1)[0]
    return line.replace(item_id, "…") or "no message"


async def failures(store: StateStore, stage: str | None = None, *, limit: int = SAMPLE) -> Failures:
    """What failed and why, by up to ``limit`` failures of each stage (or that one)."""
    counts = await store.counts()
    total = sum(states.get(StageState.FAILED, 0) for name, states in counts.stages.items() if stage in (None, name))
    if not total:
        return Failures()
    rows = await store.recent(StageState.FAILED, limit, stage=stage)
    return Failures(groups=_grouped(rows), looked_at=len(rows), total=total)


def _grouped(rows: Iterable[tuple[str, StageRow]]) -> list[FailureGroup]:
    found: dict[tuple[str, str], list[tuple[str, StageRow]]] = {}
    for item, row in rows:
        found.setdefault((row.stage, message_of(item, row.error)), []).append((item, row))
    groups = [
        FailureGroup(
            stage=name,
            message=message,
            count=len(members),
            items=[item for item, _ in members[:_SAMPLED_IDS]],
            newest_at=from_us(max(row.updated for _, row in members)),
        )
        for (name, message), members in found.items()
    ]
    return sorted(groups, key=lambda group: (-group.count, group.stage, group.message))
