"""The only place that chooses a state.

Every function takes the immutable definition, an item's rows and what has happened, and returns a
``Transition``: the rows, events and attempts that must be written together. Nothing here waits, reads a
clock or logs. Whoever holds the item calls ``apply`` with the transition, then has it written; ``settle_in_place`` says
what follows from an attempt and applies it.

``driving`` is what the holder of an item does, and ``recovery`` what it does after a death; ``answering``, ``taking_back``
and ``acting`` are what people do, whether the item is held or not. ``ruling`` is the table of what follows from an
attempt, ``draft`` and ``settling`` put one transition together, and ``straight`` says the commonest one at once.
"""

from __future__ import annotations

from treadle.decide.acting import arrive, cancel, rerun, retry
from treadle.decide.answering import EXPIRED_BY, Answer, Seen, barred, expire, hold, is_overdue, resolve, rested
from treadle.decide.draft import MAX_INTERRUPTIONS
from treadle.decide.driving import (
    apply,
    begin,
    count,
    forgo,
    heed,
    next_due,
    settle,
    settle_alike,
    settle_in_place,
    skip,
    start,
    wake,
)
from treadle.decide.dropping import drop, is_live
from treadle.decide.recovery import recover, suspicion, was_in_flight
from treadle.decide.straight import apply_alike, is_untouched, open_all, opening
from treadle.decide.taking_back import reopen, undo

__all__ = [
    "EXPIRED_BY",
    "MAX_INTERRUPTIONS",
    "Answer",
    "Seen",
    "apply",
    "apply_alike",
    "arrive",
    "barred",
    "begin",
    "cancel",
    "count",
    "drop",
    "expire",
    "forgo",
    "heed",
    "hold",
    "is_live",
    "is_overdue",
    "is_untouched",
    "next_due",
    "open_all",
    "opening",
    "recover",
    "reopen",
    "rerun",
    "resolve",
    "rested",
    "retry",
    "settle",
    "settle_alike",
    "settle_in_place",
    "skip",
    "start",
    "suspicion",
    "undo",
    "wake",
    "was_in_flight",
]
