"""What a person did in one sitting, and the words for it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from treadle.outcome import Approve, ApproveWithEdits, Decision, Reject, RequestChanges


@dataclass(slots=True)
class Session:
    """The decisions of one sitting, the last of which can be taken back.

    Args:
        made: item, stage and word of each decision, oldest first.
        shown: how many were on the screen.
        skipped: how many were left as they are.
        passed_over: how many were not shown, because somebody else has them.
        kept: files with edits that were not sent.
    """

    made: list[tuple[str, str, str]] = field(default_factory=list)
    shown: int = 0
    skipped: int = 0
    passed_over: int = 0
    kept: list[Path] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def summary(self) -> str:
        """How many, how fast, and what is left of edits."""
        seconds = time.monotonic() - self.began
        words = Counter(word for _, _, word in self.made)
        what = ", ".join(f"{number} {word}" for word, number in words.items())
        each = f" in {_time(seconds)} ({_time(seconds / len(self.made))} each)" if self.made else ""
        lines = [f"{len(self.made)} decided{each}{': ' if what else ''}{what}" if self.shown else "nothing waits for you"]
        if self.skipped:
            lines.append(f"{self.skipped} skipped")
        if self.passed_over:
            lines.append(f"{self.passed_over} passed over: not yours to decide now")
        return "\n".join([*lines, *(f"an edit that was not sent is kept in {path}" for path in self.kept)])


def word_of(decision: Decision) -> str:
    """What was done, in a word or two."""
    match decision:
        case Approve():
            return "approved"
        case ApproveWithEdits():
            return "edited"
        case Reject():
            return "rejected"
        case RequestChanges():
            return "sent back"


def _time(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004 - an hour
