"""Settle a licence that the evidence leaves open: ``python -m examples.licence_audit.settle ITEM EXPRESSION REVIEWER``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from treadle import ApproveWithEdits, Inbox, StateStore, TreadleError, open_store

from .pipeline import audit

STORE = Path("licence-audit") / "audit.db"


def main() -> int:
    """Answer the question; the next run of the audit goes on with it."""
    if len(sys.argv) != 4:
        print("settle what? Give ITEM EXPRESSION REVIEWER, as in: settle sample==1.0 'MIT OR Apache-2.0' ann", file=sys.stderr)
        return 2
    item, expression, reviewer = sys.argv[1:]
    try:
        asyncio.run(_settle(item, expression, reviewer))
    except (TreadleError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{item}: {expression}, says {reviewer}; run the audit again and it goes on")
    return 0


async def _settle(item: str, expression: str, reviewer: str) -> None:
    async with open_store(STORE) as store:
        await settle(store, item, expression, reviewer)


async def settle(store: StateStore, item: str, expression: str, reviewer: str) -> None:
    """The item's licence is what this person says, and everything built on it sees that.

    Raises:
        InvalidArtefact: the expression is no valid one; nothing was decided.
        ReviewConflict: nobody is asked about this item's licence (any more).
        ItemNotFound: there is no such item.
    """
    inbox = Inbox(store, audit)
    case = await inbox.show(item, "identified")
    edited = {**case.artefact, "expression": expression, "reason": f"settled by {reviewer}; {case.artefact['reason']}"}
    await inbox.decide(item, "identified", ApproveWithEdits(edited), reviewer=reviewer, revision=case.review.revision)


if __name__ == "__main__":
    raise SystemExit(main())
