"""What an open transaction has changed in memory, so that it can be taken back with it."""

from __future__ import annotations

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
