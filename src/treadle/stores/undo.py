"""What an open transaction has changed in memory, so that it can be taken back with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

_ABSENT = object()


class Undo:
    """Changes of dictionaries, the last of which is taken back first."""

    def __init__(self) -> None:
        self._log: list[tuple[dict[Any, Any], Any, Any]] = []
        self.undone: int = 0
        """How often something was taken back."""

    def put(self, place: dict[Any, Any], key: Any, value: Any) -> None:
        """``place[key]`` is ``value``."""
        self._log.append((place, key, place.get(key, _ABSENT)))
        place[key] = value

    def drop(self, place: dict[Any, Any], key: Any) -> None:
        """``place`` has no ``key`` any more."""
        self._log.append((place, key, place.pop(key)))

    def put_all(self, place: dict[Any, Any], entries: Mapping[Any, Any]) -> None:
        """``put`` of all these."""
        self._log += zip(repeat(place), entries, map(place.get, entries, repeat(_ABSENT)), strict=False)
        place.update(entries)

    def put_in_each(self, places: Sequence[dict[Any, Any]], key: Any, value: Any) -> None:
        """``put`` in each of these places."""
        self._log += [(place, key, place.get(key, _ABSENT)) for place in places]
        for place in places:
            place[key] = value

    def drop_all(self, place: dict[Any, Any], keys: Sequence[Any]) -> None:
        """``drop`` of all these."""
        self._log += zip(repeat(place), keys, map(place.pop, keys), strict=False)

    @property
    def done(self) -> int:
        """How much has been done so far."""
        return len(self._log)

    def keep(self) -> None:
        """The transaction took place."""
        self._log.clear()

    def undo(self, since: int = 0) -> None:
        """The transaction took no place, or nothing of it after that much."""
        self.undone += 1
        while len(self._log) > since:
            place, key, before = self._log.pop()
            if before is _ABSENT:
                del place[key]
            else:
                place[key] = before
