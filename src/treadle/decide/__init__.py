"""The only place that chooses a state.

Every function takes the immutable definition, an item's rows and what has happened, and returns a
``Transition``: the rows, events and attempts that must be written together. Nothing here waits, reads a
clock or logs. Whoever holds the item calls ``apply`` with the transition, then has it written.

``driving`` is what the holder of an item does, ``recovery`` what it does after a death, ``acting`` what people do to it
whether it is held or not;
``ruling`` is the table of what follows from an attempt, and ``draft`` puts one transition together.
"""

from __future__ import annotations

from treadle.decide.acting import Answer, Seen, arrive, cancel, hold, reopen, rerun, resolve, retry, undo
from treadle.decide.draft import MAX_INTERRUPTIONS
from treadle.decide.driving import EXPIRED_BY, apply, begin, count, forgo, next_due, settle, skip, start, wake
from treadle.decide.dropping import drop, is_live
from treadle.decide.recovery import recover, suspicion, was_in_flight

__all__ = [
    "EXPIRED_BY",
    "MAX_INTERRUPTIONS",
    "Answer",
    "Seen",
    "apply",
    "arrive",
    "begin",
    "cancel",
    "count",
    "drop",
    "forgo",
    "hold",
    "is_live",
    "next_due",
    "recover",
    "reopen",
    "rerun",
    "resolve",
    "retry",
    "settle",
    "skip",
    "start",
    "suspicion",
    "undo",
    "wake",
    "was_in_flight",
]
