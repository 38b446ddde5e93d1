"""Reviews made to do harm to whoever shows them."""

from __future__ import annotations

from typing import Any, TypedDict

from treadle import AwaitingReview, RetryBudget, ReviewData, StageContext, Workflow

HTML = "</script><script>document.title='TAKEN'</script><img src=x onerror=\"document.title='TAKEN'\">{{7*7}}'\"&"
BIDI = "safe\u202eexe.txt\u2066\u200b"
ESCAPES = "\x1b[2J\x1b]0;TAKEN\x07\x08\r"
EVIL = HTML + BIDI + ESCAPES
ID = f"{HTML} ../../%2e%2e/?#summary"
BIG = 10 * 1024 * 1024


class Bait(TypedDict):
    id: str


poison = Workflow("poison", item=Bait)


@poison.stage(retry=RetryBudget(max_attempts=2))
def bait(item: Bait, ctx: StageContext) -> Any:
    if ctx.attempt == 1:
        raise ValueError(EVIL)
    made = {
        EVIL: EVIL,
        "__proto__": {"polluted": True},
        "constructor": [EVIL] * 3,
        "text": "x" * BIG if item["id"] == "big" else "x",
    }
    return AwaitingReview(ReviewData(EVIL, {EVIL: [EVIL], "deep": {"deeper": EVIL}}), made)


BAITS: list[Bait] = [{"id": ID}, {"id": "big"}, {"id": "decided"}]
