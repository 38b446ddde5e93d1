"""What must hold of a store, and of the side log of those who worked on it, whatever happened to them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.crash.lab import sql
from treadle.stores.sqlite_rows import KINDS

_TOLD = {
    "stage_started": "running", "stage_completed": "completed", "stage_failed": "failed", "stage_skipped": "skipped",
    "review_required": "awaiting_review", "stage_retried": "pending", "retry_scheduled": "pending", "stage_rerun": "pending",
    "stage_interrupted": None, "review_decided": None, "item_cancelled": None, "review_reopened": None,
}  # fmt: skip
"""What a stage is after an event; ``None``: the event alone does not say."""


_WHOLE = "."
"""How each line of a side log ends."""


class Witness:
    """A side log that survives its writers: what ran, and what was acknowledged, in the order in which it happened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def tell(self, word: str, *names: str) -> None:
        """The line is on the disk."""
        if self._handle is None:
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_DSYNC, 0o600)
        # A kill may cut a write where a page ends: each line begins by itself, and says that it is whole.
        os.write(self._handle, " ".join(("\n" + word, *names, _WHOLE)).encode())

    def lines(self) -> list[tuple[str, str]]:
        """Word and name of each whole line."""
        return whole_lines(self.path.read_text()) if self.path.exists() else []


def whole_lines(text: str) -> list[tuple[str, str]]:
    """Word and name of each whole line of a side log."""
    whole = (line.removesuffix(f" {_WHOLE}") for line in text.split("\n") if line.endswith(f" {_WHOLE}"))
    return [(word, name) for word, _, name in (line.partition(" ") for line in whole)]


def faults(store: Path, witness: Witness | None = None, *, ended: bool = False) -> list[str]:
    """What is wrong; ``ended``: everything should have come to its end."""
    found = [f"integrity: {row[0]}" for row in sql(store, "PRAGMA integrity_check") if row[0] != "ok"]
    lost = "SELECT key FROM items WHERE worker IS NOT NULL AND worker NOT IN (SELECT id FROM workers)"
    found += [f"{row[0]} is held by nobody" for row in sql(store, lost)]
    # Every open item is claimable, held, or waits for a review, a time or somebody to mend a failure.
    stuck = "SELECT key FROM items WHERE phase = 0 AND wake IS NULL AND worker IS NULL AND payload IS NOT NULL"
    found += [f"{row[0]} waits for nothing" for row in sql(store, stuck)]
    if ended:
        found += [f"{row[0]} has not come to its end" for row in sql(store, "SELECT key FROM items WHERE phase <> 1")]
    found += _unfolded(store)
    if witness is not None:
        found += _unkept(store, witness)
    return found


def cursors(store: Path) -> list[int]:
    """Those of all events, of which a row may be two."""
    rows = sql(store, "SELECT cursor FROM events UNION ALL SELECT cursor - 1 FROM events WHERE began IS NOT NULL ORDER BY 1")
    return [row[0] for row in rows]


def folded(store: Path) -> dict[tuple[str, str], str | None]:
    """Each stage of each item as the journal alone tells it."""
    rows = sql(
        store, "SELECT i.key, n.name, e.kind FROM events e JOIN items i ON i.id = e.item JOIN names n ON n.id = e.stage"
        " WHERE e.subtask IS NULL ORDER BY e.cursor"
    )  # fmt: skip
    found: dict[tuple[str, str], str | None] = {}
    for item, name, kind in rows:
        word = KINDS[kind].value
        if word in _TOLD:
            found[item, name] = _TOLD[word]
    return found


def _unfolded(store: Path) -> list[str]:
    told = folded(store)
    stored = {(item, name): state for item, name, state in sql(store, "SELECT item_id, stage, state FROM stage_statuses")}
    return [
        f"the journal says {told.get(place, 'nothing')} of {place}, the tables say {stored.get(place)}"
        for place in stored.keys() | told.keys()
        if told.get(place, "") not in (None, stored.get(place))
    ]


def _unkept(store: Path, witness: Witness) -> list[str]:
    """Acknowledgements that the store does not know, and what ran again after its own."""
    done = {
        f"{item} {stage}" for item, stage in sql(store, "SELECT item_id, stage FROM stage_statuses WHERE state = 'completed'")
    }
    done |= {
        f"{item} {name}"
        for item, name in sql(store, "SELECT item_id, subtask_name FROM subtask_statuses WHERE state = 'completed'")
    }
    found, acknowledged = [], set()
    for word, name in witness.lines():
        if word == "ack":
            acknowledged.add(name)
        elif word == "ran" and name in acknowledged:
            found.append(f"{name} ran again after it was acknowledged")
    return found + [f"{name} was acknowledged and is not stored" for name in sorted(acknowledged - done)]


def events(store: Path, kind: str) -> list[dict[str, object]]:
    """What the events of that kind tell, in order."""
    number = [kind.value for kind in KINDS].index(kind)
    return [json.loads(row[0] or "{}") for row in sql(store, "SELECT data FROM events WHERE kind = ? ORDER BY cursor", number)]


def decisions(store: Path) -> dict[str, tuple[str, str]]:
    """What was decided of each item, and by whom."""
    query = "SELECT i.key, r.decision, r.reviewer FROM reviews r JOIN items i ON i.id = r.item WHERE r.decision IS NOT NULL"
    return {item: (decision, reviewer) for item, decision, reviewer in sql(store, query)}


def half_decided(store: Path, stage: str) -> list[str]:
    """Decisions about the stage that do not stand everywhere alike, or were made twice."""
    became = {"approve": "completed", "reject": "failed", None: "awaiting_review"}
    number = [kind.value for kind in KINDS].index("review_decided")
    query = "SELECT i.key, count(*) FROM events e JOIN items i ON i.id = e.item WHERE e.kind = ? GROUP BY 1"
    told, made = dict(sql(store, query, number)), decisions(store)
    found = []
    for item, state in sql(store, "SELECT item_id, state FROM stage_statuses WHERE stage = ?", stage):
        decision = made.get(item, (None, ""))[0]
        if (state, told.get(item, 0)) != (became[decision], int(decision is not None)):
            found.append(
                f"of {item} was decided {decision}, it is {state}, and the journal tells of {told.get(item, 0)} decisions"
            )
    return found
