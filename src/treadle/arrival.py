"""Users' items as a store takes them."""

from __future__ import annotations

from typing import Any

from treadle.definition import Definition
from treadle.errors import InvalidItem
from treadle.store import NewItem

_tuple = tuple.__new__
"""A named tuple with all its fields said; its own constructor takes three times as long."""
MOST_URGENT = 1_000_000
"""Priorities lie between this and its negative."""


def new_item(flow: Definition, item: Any) -> NewItem:
    """The item with its id, its JSON and its priority.

    Raises:
        InvalidItem: it has no id or a bad one, cannot be stored, or has a priority that is no whole number.
    """
    identity, payload = flow.items.encode(item)
    if flow.priority is None:
        return _tuple(NewItem, (identity, payload, 0))
    try:
        priority: object = flow.priority(item)
    except Exception as error:
        raise InvalidItem(f"the priority of item {identity!r} cannot be told: {type(error).__name__}: {error}") from error
    if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) > MOST_URGENT:
        raise InvalidItem(
            f"the priority of item {identity!r} is {priority!r:.80}; give a whole number from -{MOST_URGENT:,} to {MOST_URGENT:,}"
        )
    return NewItem(identity, payload, priority)
