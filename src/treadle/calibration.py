"""How often gates are right, by what people decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.history import ACCEPTED, REJECTED, UNCERTAIN
from treadle.state import Decided
from treadle.store import ReviewFilter, StateStore

_COLUMN = {
    (ACCEPTED, True): "right_accepts",
    (ACCEPTED, False): "false_accepts",
    (REJECTED, True): "false_rejects",
    (REJECTED, False): "right_rejects",
    (UNCERTAIN, True): "unsure_approved",
    (UNCERTAIN, False): "unsure_refused",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRecord:
    """How often people agreed with one gate, where they were asked.

    Args:
        right_accepts, false_accepts: what it accepted and a person approved as it was, or did not.
        right_rejects, false_rejects: what it rejected and a person did not approve as it was, or did.
        unsure_approved, unsure_refused: what it could not tell.
    """

    gate: str
    right_accepts: int = 0
    false_accepts: int = 0
    right_rejects: int = 0
    false_rejects: int = 0
    unsure_approved: int = 0
    unsure_refused: int = 0


async def gate_records(store: StateStore) -> Sequence[GateRecord]:
    """Every verdict that a person decided on, counted by gate: what thresholds can be set from."""
    tally: dict[str, dict[str, int]] = {}
    after = None
    while page := await store.reviews(ReviewFilter(is_open=False), after, 1000):
        after = page[-1].cursor
        for _, _, row in page:
            if row.gate is None or row.verdict is None or row.decision in (None, Decided.WITHDRAWN):
                continue
            approved = row.decision is Decided.APPROVE and row.output is None
            column = _COLUMN[row.verdict, approved]
            counts = tally.setdefault(row.gate, {})
            counts[column] = counts.get(column, 0) + 1
    return [GateRecord(gate=gate, **counts) for gate, counts in sorted(tally.items())]
