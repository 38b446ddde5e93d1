"""What one act on many items did, for people."""

from __future__ import annotations

from treadle.bulk import Done
from treadle.cli.common import clean
from treadle.wording import counted

_SHOWN = 20
"""How many of the items are named."""


def tell(found: Done, what: str, *, dry_run: bool) -> int:
    """Say what was done; 1 if some were refused."""
    done, refused = found.done, found.refused
    if dry_run:
        print("\n".join(f"  {clean(item)}" for item in done[:_SHOWN]), end="\n" if done else "")
        if len(done) > _SHOWN:
            print(f"  and {len(done) - _SHOWN:,} more")
    one = counted(len(done), "item")
    print(f"{one} would {what}" if dry_run else f"{one}: will {what}" if done else "no such items")
    for reason in refused[:_SHOWN]:
        print(f"refused: {clean(reason)}")
    if len(refused) > _SHOWN:
        print(f"and {len(refused) - _SHOWN:,} more were refused")
    return 1 if refused else 0
