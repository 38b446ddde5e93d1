"""What the attempts came to: who was right at once, who got better, who waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from treadle import Rejected, StateStore
from treadle.history import Attempt, read_attempt
from treadle.outcome import Verdict
from treadle.store import Filter

from .gates import fields_in


@dataclass(kw_only=True)
class Tally:
    """Counts of packages, and of the fields that the gate did not accept."""

    packages: int = 0
    at_once: int = 0
    improved: int = 0
    no_better: int = 0
    missed_first: int = 0
    missed_last: int = 0
    by_field: dict[str, int] = field(default_factory=dict)

    def add(self, attempts: list[Attempt]) -> None:
        """Count one package."""
        self.packages += 1
        missed = [missed_fields(attempt.verdict) for attempt in attempts]
        self.missed_first += len(missed[0])
        self.missed_last += len(missed[-1])
        if len(attempts) == 1:
            self.at_once += 1
        elif len(missed[-1]) < len(missed[0]):
            self.improved += 1
        else:
            self.no_better += 1
        for name in missed[-1]:
            self.by_field[name] = self.by_field.get(name, 0) + 1

    def __str__(self) -> str:
        left = ", ".join(f"{name} {count}" for name, count in sorted(self.by_field.items())) or "none"
        return (
            f"{self.packages} packages: {self.at_once} needed one attempt; of the others a second one improved {self.improved}"
            f" and left {self.no_better} as they were\n"
            f"fields that were not good enough: {self.missed_first} after the first attempts, {self.missed_last} after the last ({left})"
        )


def missed_fields(verdict: Verdict | None) -> tuple[str, ...]:
    """The fields that a gate did not accept."""
    return fields_in(verdict.feedback) if isinstance(verdict, Rejected) else ()


async def tally(store: StateStore) -> Tally:
    """The counts over everything in the store."""
    counts = Tally()
    async for item_id in _ids(store):
        attempts = [read_attempt(row) for _, row in await store.attempts(item_id, "extracted")]
        if attempts:
            counts.add(attempts)
    return counts


async def _ids(store: StateStore) -> AsyncIterator[str]:
    after = None
    while page := await store.page(Filter(), after, 1000):
        for state in page:
            yield state.id
        after = page[-1].id
