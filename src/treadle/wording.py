"""Numbers of things as people read them."""

from __future__ import annotations


def counted(number: int, thing: str, does: str = "", do: str = "") -> str:
    """``1 item``, ``2,000 items``: for things whose plural ends in s.

    With a verb for one and one for more, what they do: ``1 item waits``, ``2 items wait``.
    """
    verb = does if number == 1 else do
    return f"{number:,} {thing}{'' if number == 1 else 's'}{' ' if verb else ''}{verb}"
