"""Make a catalogue of a Python environment and say what waits for a person: ``python -m examples.extraction [FOLDER]``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import treadle
from examples.licence_audit.distributions import site_packages
from treadle import Inbox, StateStore, TreadleError, open_store
from treadle.state import AskedBy

from .pipeline import catalogue, installed
from .report import tally

STORE = Path("catalogue.db")
_WHY = {
    AskedBy.GATE: "the gate cannot tell",
    AskedBy.ESCALATION: "no attempt was good enough",
    AskedBy.SAMPLE: "accepted, and looked at as a sample",
    AskedBy.CHANGE: "edited by a person once, and made differently since",
}


def main() -> int:
    """Run the catalogue; repeated, it goes on from what it knows."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else site_packages()
    if not folder.is_dir():
        print(f"{folder} is no folder; name a site-packages folder", file=sys.stderr)
        return 2
    try:
        report = treadle.run(catalogue, installed(folder), store=STORE)
    except TreadleError as error:
        print(error, file=sys.stderr)
        return 1
    print(report)
    asyncio.run(_tell())
    return 0


async def _tell() -> None:
    async with open_store(STORE) as store:
        print(await tally(store))
        await _print_waiting(store)


async def _print_waiting(store: StateStore) -> None:
    waiting = [review async for review in Inbox(store).waiting()]
    if not waiting:
        return
    print(f"\n{len(waiting)} need a person:")
    for why, words in _WHY.items():
        asked = [review for review in waiting if review.asked_by is why]
        if asked:
            print(f"\n  {words}: {len(asked)}")
        for review in asked:
            print(f"  ● {review.item_id:<32} {review.review.summary}"[:120])
    first = waiting[0]
    print(f"\nLook: treadle show {first.item_id} extracted --store {STORE}")
    print(f"Accept it as it is: treadle review approve {first.item_id} extracted --reviewer YOU --store {STORE}")
    print("Correct it: Inbox(store, catalogue).decide(..., ApproveWithEdits(...)); docs/extraction.md shows how")


if __name__ == "__main__":
    raise SystemExit(main())
